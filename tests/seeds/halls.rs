//! What the systems have in common: halls on real files, a decision that is held where it is, a venue that is
//! watched while it decides, and tasks that are all in flight at once.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use boxoffice::error::Invalid;
use boxoffice::history::Happened;
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::options::Builder;
use boxoffice::venue::{
    CustomerId, Rejection, Request, SeatLedger, Venue, VenueCommand, VenueEvent, VenueServices, VenueState,
};
use boxoffice::{Aggregate, Context, Engine, Events, Handle, Limits, Options, Scope};
use tempfile::TempDir;

use crate::support::{Door, Polled};

/// The venue of the first system.
pub(crate) const HALL: &str = "concert-hall";

/// A place for a file, which is gone with the folder.
pub(crate) fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hall.boxoffice");
    (folder, path)
}

pub(crate) fn three_seats() -> VenueCommand {
    VenueCommand::create(Layout::from_labels(["A1", "A2", "A3"]).unwrap())
}

/// The concert hall with its three seats, in memory.
pub(crate) fn concert_hall(options: Options) -> (Engine, Handle<Venue>) {
    let engine = Engine::builder().aggregate_with::<Venue>(options).in_memory().unwrap();
    let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
    assert!(venues.execute(HALL, &three_seats()).unwrap().is_accepted());
    (engine, venues)
}

/// The word of a rejection; `None` if the command was accepted.
#[track_caller]
pub(crate) fn reason<C: CustomerId>(
    venues: &Handle<Venue<C>>,
    id: &str,
    command: &VenueCommand<C>,
) -> Option<&'static str> {
    venues.execute(id, command).unwrap().rejection().map(Rejection::reason)
}

/// Services that wait at a door before they say that somebody may buy: a slow handler.
pub(crate) fn slow<C: CustomerId>(door: &Arc<Door>) -> VenueServices<C> {
    let door = Arc::clone(door);
    VenueServices::default().with_eligibility(move |_: &Request<'_, C>| {
        door.pass();
        Ok(())
    })
}

/// Runs `then` while another thread is inside the decision of `command`, at `door`, with its locks if it has any. It is
/// accepted in the end.
pub(crate) fn while_deciding<A: Aggregate, T>(
    (slow, door): (&Handle<A>, &Door),
    (id, command): (&str, &A::Command),
    then: impl FnOnce() -> T,
) -> T
where
    A::Event: Debug,
    A::Rejection: Debug,
{
    thread::scope(|scope| {
        let deciding = scope.spawn(|| slow.execute(id, command));
        door.await_arrivals(1);
        let value = then();
        door.open();
        let outcome = deciding.join().unwrap().unwrap();
        assert!(outcome.is_accepted(), "{outcome:?}");
        value
    })
}

/// What a second bookkeeping says of a venue's history: no seat ever had two holders, and none was taken from
/// somebody who did not have it; and every state is what the history adds up to.
#[track_caller]
pub(crate) fn audited<C: CustomerId>(venues: &Handle<Venue<C>>, id: &str) -> SeatLedger<C> {
    let mut ledger = SeatLedger::new();
    for recorded in venues.history(id).unwrap().map(Result::unwrap) {
        if let Happened::Event(event) = &recorded.what {
            ledger.record(recorded.moment(), event);
        }
    }
    assert!(ledger.two_holders().is_empty(), "{:?}", ledger.two_holders());
    assert!(ledger.not_held().is_empty(), "{:?}", ledger.not_held());
    let verified = venues.verify().unwrap();
    assert!(verified.is_clean(), "{verified:?}");
    ledger
}

/// How many events and how many rejections a venue's history holds.
pub(crate) fn counts<A: Aggregate>(handle: &Handle<A>, id: &str) -> (usize, usize) {
    let history = handle.history(id).unwrap().map(Result::unwrap);
    let (events, rejections): (Vec<_>, Vec<_>) =
        history.partition(|recorded| matches!(recorded.what, Happened::Event(_)));
    (events.len(), rejections.len())
}

/// Who has reserved the seat with this label.
pub(crate) fn holder<C: CustomerId>(state: &VenueState<C>, label: &str) -> Option<C> {
    let seat: SeatIndex = state.layout().unwrap().seat(label).unwrap();
    state.holder(seat).cloned()
}

/// Polls every task once, so that all are in flight, then those that are woken until all are done.
pub(crate) fn all_at_once<'f, T>(
    tasks: impl IntoIterator<Item = Polled<'f, T>>,
    begun: impl FnOnce(),
) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (Some(task), 0, None)).collect();
    for (task, _, done) in &mut tasks {
        *done = task.as_mut().and_then(Polled::poll);
    }
    begun();
    crate::support::eventually("all tasks are done", || {
        for (task, seen, done) in &mut tasks {
            let Some(polled) = task.as_mut().filter(|task| done.is_none() && task.woken() > *seen) else {
                continue;
            };
            *seen = polled.woken();
            *done = polled.poll();
            if done.is_some() {
                *task = None;
            }
        }
        tasks.iter().all(|(_, _, done)| done.is_some()).then_some(())
    });
    tasks.into_iter().filter_map(|(_, _, done)| done).collect()
}

/// What is done around every decision of a watched venue, and with every event that it applies.
pub(crate) trait Eye: Send + Sync + 'static {
    const TYPE: &'static str;

    fn around<T>(_command: &VenueCommand, decide: impl FnOnce() -> T) -> T {
        decide()
    }

    fn applies() {}
}

/// A [`Venue`] under an eye.
pub(crate) struct Watched<E>(PhantomData<fn() -> E>);

impl<E: Eye> Aggregate for Watched<E> {
    const TYPE: &'static str = E::TYPE;
    type State = VenueState;
    type Command = VenueCommand;
    type Event = VenueEvent;
    type Rejection = Rejection;
    type Services = VenueServices;

    fn creates(command: &VenueCommand) -> bool {
        Venue::creates(command)
    }

    fn check(command: &VenueCommand, limits: &Limits) -> Result<(), Invalid> {
        Venue::check(command, limits)
    }

    fn scope(state: &VenueState, command: &VenueCommand) -> Scope {
        Venue::scope(state, command)
    }

    fn decide(
        state: &VenueState,
        command: &VenueCommand,
        context: &Context<'_, VenueServices>,
    ) -> Result<Events<VenueEvent>, Rejection> {
        E::around(command, || Venue::decide(state, command, context))
    }

    fn touches(event: &VenueEvent) -> Scope {
        Venue::touches(event)
    }

    fn apply(state: &mut VenueState, event: &VenueEvent) {
        E::applies();
        Venue::apply(state, event);
    }
}

/// The concert hall under an eye.
pub(crate) fn watched<E: Eye>(builder: Builder, options: Options) -> (Engine, Handle<Watched<E>>) {
    let engine = builder.aggregate_with::<Watched<E>>(options).in_memory().unwrap();
    let venues = engine.handle::<Watched<E>>(VenueServices::default()).unwrap();
    assert!(venues.execute(HALL, &three_seats()).unwrap().is_accepted());
    (engine, venues)
}
