//! The decisive step of a group, and what follows for each of its members.

use std::sync::Arc;

use super::super::attempt::refused;
use super::super::commit::{After, Refusal};
use super::super::lock::Access;
use super::super::outcome::Effort;
use super::super::receipt::Receipt;
use super::super::stream::{Inner, Running, Stream};
use super::{Fate, Groups, Member};
use crate::aggregate::Aggregate;
use crate::error::{Error, Fence};
use crate::log::Entry;
use crate::sync::Wakes;

impl<S: AsRef<str>, A: Aggregate> Groups<'_, S, A> {
    /// Gives the decisions that still hold their places in the log, one after the other.
    pub(super) fn commit(&mut self, stream: &Arc<Stream<A>>, running: Running<'_, A>, effort: Effort) {
        let (handle, log) = (self.handle, &*self.handle.shared.log);
        let committed = if self.group.proposed().next().is_some() {
            let step = |running: &mut _, inner: &mut _, after: After<'_, A>, wakes: &mut _| {
                self.commit_locked(running, inner, after, wakes)
            };
            running.decisive(log, step, |policy_panicked| *policy_panicked)
        } else {
            drop(running);
            Ok(false)
        };
        let Self { receipts, group, again, .. } = self;
        if group.stored == group.len {
            return;
        }
        // Before anything of a user's is dropped, which may panic: a stream that is fenced is rebuilt all the same.
        for Member { command, fate, .. } in group.iter_mut() {
            if !matches!(fate, Fate::Refused(_) | Fate::Proposed) {
                continue;
            }
            let error = match std::mem::replace(fate, Fate::Again) {
                Fate::Refused(refusal) => {
                    let mut effort = effort;
                    let refused = refused(handle, stream, refusal, &mut effort);
                    *again = refused.is_ok().then_some((*command, effort));
                    refused.err()
                }
                _ => Some(committed.as_ref().err().cloned().unwrap_or(Error::Closed)),
            };
            if let Some(error) = error {
                *fate = Fate::Failed(error.into());
            }
        }
        let mut tail = None;
        for Member { command, fate, .. } in group.iter_mut() {
            let receipt = &mut receipts[*command];
            let Ok(Receipt { outcome, position, .. }) = receipt else { continue };
            match fate {
                Fate::Stored => {}
                // It was decided on what others wrote: durable when all of that is.
                Fate::Unstored => *position = *tail.get_or_insert_with(|| log.tail()),
                Fate::Failed(error) => *receipt = Err(Error::clone(error)),
                Fate::Again | Fate::Proposed | Fate::Refused(_) => *outcome = None,
            }
        }
    }

    /// Under the stream's mutex: check all, apply what holds, append and number it. Whether a policy panicked.
    fn commit_locked(
        &mut self,
        Running { stream, held }: &mut Running<'_, A>,
        inner: &mut Inner<A>,
        After { replaced, panic }: After<'_, A>,
        wakes: &mut Wakes,
    ) -> Result<bool, Error> {
        let Self { handle, sections, receipts, next, group, .. } = self;
        let (log, policies) = (&*handle.shared.log, &handle.registry.policies);
        let (mut cut, mut any) = (None, false);
        for (place, Member { command, scope, fate, .. }) in group.iter_mut().enumerate() {
            match fate {
                Fate::Proposed => {
                    any = true;
                    let refusal = held.check(inner, &stream.name, scope, Access::Exclusive, log, wakes)?;
                    if let Some(refusal) = refusal {
                        *fate = Fate::Refused(refusal);
                        // Those after it may find another world once it is decided again.
                        cut = Some((place + 1, next[*command]));
                        break;
                    }
                }
                // What it says must not be older than what those before it do.
                Fate::Unstored | Fate::Failed(_) if any && !held.is_unchanged(inner, scope) => {
                    cut = Some((place, *command));
                    break;
                }
                _ => {}
            }
        }
        if let Some(cut) = cut {
            (group.len, group.after) = cut;
        }
        // What one of them touches is no concern of the others.
        held.look_away(inner);
        let mut policy_panicked = false;
        for Member { command, fate, .. } in group.proposed() {
            let Ok(Receipt { outcome: Some(outcome), .. }) = &receipts[*command] else { continue };
            if panic.is_some() {
                let (stream, reason) = (stream.name.clone(), Fence::Rebuilding);
                *fate = Fate::Failed(Error::Fenced { stream, reason }.into());
                continue;
            }
            if outcome.events().is_empty() {
                continue;
            }
            let after = After { replaced: &mut *replaced, panic: &mut *panic };
            if let Err(refusal) = inner.apply(outcome.events(), policies, after) {
                policy_panicked = matches!(refusal, Refusal::PolicyPanicked);
                *fate = Fate::Refused(refusal);
            }
        }
        if group.proposed().next().is_none() {
            return Ok(policy_panicked);
        }
        if inner.number.is_none() {
            let rule = format!("{}: a group in a stream that has no number", stream.name);
            return Err(log.broken_under_mutex(rule, wakes));
        }
        let mut ahead = 0;
        let mut appending = match log.begin_append() {
            Ok(appending) => appending,
            // The panic goes first.
            Err(_) if policy_panicked => return Ok(true),
            Err(error) => return Err(error),
        };
        for Member { command, encoded, .. } in group.proposed() {
            let Ok(Receipt { outcome: Some(outcome), position, .. }) = &mut receipts[*command] else {
                continue;
            };
            let mut span = inner.span(&stream.name, &encoded.change(outcome));
            span.first_version += ahead;
            ahead += u64::from(encoded.versions);
            let entry = Entry { decided_at: outcome.decided_at, sections, spans: &[span] };
            let appended = appending.append(&entry, encoded.bytes, true);
            if let Some(writer) = appended.writer {
                wakes.push(writer);
            }
            *position = appended.position;
        }
        drop(appending);
        let mut stored = 0;
        for Member { command, encoded, fate, .. } in group.proposed() {
            let Ok(Receipt { outcome: Some(outcome), position, .. }) = &mut receipts[*command] else {
                continue;
            };
            let change = encoded.change(outcome);
            inner.number(stream, &change, *position, &mut 0, outcome.decided_at);
            encoded.decided(outcome, *position, inner.version);
            *fate = Fate::Stored;
            stored += 1;
        }
        group.stored = stored;
        Ok(policy_panicked)
    }
}
