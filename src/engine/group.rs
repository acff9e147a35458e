//! Many commands in one call. Those of one stream whose scopes have nothing in common form a group: decided on one
//! snapshot, committed in one hold of the stream's mutex. What would make a group wait, a command waits for alone.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::attempt::{Execution, refused};
use super::commit::{After, Refusal};
use super::encoded::{Encoded, Stored};
use super::handle::Handle;
use super::lock::Access;
use super::options::{Concurrency, Wait};
use super::outcome::{Effort, Outcome};
use super::receipt::Receipt;
use super::registry::Visit;
use super::stream::{Inner, Requested, Running, Snapshot, Stream, Wanted};
use crate::aggregate::{Aggregate, Context};
use crate::error::{Error, Fence};
use crate::log::{Entry, Log, put_metadata};
use crate::scope::{Disjoint, Scope};
use crate::sync::{Patience, Wakes};

/// Most commands of a group: so many are committed in one hold of a mutex, which takes a microsecond or two.
const MEMBERS: usize = 16;

/// In the place of the next command: there is none.
const NONE: usize = usize::MAX;

/// What became of many commands, in their order.
pub(super) type Receipts<A> = Vec<Result<Receipt<Outcome<A>>, Error>>;

/// The commands of one call, and how far they are.
pub(super) struct Groups<'c, S, A: Aggregate> {
    handle: &'c Handle<A>,
    commands: &'c [(S, A::Command)],
    /// What every entry carries beside its events.
    sections: Vec<u8>,
    receipts: Receipts<A>,
    /// For every command the next one of its stream.
    next: Vec<usize>,
    /// For every stream the first command that is not decided yet. Those before `stream` are done.
    heads: Vec<usize>,
    stream: usize,
    group: Group,
    /// A command that was decided in vain, and what it has been through. Those after it wait for it.
    again: Option<(usize, Effort)>,
}

/// The commands that are being decided together.
#[derive(Default)]
struct Group {
    /// The first `len` are of this group; the others keep their memory for the next one.
    members: Vec<Member>,
    len: usize,
}

struct Member {
    command: usize,
    scope: Scope,
    encoded: Encoded,
    fate: Fate,
}

enum Fate {
    /// There is nothing to store: it is durable when all before it is. Or it is an error.
    Settled,
    /// Waits for its place in the log.
    Proposed,
    Stored,
    Refused(Refusal),
    /// The one before fenced the stream.
    Fenced,
}

impl Group {
    fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().take(self.len)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().take(self.len)
    }

    fn proposed(&mut self) -> impl Iterator<Item = &mut Member> {
        self.iter_mut().filter(|member| matches!(member.fate, Fate::Proposed))
    }

    fn push(&mut self, command: usize, scope: Scope, log: &Log) {
        match self.members.get_mut(self.len) {
            Some(member) => {
                member.command = command;
                member.scope = scope;
                member.encoded.clear();
                member.fate = Fate::Settled;
            }
            None => {
                let encoded = Encoded::new(log.limits());
                self.members.push(Member { command, scope, encoded, fate: Fate::Settled });
            }
        }
        self.len += 1;
    }

    /// All that it depends on.
    fn scope(&self) -> Scope {
        Scope::gather(|parts| {
            for member in self.iter() {
                parts.extend(member.scope.named().iter().cloned());
            }
        })
    }
}

impl<'c, S: AsRef<str>, A: Aggregate> Groups<'c, S, A> {
    pub(super) fn new(handle: &'c Handle<A>, commands: &'c [(S, A::Command)]) -> Self {
        let mut groups = Self {
            handle,
            commands,
            sections: Vec::new(),
            receipts: Vec::with_capacity(commands.len()),
            next: vec![NONE; commands.len()],
            heads: Vec::new(),
            stream: 0,
            group: Group::default(),
            again: None,
        };
        if let Some(metadata) = &handle.metadata
            && let Err(error) = put_metadata(&mut groups.sections, metadata, handle.shared.log.limits())
        {
            groups.receipts.resize_with(commands.len(), || Err(error.clone()));
            return groups;
        }
        let mut last: HashMap<&str, usize, RandomState> = HashMap::default();
        for (index, (id, _)) in commands.iter().enumerate() {
            groups.receipts.push(Ok(Receipt::new(Arc::clone(&handle.shared), None, 0)));
            match last.insert(id.as_ref(), index) {
                Some(before) => groups.next[before] = index,
                None => groups.heads.push(index),
            }
        }
        groups
    }

    /// Submits all of them, from a thread.
    pub(super) fn run(mut self) -> Receipts<A> {
        while let Some((command, effort)) = self.advance() {
            let mut patience = Patience::of_thread(self.handle.options.limit());
            let Some((execution, outcome)) = self.alone(command, &mut patience) else { continue };
            let decided = execution.run_after(Some(effort), outcome);
            self.settle(command, decided);
        }
        self.receipts
    }

    /// As [`run`](Self::run), from a task.
    pub(super) async fn run_async(mut self) -> Receipts<A> {
        while let Some((command, effort)) = self.advance() {
            let mut patience = Patience::of_task(self.handle.options.limit(), &self.handle.shared.timer);
            let Some((execution, outcome)) = self.alone(command, &mut patience) else { continue };
            let decided = execution.run_after_async(Some(effort), outcome).await;
            self.settle(command, decided);
        }
        self.receipts
    }

    /// A command by itself, and where its outcome belongs; none if there is an error there already.
    fn alone<'s, 't>(
        &'s mut self,
        command: usize,
        patience: &'s mut Patience<'t>,
    ) -> Option<(Execution<'s, 't, A>, &'s mut Option<Outcome<A>>)> {
        let Self { handle, commands, sections, receipts, .. } = self;
        let receipt = receipts.get_mut(command)?.as_mut().ok()?;
        let (id, command) = commands.get(command)?;
        let (id, nudge, always) = (id.as_ref(), true, false);
        let execution = Execution { handle, id, command, patience, nudge, sections, always };
        Some((execution, &mut receipt.outcome))
    }

    fn settle(&mut self, command: usize, decided: Result<u64, Error>) {
        match (decided, &mut self.receipts[command]) {
            (Ok(position), Ok(receipt)) => receipt.position = position,
            (Err(error), receipt) => *receipt = Err(error),
            (Ok(_), Err(_)) => {}
        }
    }

    /// Decides what can be decided without waiting, up to a command that has to go alone.
    fn advance(&mut self) -> Option<(usize, Effort)> {
        let turn = self.handle.options.concurrency == Concurrency::Pessimistic;
        let effort = Effort { turn, ..Effort::default() };
        loop {
            if let Some(again) = self.again.take() {
                return Some(again);
            }
            let head = *self.heads.get(self.stream)?;
            if head == NONE {
                self.stream += 1;
                continue;
            }
            match self.decide_together(head, effort) {
                Some(after) => self.heads[self.stream] = after,
                None => {
                    self.heads[self.stream] = self.next[head];
                    return Some((head, effort));
                }
            }
        }
    }

    /// Decides the commands of a stream that form a group from `head` on. Returns the one after them; none if `head` is
    /// for the ordinary path: it waits, says what is wrong, and creates streams.
    fn decide_together(&mut self, head: usize, effort: Effort) -> Option<usize> {
        let Handle { shared, registry, options, .. } = self.handle;
        let log = &*shared.log;
        log.check_open().ok()?;
        if options.wait == Wait::SkipLocked {
            return None;
        }
        let visit = Visit::begin(&**registry, self.commands[head].0.as_ref(), false).ok()?;
        let stream = visit.stream();
        let (running, snapshot, mut after) = if effort.turn {
            self.lock(stream, head)?
        } else {
            let (running, snapshot) = Running::begin(stream, log).ok()?;
            let after = self.gather(&snapshot, head);
            (running, snapshot, after)
        };
        for member in self.group.iter() {
            A::prefetch(&snapshot.state, &member.scope);
        }
        if let Some(undecided) = self.decide(stream, snapshot, effort) {
            after = undecided;
        }
        if after == head {
            return None;
        }
        let cut = self.commit(stream, running, effort);
        Some(cut.map_or(after, |command| self.next[command]))
    }

    /// Forms a group: commands whose scopes have nothing in common on this snapshot. Returns the command after it.
    fn gather(&mut self, snapshot: &Snapshot<A>, head: usize) -> usize {
        let log = &*self.handle.shared.log;
        let (mut disjoint, mut at) = (Disjoint::default(), head);
        self.group.len = 0;
        while at != NONE && self.group.len < MEMBERS {
            let command = &self.commands[at].1;
            match A::check(command, log.limits()) {
                Ok(()) => {
                    let scope = A::scope(&snapshot.state, command);
                    if !disjoint.add(&scope) {
                        break;
                    }
                    self.group.push(at, scope, log);
                }
                Err(why) => self.receipts[at] = Err(Error::InvalidCommand { why }),
            }
            at = self.next[at];
        }
        at
    }

    /// A group that holds the locks on all that it depends on. None if somebody has one of them, or a scope moved
    /// before it was locked.
    fn lock<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        head: usize,
    ) -> Option<(Running<'s, A>, Snapshot<A>, usize)> {
        let log = &*self.handle.shared.log;
        let seen = stream.look(log).ok()?;
        let (after, version) = (self.gather(&seen, head), seen.version);
        let scope = self.group.scope();
        let wanted = Wanted { scope: &scope, access: Access::Exclusive, owner: None, waits: false };
        let Requested::Granted(running, snapshot) =
            Running::request(stream, log, &wanted, Some(seen)).ok()?
        else {
            return None;
        };
        let unmoved =
            |member: &Member| A::scope(&snapshot.state, &self.commands[member.command].1) == member.scope;
        (snapshot.version == version || self.group.iter().all(unmoved)).then_some((running, snapshot, after))
    }

    /// Decides one after the other, and encodes. Returns the first for which the write queue has no room.
    fn decide(&mut self, stream: &Stream<A>, snapshot: Snapshot<A>, effort: Effort) -> Option<usize> {
        let Self { handle, commands, sections, receipts, group, .. } = self;
        let log = &*handle.shared.log;
        let decided_at = handle.shared.clock.now().max(snapshot.decided_at);
        let stored = Stored { sections, always: false, options: &handle.options };
        let mut bytes = 0;
        let mut full = None;
        for (place, member) in group.iter_mut().enumerate() {
            let receipt = &mut receipts[member.command];
            // Otherwise it is an error already.
            let Ok(Receipt { outcome, .. }) = receipt else { continue };
            if log.is_full(bytes) {
                full = Some((place, member.command));
                break;
            }
            let context = Context { now: decided_at, services: &*handle.services, scope: &member.scope };
            let decided = A::decide(&snapshot.state, &commands[member.command].1, &context);
            let version = snapshot.version;
            let outcome = outcome.insert(Outcome { decided, version, position: 0, decided_at, effort });
            let encoded = &mut member.encoded;
            let filled = encoded.fill(stream, &member.scope, outcome, &stored);
            match filled.and_then(|()| log.check_size(encoded.bytes)) {
                Ok(()) if encoded.versions == 0 => {}
                Ok(()) => {
                    bytes += encoded.bytes;
                    member.fate = Fate::Proposed;
                }
                Err(error) => *receipt = Err(error),
            }
        }
        let (place, undecided) = full?;
        group.len = place;
        Some(undecided)
    }

    /// Gives the decisions that still hold their places in the log, one after the other. Returns the command that did not
    /// hold: it cuts off those after it, which are to be decided again.
    fn commit(&mut self, stream: &Arc<Stream<A>>, running: Running<'_, A>, effort: Effort) -> Option<usize> {
        let (handle, log) = (self.handle, &*self.handle.shared.log);
        let committed = if self.group.proposed().next().is_some() {
            let step = |running: &mut _, inner: &mut _, after: After<'_, A>, wakes: &mut _| {
                self.commit_locked(running, inner, after, wakes)
            };
            running.decisive(log, step, |policy_panicked| *policy_panicked)
        } else {
            Ok(false)
        };
        let Self { receipts, group, again, .. } = self;
        let (mut tail, mut cut) = (None, None);
        for member in group.iter_mut() {
            let receipt = &mut receipts[member.command];
            let Ok(Receipt { outcome, position, .. }) = receipt else { continue };
            let error = match std::mem::replace(&mut member.fate, Fate::Settled) {
                Fate::Stored => continue,
                Fate::Settled => {
                    // It was decided on what others wrote: durable when all of that is.
                    *position = *tail.get_or_insert_with(|| log.tail());
                    continue;
                }
                Fate::Refused(refusal) => {
                    if matches!(refusal, Refusal::Conflict | Refusal::Locked) {
                        cut = Some(member.command);
                    }
                    let mut effort = effort;
                    *outcome = None;
                    match refused(handle, stream, refusal, &mut effort) {
                        Ok(()) => {
                            *again = Some((member.command, effort));
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Fate::Fenced => Error::Fenced { stream: stream.name.clone(), reason: Fence::Rebuilding },
                Fate::Proposed => committed.as_ref().err().cloned().unwrap_or(Error::Closed),
            };
            *receipt = Err(error);
        }
        cut
    }

    /// Under the stream's mutex: check all, apply what holds, append and number it. Whether a policy panicked.
    fn commit_locked(
        &mut self,
        Running { stream, held }: &mut Running<'_, A>,
        inner: &mut Inner<A>,
        After { replaced, panic }: After<'_, A>,
        wakes: &mut Wakes,
    ) -> Result<bool, Error> {
        let Self { handle, sections, receipts, group, .. } = self;
        let (log, policies) = (&*handle.shared.log, &handle.registry.policies);
        let mut kept = 0;
        for Member { scope, fate, .. } in group.iter_mut() {
            kept += 1;
            if matches!(fate, Fate::Proposed)
                && let Some(refusal) =
                    held.check(inner, &stream.name, scope, Access::Exclusive, log, wakes)?
            {
                *fate = Fate::Refused(refusal);
                break;
            }
        }
        // Those after one that is refused may find another world once that is decided again.
        group.len = kept;
        // What one of them touches is no concern of the others.
        held.look_away(inner);
        let mut policy_panicked = false;
        for Member { command, fate, .. } in group.proposed() {
            let Ok(Receipt { outcome: Some(outcome), .. }) = &receipts[*command] else { continue };
            if panic.is_some() {
                *fate = Fate::Fenced;
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
        let mut appending = log.begin_append()?;
        for Member { command, encoded, fate, .. } in group.proposed() {
            let Ok(Receipt { outcome: Some(outcome), position, .. }) = &mut receipts[*command] else {
                continue;
            };
            let (change, decided_at) = (encoded.change(outcome), outcome.decided_at);
            let spans = [inner.span(&stream.name, &change)];
            let appended =
                appending.append(&Entry { decided_at, sections, spans: &spans }, encoded.bytes, true);
            if let Some(writer) = appended.writer {
                wakes.push(writer);
            }
            let mut new_stream = appended.new_stream;
            inner.number(stream, &change, appended.position, &mut new_stream, decided_at);
            encoded.decided(outcome, appended.position, inner.version);
            *position = appended.position;
            *fate = Fate::Stored;
        }
        Ok(policy_panicked)
    }
}
