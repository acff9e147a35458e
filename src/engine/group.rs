//! Many commands in one call. Those of one stream whose scopes have nothing in common form a group: decided on one
//! snapshot, committed in one hold of the stream's mutex. What would make a group wait, a command waits for alone.

mod commit;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::attempt::Execution;
use super::commit::Refusal;
use super::encoded::{Encoded, Stored};
use super::handle::Handle;
use super::lock::Access;
use super::options::{Concurrency, Wait};
use super::outcome::{Effort, Outcome};
use super::receipt::Receipt;
use super::registry::{Registry, Visit};
use super::stream::{Requested, Running, Snapshot, Stream, Wanted};
use crate::aggregate::{Aggregate, Context};
use crate::error::Error;
use crate::log::{Log, put_metadata};
use crate::scope::{Disjoint, Scope};
use crate::sync::Patience;

/// Most commands of a group: so many are committed in one hold of a mutex, which takes a microsecond or two.
const MEMBERS: usize = 16;

/// A group is complete when its entries take so many bytes: they are copied in that hold.
const BYTES: usize = 16 << 10;

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
    /// Up to this command of the stream all go alone: there was no lock for a group of them.
    alone_until: Option<usize>,
    /// A command that was decided in vain, and what it has been through. Those after it wait for it.
    again: Option<(usize, Effort)>,
    /// The stream of that command, while it is decided again: a close waits for whoever visits one.
    visit: Option<Visit<&'c Registry<A>, A>>,
}

/// The commands that are being decided together.
struct Group {
    /// The first `len` are of this group; the others keep their memory for the next one.
    members: Vec<Member>,
    len: usize,
    /// How many of them are stored.
    stored: usize,
    /// The next command of the stream after them.
    after: usize,
    /// How many it may have: fewer after one whose entries were long.
    most: usize,
}

struct Member {
    command: usize,
    scope: Scope,
    encoded: Encoded,
    fate: Fate,
}

enum Fate {
    /// There is nothing to store: durable when all before it is.
    Unstored,
    /// Waits for its place in the log.
    Proposed,
    Stored,
    Refused(Refusal),
    /// To be decided again.
    Again,
    Failed(Box<Error>),
}

impl Group {
    fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.members.get(..self.len).unwrap_or_default().iter()
    }

    fn iter_mut(&mut self) -> std::slice::IterMut<'_, Member> {
        self.members.get_mut(..self.len).unwrap_or_default().iter_mut()
    }

    fn proposed(&mut self) -> impl Iterator<Item = &mut Member> {
        self.iter_mut().filter(|member| matches!(member.fate, Fate::Proposed))
    }

    /// Adds a command, unless its scope may have something in common with those before.
    #[inline]
    fn add(&mut self, command: usize, scope: Scope, disjoint: &mut Disjoint, log: &Log) -> bool {
        let member = match self.members.get_mut(self.len) {
            Some(member) => {
                member.scope = scope;
                member
            }
            None => {
                let encoded = Encoded::new(log.limits());
                self.members.push(Member { command, scope, encoded, fate: Fate::Unstored });
                &mut self.members[self.len]
            }
        };
        if !disjoint.add(&member.scope) {
            return false;
        }
        member.command = command;
        member.encoded.clear();
        member.fate = Fate::Unstored;
        self.len += 1;
        true
    }

    /// All that it depends on.
    fn scope(&self) -> Scope {
        Scope::of_all(self.iter().map(|member| &member.scope))
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
            group: Group { members: Vec::new(), len: 0, stored: 0, after: NONE, most: MEMBERS },
            alone_until: None,
            again: None,
            visit: None,
        };
        if let Err(error) = groups.begin() {
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

    /// What is asked once, for all.
    fn begin(&mut self) -> Result<(), Error> {
        let log = &self.handle.shared.log;
        log.check_open()?;
        match &self.handle.metadata {
            Some(metadata) => put_metadata(&mut self.sections, metadata, log.limits()),
            None => Ok(()),
        }
    }

    /// Submits all of them, from a thread.
    pub(super) fn run(mut self) -> Receipts<A> {
        while let Some((command, effort)) = self.advance() {
            let mut patience = Patience::of_thread(self.handle.options.limit());
            let Some((execution, outcome)) = self.alone(command, &mut patience) else { continue };
            let decided = execution.run_after(effort, outcome);
            self.enter(command, decided);
        }
        self.receipts
    }

    /// As [`run`](Self::run), from a task.
    pub(super) async fn run_async(mut self) -> Receipts<A> {
        while let Some((command, effort)) = self.advance() {
            let mut patience = Patience::of_task(self.handle.options.limit(), &self.handle.shared.timer);
            let Some((execution, outcome)) = self.alone(command, &mut patience) else { continue };
            let decided = execution.run_after_async(effort, outcome).await;
            self.enter(command, decided);
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

    fn enter(&mut self, command: usize, decided: Result<u64, Error>) {
        match (decided, &mut self.receipts[command]) {
            (Ok(position), Ok(receipt)) => receipt.position = position,
            (Err(error), receipt) => *receipt = Err(error),
            (Ok(_), Err(_)) => {}
        }
    }

    /// Decides what can be decided without waiting, up to a command that has to go alone: with what it has been through,
    /// if it was in a group.
    fn advance(&mut self) -> Option<(usize, Option<Effort>)> {
        self.visit = None;
        loop {
            if let Some((command, effort)) = self.again.take() {
                return Some((command, Some(effort)));
            }
            let head = *self.heads.get(self.stream)?;
            if self.alone_until == Some(head) {
                self.alone_until = None;
            }
            if head == NONE {
                self.stream += 1;
                continue;
            }
            if self.alone_until.is_none() && self.decide_together(head).is_some() {
                self.heads[self.stream] = self.group.after;
                continue;
            }
            self.heads[self.stream] = self.next[head];
            return Some((head, None));
        }
    }

    /// Decides the commands of a stream that form a group from `head` on. None if `head` is for the ordinary path: it waits,
    /// says what is wrong, and creates streams.
    fn decide_together(&mut self, head: usize) -> Option<()> {
        let Handle { shared, registry, options, .. } = self.handle;
        let (log, id) = (&*shared.log, self.commands[head].0.as_ref());
        log.check_open().ok()?;
        self.handle.check_id(id).ok()?;
        if options.wait == Wait::SkipLocked || log.is_full(0) {
            return None;
        }
        let effort = Effort { turn: options.concurrency == Concurrency::Pessimistic, ..Effort::default() };
        let visit = Visit::begin(&**registry, id, false).ok()?;
        let stream = visit.stream();
        let (running, snapshot) = if effort.turn {
            let seen = stream.look(log).ok()?;
            self.gather(&seen, head)?;
            self.lock(stream, seen)?
        } else {
            let (running, snapshot) = Running::begin(stream, log).ok()?;
            self.gather(&snapshot, head)?;
            (running, snapshot)
        };
        A::prefetch(&snapshot.state, self.group.iter().map(|member| &member.scope));
        self.decide(stream, snapshot, effort);
        if self.group.after == head {
            return None;
        }
        self.commit(stream, running, effort);
        if self.again.is_some() {
            self.visit = Some(visit);
        }
        Some(())
    }

    /// Forms a group: commands whose scopes have nothing in common on this snapshot. None if not even `head` is of one.
    fn gather(&mut self, snapshot: &Snapshot<A>, head: usize) -> Option<()> {
        let log = &*self.handle.shared.log;
        let (mut disjoint, mut at) = (Disjoint::default(), head);
        (self.group.len, self.group.stored) = (0, 0);
        while at != NONE && self.group.len < self.group.most {
            let command = &self.commands[at].1;
            match A::check(command, log.limits()) {
                Ok(()) => {
                    let scope = A::scope(&snapshot.state, command);
                    if !self.group.add(at, scope, &mut disjoint, log) {
                        break;
                    }
                }
                Err(why) => self.receipts[at] = Err(Error::InvalidCommand { why }),
            }
            at = self.next[at];
        }
        self.group.after = at;
        (at != head).then_some(())
    }

    /// Locks all that the group depends on. None if somebody has one of the parts, or a scope moved before it was locked.
    fn lock<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        seen: Snapshot<A>,
    ) -> Option<(Running<'s, A>, Snapshot<A>)> {
        let log = &*self.handle.shared.log;
        let (scope, version) = (self.group.scope(), seen.version);
        let wanted = Wanted { scope: &scope, access: Access::Exclusive, owner: None, waits: false };
        let unmoved = |snapshot: &Snapshot<A>| {
            let command = |member: &Member| &self.commands[member.command].1;
            let scope = |member| A::scope(&snapshot.state, command(member));
            snapshot.version == version || self.group.iter().all(|member| scope(member) == member.scope)
        };
        match Running::request(stream, log, &wanted, Some(seen)) {
            Ok(Requested::Granted(running, snapshot)) if unmoved(&snapshot) => Some((running, snapshot)),
            _ => {
                self.alone_until = Some(self.group.after);
                None
            }
        }
    }

    /// Decides one after the other, and encodes. Those for which the write queue has no room are left for later.
    fn decide(&mut self, stream: &Stream<A>, snapshot: Snapshot<A>, effort: Effort) {
        let Self { handle, commands, sections, receipts, group, .. } = self;
        let log = &*handle.shared.log;
        let decided_at = handle.shared.clock.now().max(snapshot.decided_at);
        let stored = Stored { sections, always: false, options: &handle.options };
        let (mut bytes, mut full) = (0, None);
        for (place, member) in group.iter_mut().enumerate() {
            let Ok(Receipt { outcome, .. }) = &mut receipts[member.command] else { continue };
            if bytes > BYTES || log.is_full(bytes) {
                full = Some((place, member.command));
                break;
            }
            let context = Context { now: decided_at, services: &*handle.services, scope: &member.scope };
            let decided = A::decide(&snapshot.state, &commands[member.command].1, &context);
            let version = snapshot.version;
            let outcome = outcome.insert(Outcome { decided, version, position: 0, decided_at, effort });
            let encoded = &mut member.encoded;
            let filled = encoded.fill(stream, &member.scope, outcome, &stored);
            member.fate = match filled {
                Ok(()) if encoded.versions == 0 => Fate::Unstored,
                Ok(()) => match log.check_size(encoded.bytes) {
                    Ok(()) => {
                        bytes += encoded.bytes;
                        Fate::Proposed
                    }
                    Err(error) => Fate::Failed(error.into()),
                },
                Err(error) => Fate::Failed(error.into()),
            };
        }
        group.most = match full {
            Some((place, command)) => {
                (group.len, group.after) = (place, command);
                place.max(1)
            }
            None => (2 * group.most).min(MEMBERS),
        };
    }
}
