//! Goal: locks exclude, let in whoever nobody stands against any more, and leave nothing behind, whatever
//! transactions and commands ask for, in whatever order; who waits in a circle is told.
//! Method: random steps of transactions and commands over two streams, one at a time. After each, all that the tables
//! count is counted anew, and whoever was granted is compared with whoever was woken. At the end everybody who
//! does not wait leaves, until nobody is left: whoever then still waits is in a circle that was not found.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::deadlock::{Deadlocks, Waited, Waits};
use super::*;
use crate::error::StreamName;
use crate::sync::{Patience, run_blocking};

const TABLES: usize = 2;
const UNITS: usize = 4;
const PARTS: u64 = 3;

/// The locks of one stream.
struct Table {
    name: StreamName,
    locks: Mutex<Locks>,
}

impl Waited for Table {
    fn name(&self) -> &StreamName {
        &self.name
    }

    fn in_the_way(&self, ticket: Ticket) -> Vec<Arc<Owner>> {
        self.locks.lock().in_the_way(ticket)
    }
}

/// Somebody else than all others.
struct Somebody;

impl Wake for Somebody {
    fn wake(self: Arc<Self>) {}
}

/// A request that stands.
struct Stands {
    table: usize,
    ticket: Ticket,
    scope: Scope,
    access: Access,
}

/// A transaction, or a command, which asks once.
struct Party<'d> {
    owner: Option<Arc<Owner>>,
    holds: Vec<Stands>,
    waits: Option<(Stands, Arc<Waiter>, Option<Waits<'d>>)>,
}

#[derive(Clone, Debug)]
enum Step {
    /// A transaction asks for more.
    Ask { unit: usize, table: usize, scope: Scope, access: Access },
    /// A command comes.
    Come { table: usize, scope: Scope },
    /// Somebody gives up what it waits for, or, if it does not wait, gives back all it has.
    Leave { party: usize },
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let parts = vec(0..PARTS, 0..=3)
        .prop_map(|parts| Scope::parts(parts.into_iter().map(|part| Part::number(0, part))));
    prop_oneof![4 => parts, 1 => Just(Scope::Whole)]
}

fn any_step() -> impl Strategy<Value = Step> {
    let access = prop_oneof![Just(Access::Shared), Just(Access::Exclusive)];
    prop_oneof![
        5 => (0..UNITS, 0..TABLES, any_scope(), access)
            .prop_map(|(unit, table, scope, access)| Step::Ask { unit, table, scope, access }),
        2 => (0..TABLES, any_scope()).prop_map(|(table, scope)| Step::Come { table, scope }),
        2 => any::<prop::sample::Index>().prop_map(|party| Step::Leave { party: party.index(4 * UNITS) }),
    ]
}

struct World<'d> {
    deadlocks: &'d Deadlocks,
    tables: [Arc<Table>; TABLES],
    parties: Vec<Party<'d>>,
    probes: bool,
}

impl<'d> World<'d> {
    fn new(deadlocks: &'d Deadlocks) -> Self {
        let tables = ["a", "b"].map(|id| {
            let name = StreamName { aggregate: "test".into(), id: id.into() };
            Arc::new(Table { name, locks: Mutex::default() })
        });
        let parties = (0..UNITS).map(|_| {
            let caller = Caller::Task(Waker::from(Arc::new(Somebody)));
            Party { owner: Some(Arc::new(deadlocks.owner(caller))), holds: Vec::new(), waits: None }
        });
        Self { deadlocks, tables, parties: parties.collect(), probes: false }
    }

    fn go(&mut self, step: Step) {
        match step {
            Step::Ask { unit, table, scope, access } => {
                if self.parties[unit].waits.is_none() {
                    self.ask(unit, table, scope, access);
                }
            }
            Step::Come { table, scope } => {
                self.parties.push(Party { owner: None, holds: Vec::new(), waits: None });
                self.ask(self.parties.len() - 1, table, scope, Access::Exclusive);
            }
            Step::Leave { party } if party < self.parties.len() => self.leave(party),
            Step::Leave { .. } => {}
        }
        self.look_up();
        self.check();
    }

    fn ask(&mut self, party: usize, table: usize, scope: Scope, access: Access) {
        let owner = self.parties[party].owner.clone();
        let mut wakes = Wakes::default();
        let (ticket, waiter) = {
            let mut locks = self.tables[table].locks.lock();
            // Only every other time: it also enters whoever is alone.
            self.probes = !self.probes;
            let free = self.probes.then(|| locks.is_free(&scope, access, owner.as_ref()));
            let requested = locks.request(&scope, access, owner.as_ref(), &mut wakes);
            assert!(free.is_none_or(|free| free == requested.1.is_none()), "what is free is granted");
            requested
        };
        wakes.fire();
        let stands = Stands { table, ticket, scope, access };
        let Some(waiter) = waiter else {
            self.parties[party].holds.push(stands);
            return;
        };
        let stream = Arc::clone(&self.tables[table]) as Arc<dyn Waited>;
        let waits = owner.map(|owner| self.deadlocks.enter(&owner, stream, ticket)).transpose();
        match waits {
            Ok(waits) => self.parties[party].waits = Some((stands, waiter, waits)),
            Err(circle) => {
                assert_eq!(circle[0], self.tables[table].name);
                let others = |other: &Party<'_>| other.owner.is_some() && other.waits.is_some();
                assert!(self.parties.iter().any(others), "a circle of one transaction and commands");
                // It gives way: all it has is given back.
                self.release(&[stands]);
                self.leave(party);
            }
        }
    }

    fn leave(&mut self, party: usize) {
        match self.parties[party].waits.take() {
            Some((stands, waiter, waits)) => {
                drop((waits, waiter));
                self.release(&[stands]);
            }
            None => {
                let holds = std::mem::take(&mut self.parties[party].holds);
                self.release(&holds);
            }
        }
    }

    fn release(&self, stands: &[Stands]) {
        for stands in stands {
            let mut wakes = Wakes::default();
            self.tables[stands.table].locks.lock().release(stands.ticket, &mut wakes);
            wakes.fire();
        }
    }

    /// Who was woken holds; who was granted was woken.
    fn look_up(&mut self) {
        for party in &mut self.parties {
            let Some((stands, waiter, waits)) = party.waits.take() else { continue };
            let woken = run_blocking(waiter.wait(&mut Patience::of_thread(Some(Duration::ZERO))));
            let granted = self.tables[stands.table].locks.lock().requests[stands.ticket.0].is_granted();
            assert_eq!(woken, granted, "a request of {:?} for {:?}", stands.access, stands.scope);
            match woken {
                true => party.holds.push(stands),
                false => party.waits = Some((stands, waiter, waits)),
            }
        }
    }

    fn check(&self) {
        for (one, party) in self.parties.iter().enumerate() {
            for other in &self.parties[one + 1..] {
                for (held, too) in
                    party.holds.iter().flat_map(|held| other.holds.iter().map(move |too| (held, too)))
                {
                    let both_share = held.access == Access::Shared && too.access == Access::Shared;
                    assert!(
                        held.table != too.table || both_share || !meet(&held.scope, &too.scope),
                        "two hold {:?} and {:?}",
                        held.scope,
                        too.scope
                    );
                }
            }
        }
        for table in &self.tables {
            table.locks.lock().check();
        }
    }

    /// Everybody goes who can.
    fn drain(mut self) {
        while self.parties.iter().any(|party| party.waits.is_some()) {
            let free = |party: &Party<'_>| party.waits.is_none() && !party.holds.is_empty();
            let goes = self.parties.iter().position(free).expect("they wait in a circle that was not found");
            self.leave(goes);
            self.look_up();
            self.check();
        }
        for party in 0..self.parties.len() {
            self.leave(party);
        }
        assert!(self.tables.iter().all(|table| table.locks.lock().is_idle()), "something was left behind");
        assert!(self.deadlocks.is_idle(), "somebody is still said to wait");
    }
}

fn meet(one: &Scope, other: &Scope) -> bool {
    match (one, other) {
        (nothing, _) | (_, nothing) if nothing.is_empty() => false,
        (Scope::Whole, _) | (_, Scope::Whole) => true,
        (Scope::Parts(one), Scope::Parts(other)) => one.iter().any(|part| other.contains(part)),
    }
}

impl Locks {
    /// Whether a request that waits has a reason to.
    fn waits_for_somebody(&self, id: usize) -> bool {
        let request = &self.requests[id];
        let first = self.arrivals.front() == Some(&id);
        match request.place {
            Place::Arriving => !first || !self.may_enter(id),
            _ => request.wants.named().iter().any(|part| {
                self.parts[part]
                    .ids()
                    .take_while(|other| *other != id)
                    .any(|other| !request.is_compatible(&self.requests[other]))
            }),
        }
    }

    /// All that is counted, counted anew.
    fn check(&self) {
        if let Some(id) = self.alone {
            assert!(self.requests.len() == 1 && self.requests[id].is_granted(), "alone, and not");
            let nobody = self.parts.is_empty() && self.owners.is_empty() && self.arrivals.is_empty();
            assert!(nobody && self.inside.is_empty() && self.wholes.is_empty(), "alone, and somewhere");
            return;
        }
        let mut tallies = [Tally::default(); 2];
        for (id, request) in &self.requests {
            match request.place {
                Place::Arriving => assert!(self.arrivals.contains(&id), "nobody knows who arrived"),
                Place::Whole => *tallies[1].of(request.access) += 1,
                Place::Inside { missing } => {
                    *tallies[0].of(request.access) += u32::from(!request.wants.is_empty());
                    let lines = request.wants.named().iter().map(|part| &self.parts[part]);
                    let not_head = lines.filter(|line| !line.heads().any(|head| head == id)).count();
                    assert_eq!(missing, not_head, "heads of lines");
                }
            }
            assert!(request.is_granted() || self.waits_for_somebody(id), "waits for nobody");
        }
        assert!(tallies == [self.inside, self.wholes], "tallies");
        for (part, line) in &self.parts {
            let ids: Vec<usize> = line.ids().collect();
            let order: Vec<u64> = ids.iter().map(|id| self.requests[*id].stands).collect();
            assert!(order.is_sorted_by(|one, next| one < next), "the order is not the same in every line");
            assert!(
                ids.iter().all(|id| self.requests[*id].wants.named().contains(part)),
                "who stands in a line"
            );
            let heads: Vec<&Request> = line.heads().map(|id| &self.requests[id]).collect();
            let together = heads
                .iter()
                .all(|one| heads.iter().all(|other| std::ptr::eq(*one, *other) || one.is_compatible(other)));
            assert!(!heads.is_empty() && together, "heads of a line");
        }
        for (number, own) in &self.owners {
            let all = || self.requests.iter().filter(|(_, request)| request.number() == Some(*number));
            assert_eq!(own.requests as usize, all().count());
            let holds = |request: &Request| request.is_granted() && !request.wants.is_empty();
            assert_eq!(own.granted as usize, all().filter(|(_, request)| holds(request)).count());
            let [mut inside, mut wholes] = [Tally::default(); 2];
            for (_, request) in all() {
                match request.place {
                    Place::Arriving => {}
                    Place::Whole => *wholes.of(request.access) += 1,
                    Place::Inside { .. } => {
                        *inside.of(request.access) += u32::from(!request.wants.is_empty())
                    }
                }
            }
            assert!(own.inside == inside && own.wholes == wholes, "a transaction's tallies");
        }
    }
}

/// Takes these steps one after the other; parties from `UNITS` on are the commands, in order.
fn run(steps: impl IntoIterator<Item = Step>) {
    let deadlocks = Deadlocks::default();
    let mut world = World::new(&deadlocks);
    for step in steps {
        world.go(step);
    }
    world.drain();
}

/// Who arrives behind one that wants the whole stands behind those who were overtaken before it came in.
#[test]
fn who_comes_in_late_stands_behind_who_was_overtaken() {
    let parts = |parts: &[u64]| Scope::parts(parts.iter().map(|part| Part::number(0, *part)));
    let ask = |part| Step::Ask { unit: 0, table: 0, scope: parts(&[part]), access: Access::Exclusive };
    let come = |scope| Step::Come { table: 0, scope };
    let whole = UNITS + 1;
    run([
        ask(0),
        come(parts(&[0, 1, 2])),
        come(Scope::Whole),
        come(parts(&[2])),
        ask(1),
        Step::Leave { party: whole },
        ask(2),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn nobody_waits_for_nothing(steps in vec(any_step(), 1..40)) {
        run(steps);
    }
}

/// What is asked of one table, by a transaction or a command.
#[derive(Clone, Debug)]
enum Ask {
    Request(Option<usize>, Scope, Access),
    Release(usize),
    IsFree(Option<usize>, Scope, Access),
    Blocks(Scope, Access),
    Locked(Option<usize>),
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let who = || prop::option::weighted(0.7, 0..UNITS);
    let access = || prop_oneof![Just(Access::Shared), Just(Access::Exclusive)];
    prop_oneof![
        4 => (who(), any_scope(), access()).prop_map(|(who, scope, access)| Ask::Request(who, scope, access)),
        4 => (0..8usize).prop_map(Ask::Release),
        1 => (who(), any_scope(), access()).prop_map(|(who, scope, access)| Ask::IsFree(who, scope, access)),
        1 => (any_scope(), access()).prop_map(|(scope, access)| Ask::Blocks(scope, access)),
        1 => who().prop_map(Ask::Locked),
    ]
}

/// All that a table answers. `at_once`: whoever is alone is entered before anybody looks.
fn answers(asks: &[Ask], at_once: bool) -> Vec<String> {
    let deadlocks = Deadlocks::default();
    let somebody = || Arc::new(deadlocks.owner(Caller::Task(Waker::from(Arc::new(Somebody)))));
    let owners: Vec<Arc<Owner>> = (0..UNITS).map(|_| somebody()).collect();
    let owner = |who: &Option<usize>| who.map(|who| &owners[who]);
    let (mut locks, mut stand, mut said) = (Locks::default(), Vec::new(), Vec::new());
    for ask in asks {
        let mut wakes = Wakes::default();
        match ask {
            // One that waits asks for nothing more.
            Ask::Request(Some(who), ..)
                if stand
                    .iter()
                    .any(|(other, id)| *other == Some(*who) && !locks.requests[*id].is_granted()) => {}
            Ask::Request(who, scope, access) => {
                let access = if who.is_some() { *access } else { Access::Exclusive };
                let (ticket, waiter) = locks.request(scope, access, owner(who), &mut wakes);
                said.push(format!("{ticket:?} {}", waiter.is_some()));
                stand.push((*who, ticket.0));
            }
            Ask::Release(index) if *index < stand.len() => {
                locks.release(Ticket(stand.remove(*index).1), &mut wakes);
            }
            Ask::Release(_) => {}
            Ask::IsFree(who, scope, access) => {
                said.push(format!("{}", locks.is_free(scope, *access, owner(who))));
            }
            Ask::Blocks(scope, access) => said.push(format!("{}", locks.blocks(scope, *access))),
            Ask::Locked(who) => {
                let locked = locks.locked_parts(owner(who).map(|owner| owner.number));
                let parts = (0..=PARTS).map(|part| locked.contains(&Part::number(0, part)));
                said.push(format!("{:?}", parts.collect::<Vec<_>>()));
            }
        }
        wakes.fire();
        if at_once {
            locks.enter_alone();
        }
        locks.check();
        for (_, id) in &stand {
            let mut in_the_way: Vec<u64> =
                locks.in_the_way(Ticket(*id)).iter().map(|owner| owner.number).collect();
            in_the_way.sort_unstable();
            said.push(format!("{} {in_the_way:?}", locks.requests[*id].is_granted()));
        }
    }
    for (_, id) in stand {
        let mut wakes = Wakes::default();
        locks.release(Ticket(id), &mut wakes);
        wakes.fire();
    }
    assert!(locks.is_idle(), "something was left behind");
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// That whoever is alone stands nowhere is nobody's to notice.
    #[test]
    fn who_is_alone_is_as_if_it_stood(asks in vec(any_ask(), 1..25)) {
        prop_assert_eq!(answers(&asks, false), answers(&asks, true));
    }
}
