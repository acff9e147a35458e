//! Given, when, then: an aggregate's rules tested as sentences, without an engine.

// A test that fails panics: that is what these functions are for.
#![allow(clippy::panic)]

use std::fmt::Debug;
use std::sync::Arc;

use crate::aggregate::{Aggregate, Context, Events};
use crate::clock::Timestamp;
use crate::error::Invalid;
use crate::limits::Limits;
use crate::log::{Draft, EventKind, decode};
use crate::scope::Scope;

/// Starts a test of an aggregate with what its decisions may ask of the outside world.
///
/// ```
/// use boxoffice::layout::Layout;
/// use boxoffice::testing::given;
/// use boxoffice::venue::{Venue, VenueCommand, VenueServices};
///
/// let hall = Layout::from_labels(["A1", "A2", "A3"]).unwrap();
/// let sold = given::<Venue>(VenueServices::default())
///     .after(&VenueCommand::create(hall))
///     .after(&VenueCommand::reserve(7, ["A1"]));
///
/// sold.clone()
///     .when(&VenueCommand::reserve(8, ["A2"]))
///     .then_accepted()
///     .whatever_happens([VenueCommand::release(7, ["A1"]), VenueCommand::reserve(9, ["A3"])]);
///
/// let no = sold.when(&VenueCommand::reserve(8, ["A1", "A2"])).then_rejected();
/// assert_eq!(no.reason(), "seat_reserved");
/// ```
///
/// Every step also holds the aggregate to what [`Aggregate`] asks of it: the scope is the same when it is
/// asked twice, every event stays in scope, what is written reads back as it was, and nothing depends on
/// what is not in scope. A test that fails panics, and says what is wrong.
///
/// # Panics
///
/// If the aggregate's [upcasts](Aggregate::upcasts) do not lead to its event version.
#[track_caller]
pub fn given<A: Aggregate>(services: A::Services) -> Given<A> {
    let version = A::EVENT_VERSION;
    if let Err(what) = A::upcasts().check(version).and_then(|()| A::rejection_upcasts().check(version)) {
        panic!("the upcasts of {}: {what}", A::TYPE);
    }
    Given { services: Arc::new(services), state: A::State::default(), version: 0, now: Timestamp(0) }
}

/// What has happened so far. Made by [`given`].
#[must_use]
pub struct Given<A: Aggregate> {
    services: Arc<A::Services>,
    state: A::State,
    version: u64,
    now: Timestamp,
}

impl<A: Aggregate> Clone for Given<A> {
    fn clone(&self) -> Self {
        Self { services: Arc::clone(&self.services), state: self.state.clone(), ..*self }
    }
}

impl<A: Aggregate> Given<A> {
    /// It is this time from here on; 0 until it is said.
    ///
    /// # Panics
    ///
    /// If time goes back, which an engine never lets an aggregate see.
    #[track_caller]
    pub fn at(self, now: Timestamp) -> Self {
        assert!(now >= self.now, "time went back from {:?} to {now:?}", self.now);
        Self { now, ..self }
    }

    /// These events have happened.
    pub fn events(mut self, events: impl IntoIterator<Item = A::Event>) -> Self {
        for event in events {
            A::apply(&mut self.state, &event);
            self.version += 1;
        }
        self
    }

    /// The state now.
    pub fn state(&self) -> &A::State {
        &self.state
    }

    fn decide(&self, command: &A::Command, scope: &Scope) -> Decision<A> {
        A::decide(&self.state, command, &Context { now: self.now, services: &*self.services, scope })
    }
}

impl<A: Aggregate> Given<A>
where
    A::Event: PartialEq + Debug,
    A::Rejection: PartialEq + Debug,
{
    /// This command has been accepted.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[track_caller]
    pub fn after(self, command: &A::Command) -> Self {
        self.when(command).then_accepted().so_far()
    }

    /// This command comes.
    ///
    /// # Panics
    ///
    /// If the aggregate breaks a rule that [`Aggregate`] sets for it.
    #[track_caller]
    pub fn when(self, command: &A::Command) -> Asked<'_, A> {
        let answer = match A::check(command, &Limits::default()) {
            Err(why) => Answer::Refused(Refused::Invalid(why)),
            Ok(()) if self.version == 0 && !A::creates(command) => Answer::Refused(Refused::UnknownStream),
            Ok(()) => {
                let scope = A::scope(&self.state, command);
                let again = A::scope(&self.state, command);
                assert_eq!(scope, again, "the scope of one command on one state must always be the same");
                let decision = self.decide(command, &scope);
                check_decision::<A>(&decision, &scope);
                Answer::Decided(scope, decision)
            }
        };
        Asked { given: self, command, answer }
    }
}

type Decision<A> = Result<Events<<A as Aggregate>::Event>, <A as Aggregate>::Rejection>;

/// What an engine would check, and that what is written reads back.
#[track_caller]
fn check_decision<A: Aggregate>(decision: &Decision<A>, scope: &Scope)
where
    A::Event: PartialEq + Debug,
    A::Rejection: PartialEq + Debug,
{
    match decision {
        Ok(events) => {
            for event in events.iter() {
                if let Some(outside) = scope.first_outside(&A::touches(event)) {
                    panic!("{event:?} touches {outside}, which the scope of its command does not name");
                }
                check_encoding(event, EventKind::Event);
            }
        }
        Err(rejection) => check_encoding(rejection, EventKind::Rejection),
    }
}

#[track_caller]
fn check_encoding<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(
    value: &T,
    kind: EventKind,
) {
    let mut draft = Draft::new(Limits::default().entry_bytes);
    if let Err(error) = draft.push(kind, 1, value) {
        panic!("{value:?}: {error}");
    }
    match draft.payload().map(decode::<T>) {
        Some(Ok(read)) => assert_eq!(&read, value, "what was written reads back as something else"),
        Some(Err(cause)) => panic!("{value:?} was written and cannot be read: {cause}"),
        None => panic!("{value:?} was not written"),
    }
}

/// Why a command did not get as far as a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// [`Aggregate::check`] said no.
    Invalid(Invalid),
    /// Nothing has happened yet, and the command may not be the first: [`Aggregate::creates`].
    UnknownStream,
}

enum Answer<A: Aggregate> {
    Refused(Refused),
    Decided(Scope, Decision<A>),
}

/// What a command leads to: say what that must be. Made by [`Given::when`].
#[must_use = "say what the command must lead to"]
pub struct Asked<'c, A: Aggregate> {
    given: Given<A>,
    command: &'c A::Command,
    answer: Answer<A>,
}

impl<'c, A: Aggregate> Asked<'c, A>
where
    A::Event: PartialEq + Debug,
    A::Rejection: PartialEq + Debug,
{
    /// It leads to exactly these events.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Then<'c, A> {
        let expected: Vec<A::Event> = events.into_iter().collect();
        let then = self.then_accepted();
        assert_eq!(then.events(), expected, "other events than expected");
        then
    }

    /// It is accepted, whatever the events.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[track_caller]
    pub fn then_accepted(self) -> Then<'c, A> {
        let Self { given, command, answer } = self;
        match answer {
            Answer::Decided(scope, Ok(events)) => Then { given, command, scope, events },
            Answer::Decided(_, Err(no)) => panic!("expected to be accepted, was rejected: {no:?}"),
            Answer::Refused(why) => panic!("expected to be accepted, was refused: {why:?}"),
        }
    }

    /// It is rejected; gives the rejection.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[track_caller]
    pub fn then_rejected(self) -> A::Rejection {
        match self.answer {
            Answer::Decided(_, Err(rejection)) => rejection,
            Answer::Decided(_, Ok(events)) => panic!("expected to be rejected, led to {events:?}"),
            Answer::Refused(why) => panic!("expected to be rejected, was refused: {why:?}"),
        }
    }

    /// It is not even decided; gives the reason.
    ///
    /// # Panics
    ///
    /// If it is.
    #[track_caller]
    pub fn then_refused(self) -> Refused {
        match self.answer {
            Answer::Refused(why) => why,
            Answer::Decided(_, decision) => panic!("expected to be refused, was decided: {decision:?}"),
        }
    }
}

/// A command that was accepted. Made by [`Asked::then`].
pub struct Then<'c, A: Aggregate> {
    given: Given<A>,
    command: &'c A::Command,
    scope: Scope,
    events: Events<A::Event>,
}

impl<A: Aggregate> Then<'_, A>
where
    A::Event: PartialEq + Debug,
    A::Rejection: PartialEq + Debug,
{
    /// The events.
    pub fn events(&self) -> &[A::Event] {
        &self.events
    }

    /// What the command depended on.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The decision depends on nothing but its scope: it is the same after each of these commands, as far as
    /// they happen outside it. An engine lets those commit between a decision and its commit.
    ///
    /// # Panics
    ///
    /// If the decision changes, which is a write skew waiting to happen: name what it reads in
    /// [`Aggregate::scope`]. Also if none of the commands does anything outside the scope, since then nothing
    /// was tested.
    #[track_caller]
    pub fn whatever_happens(self, commands: impl IntoIterator<Item = A::Command>) -> Self {
        let mut disturbed = self.given.clone();
        let mut tested = false;
        for other in commands {
            let Answer::Decided(_, Ok(events)) = disturbed.clone().when(&other).answer else { continue };
            let outside = events.iter().all(|event| is_disjoint(&self.scope, &A::touches(event)));
            if !outside || events.is_empty() {
                continue;
            }
            disturbed = disturbed.events(events);
            tested = true;
            match disturbed.decide(self.command, &self.scope) {
                Ok(events) if events == self.events => {}
                other => panic!(
                    "the decision depends on what its scope does not name\n  before: {:?}\n   after: {other:?}",
                    self.events()
                ),
            }
        }
        assert!(tested, "none of these commands does anything outside the scope, so nothing was tested");
        self
    }

    /// Goes on after the events.
    pub fn so_far(self) -> Given<A> {
        self.given.events(self.events)
    }
}

fn is_disjoint(one: &Scope, other: &Scope) -> bool {
    match (one, other) {
        (Scope::Parts(one), Scope::Parts(other)) => !one.iter().any(|part| other.contains(part)),
        _ => one.is_empty() || other.is_empty(),
    }
}
