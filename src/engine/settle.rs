//! The end of a transaction: one entry over all its streams, or none.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use smallvec::SmallVec;

use super::Shared;
use super::branch::AnyLocked;
use super::commit::Refusal;
use super::locking::Locking;
use super::staged::Committed;
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::error::{Error, StreamName};
use crate::log::{Draft, Entry, NewSpan, entry_bytes, put_metadata};
use crate::sync::{Patience, Wakes};

impl Transaction {
    pub(super) async fn commit_to_disk(&mut self, patience: &mut Patience<'_>) -> Result<Committed, Error> {
        let nudge = !patience.is_thread();
        let (committed, wait_for) = self.settle(patience, nudge).await?;
        self.locking.shared.log.wait_durable(wait_for, patience).await?;
        Ok(committed)
    }

    /// Stores what was staged, and says what must be durable before that is.
    pub(super) async fn settle(
        &mut self,
        patience: &mut Patience<'_>,
        nudge: bool,
    ) -> Result<(Committed, u64), Error> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let sections = self.sections()?;
        let spans: usize = self.branches.iter().map(|branch| branch.entry_bytes()).sum();
        let bytes = entry_bytes(sections.len(), 0, &Draft::new(0)) + spans;
        let Locking { shared, options, effort, .. } = &self.locking;
        let (log, effort) = (&shared.log, *effort);
        if self.branches.iter().any(|branch| branch.has_events()) && !log.has_room(bytes)? {
            if options.limit().is_none() {
                return Err(log.busy(patience.waited()));
            }
            log.wait_for_room(bytes, patience).await?;
        }
        let common = Common { sections: &sections, bytes, decided_at: self.now, nudge };
        let position = self.commit_under_mutexes(&common)?;
        // What was only looked at is durable when all of it is.
        let wait_for = position.unwrap_or_else(|| self.locking.shared.log.tail());
        Ok((Committed { position: position.unwrap_or(0), decided_at: self.now, effort }, wait_for))
    }

    /// What the entry carries beside its events.
    fn sections(&self) -> Result<Vec<u8>, Error> {
        let mut sections = Vec::new();
        if let Some(metadata) = &self.metadata {
            put_metadata(&mut sections, metadata, self.locking.shared.log.limits())?;
        }
        Ok(sections)
    }

    /// The decisive step over all streams at once. Ends the transaction, however it goes.
    fn commit_under_mutexes(&mut self, common: &Common<'_>) -> Result<Option<u64>, Error> {
        let Self { branches, locking, .. } = self;
        let shared = &*locking.shared;
        let mut wakes = Wakes::default();
        let result = {
            let mut by_name: SmallVec<[_; 4]> = SmallVec::new();
            for (step, branch) in branches.iter_mut().enumerate() {
                branch.forget_ahead();
                by_name.push((step, branch));
            }
            // Not by address: the same run takes the same steps again.
            by_name.sort_unstable_by(|(_, one), (_, other)| one.name().cmp(other.name()));
            let mut locked: SmallVec<[_; 4]> =
                by_name.into_iter().map(|(step, branch)| (step, branch.lock())).collect();
            // Stored in the order of the steps: what an entry is does not hang on what streams are called.
            locked.sort_unstable_by_key(|(step, _)| *step);
            let result = common.commit(&mut locked, shared, &mut wakes);
            for (_, branch) in &mut locked {
                branch.end(&mut wakes);
            }
            result
        };
        wakes.fire();
        let panic = branches.iter_mut().find_map(|branch| branch.take_panic());
        let (stream, refusal) = match result? {
            Ok(position) => {
                let branches = std::mem::take(branches);
                // The decision stands, whatever a user's `Drop` does.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(branches)));
                return Ok(position);
            }
            Err(refused) => refused,
        };
        match refusal {
            Refusal::Conflict => Err(Error::Conflict { stream, attempts: locking.effort.conflicts + 1 }),
            Refusal::Locked => Err(Error::WouldBlock { stream }),
            Refusal::Violated(policy) => Err(Error::PolicyViolated { stream, policy }),
            Refusal::PolicyPanicked => match panic {
                Some(panic) => {
                    let branches = std::mem::take(branches);
                    // A second panic while one passes through would end the process.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(branches)));
                    resume_unwind(panic)
                }
                None => Err(shared.log.broken(format!("{stream}: a policy panicked and left no panic"))),
            },
            Refusal::Panicked(message) => {
                for branch in branches {
                    branch.recover(shared, &message);
                }
                Err(Error::ApplyPanicked { stream, message })
            }
        }
    }
}

/// What an entry over several streams is, beside what they say.
struct Common<'p> {
    sections: &'p [u8],
    bytes: usize,
    decided_at: Timestamp,
    nudge: bool,
}

type Refused = (StreamName, Refusal);

impl Common<'_> {
    /// With the mutexes of all streams held: check all, apply all, append, number all.
    fn commit(
        &self,
        locked: &mut [(usize, Box<dyn AnyLocked + '_>)],
        shared: &Shared,
        wakes: &mut Wakes,
    ) -> Result<Result<Option<u64>, Refused>, Error> {
        for (_, branch) in &mut *locked {
            if let Some(refusal) = branch.verify(&shared.log, wakes)? {
                return Ok(Err((branch.name().clone(), refusal)));
            }
        }
        // Only a policy refuses in the middle; without any, nothing is kept and states are changed in place.
        if locked.len() > 1 && locked.iter().any(|(_, branch)| branch.has_policies()) {
            locked.iter_mut().for_each(|(_, branch)| branch.keep());
        }
        for index in 0..locked.len() {
            let Some(((_, branch), done)) = locked.get_mut(..=index).and_then(|some| some.split_last_mut())
            else {
                continue;
            };
            if let Err(refusal) = branch.apply() {
                done.iter_mut().for_each(|(_, branch)| branch.undo());
                return Ok(Err((branch.name().clone(), refusal)));
            }
        }
        let spans: SmallVec<[NewSpan<'_>; 4]> =
            locked.iter().filter_map(|(_, branch)| branch.span()).collect();
        if spans.is_empty() {
            return Ok(Ok(None));
        }
        let entry = Entry { decided_at: self.decided_at, sections: self.sections, spans: &spans };
        let appended = shared.log.append(&entry, self.bytes, self.nudge)?;
        drop(spans);
        if let Some(writer) = appended.writer {
            wakes.push(writer);
        }
        let mut new_stream = appended.new_stream;
        for (_, branch) in locked {
            branch.number(appended.position, &mut new_stream, self.decided_at);
        }
        Ok(Ok(Some(appended.position)))
    }
}
