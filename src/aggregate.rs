//! The trait that a user implements: what is asked, what is decided, and how state follows.

mod audit;
mod upcasts;

use std::ops::Deref;
use std::{fmt, iter, slice};

use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::error::Invalid;
pub use audit::{Audit, Moment};

pub use crate::intern::Interner;
use crate::limits::Limits;
pub use crate::scope::LockedParts;
use crate::scope::Scope;
pub use upcasts::Upcasts;

/// A consistency boundary: its state is the fold of its events, and every command is decided
/// against it.
///
/// The engine calls these functions; they never call the engine. All but [`decide`](Self::decide)
/// and [`apply`](Self::apply) have defaults that are safe and slow: start with those, then name
/// scopes where commands should run side by side.
///
/// ```
/// use boxoffice::{Aggregate, Context, Engine, Events};
/// use serde::{Deserialize, Serialize};
///
/// /// A car park that is full at a fixed number of cars.
/// struct Garage;
///
/// enum Command { Enter, Leave }
///
/// #[derive(Serialize, Deserialize)]
/// enum Event { Entered, Left }
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum Refusal { Full, Empty }
///
/// impl Aggregate for Garage {
///     const TYPE: &'static str = "garage";
///     type State = u32;
///     type Command = Command;
///     type Event = Event;
///     type Rejection = Refusal;
///     type Services = u32; // how many cars fit
///
///     fn decide(cars: &u32, command: &Command, ctx: &Context<'_, u32>) -> Result<Events<Event>, Refusal> {
///         match command {
///             Command::Enter if cars >= ctx.services() => Err(Refusal::Full),
///             Command::Enter => Ok(Event::Entered.into()),
///             Command::Leave if *cars == 0 => Err(Refusal::Empty),
///             Command::Leave => Ok(Event::Left.into()),
///         }
///     }
///
///     fn apply(cars: &mut u32, event: &Event) {
///         match event {
///             Event::Entered => *cars += 1,
///             Event::Left => *cars -= 1,
///         }
///     }
/// }
///
/// let engine = Engine::builder().aggregate::<Garage>().in_memory()?;
/// let garages = engine.handle::<Garage>(2)?;
/// assert!(garages.execute("north", &Command::Enter)?.is_accepted());
/// assert!(garages.execute("north", &Command::Enter)?.is_accepted());
/// assert_eq!(garages.execute("north", &Command::Enter)?.rejection(), Some(&Refusal::Full));
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
pub trait Aggregate: Sized + Send + Sync + 'static {
    /// The type's name in the log. Never change it once a file exists.
    const TYPE: &'static str;

    /// The version of [`Event`](Self::Event) and [`Rejection`](Self::Rejection) as they are written
    /// now, from 1. Stored with each; an event of a higher version fences its stream on open, one of a
    /// lower version is read by [`upcasts`](Self::upcasts). [`Upcasts`] says when to raise it.
    const EVENT_VERSION: u16 = 1;

    /// The state; `default()` is the state before the first event.
    ///
    /// `clone` must be O(1): the engine clones while it holds the stream's mutex whenever somebody
    /// still looks at the old state. Put what is large behind an [`Arc`](std::sync::Arc) or in a
    /// [`CowArray`](crate::cow::CowArray).
    type State: Default + Clone + Send + Sync + 'static;

    /// What is asked.
    type Command: Send + Sync;

    /// What was decided: all that a state is made of. May be serialized more than once, the same each time.
    type Event: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Why the domain said no. Stored like an event unless the options say otherwise; always for a command with an id,
    /// never for one in a transaction. Serialized as an event is.
    type Rejection: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What `decide` may ask of the outside world, injected with the handle.
    type Services: Send + Sync + 'static;

    /// Whether this command may be the first of a stream. A command that may not gets
    /// [`Error::UnknownStream`](crate::Error::UnknownStream) when the stream has no events.
    ///
    /// Default: every command may.
    fn creates(_command: &Self::Command) -> bool {
        true
    }

    /// Refuses a command that no state could accept: a seat twice in a cart, a number out of range.
    /// Called first, and cheap.
    ///
    /// # Errors
    ///
    /// [`Invalid`] says what is wrong; the caller gets it as
    /// [`Error::InvalidCommand`](crate::Error::InvalidCommand) and nothing is stored.
    fn check(_command: &Self::Command, _limits: &Limits) -> Result<(), Invalid> {
        Ok(())
    }

    /// The parts that deciding this command reads or changes. Pure, cheap, and repeatable: the same
    /// state and command give the same scope. It may choose: the first free seat is the one this
    /// function names, and `decide` finds it in [`Context::scope`].
    ///
    /// Default: [`Scope::Whole`].
    fn scope(_state: &Self::State, _command: &Self::Command) -> Scope {
        Scope::Whole
    }

    /// Looks at what deciding on these scopes will look at, and does nothing else. Asked once for all commands of a group
    /// ([`Handle::submit_all`](crate::Handle::submit_all)) before the first of them is decided, so that the processor has
    /// their trips to memory under way at once.
    ///
    /// Worth it for states of many megabytes. [`CowArray::prefetch`](crate::cow::CowArray::prefetch) does it for elements of
    /// an array. Elsewhere, put what is read through [`black_box`](std::hint::black_box), or the compiler leaves it out.
    ///
    /// Default: nothing.
    fn prefetch<'s>(_state: &Self::State, _scopes: impl Iterator<Item = &'s Scope>) {}

    /// As [`scope`](Self::scope), for a caller who would rather have other parts than wait for those that somebody
    /// has locked: chooses only among parts that `locked` does not contain. `decide` finds the choice in
    /// [`Context::scope`] and makes no other.
    ///
    /// Default: a command names its parts and cannot choose others.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a command that leaves no choice; the caller gets it as
    /// [`Error::InvalidCommand`](crate::Error::InvalidCommand).
    fn scope_skipping(
        _state: &Self::State,
        _command: &Self::Command,
        _locked: &LockedParts,
    ) -> Result<Scope, Invalid> {
        Err(Invalid::new(
            "the command names its parts; only one that leaves a choice can skip what is locked",
        ))
    }

    /// The decision: events, or a rejection. Pure but for its services; may be slow, since no mutex
    /// is held. Runs on the calling thread or task. Under pessimistic concurrency it runs exactly
    /// once per command; under optimistic concurrency once per attempt.
    ///
    /// No events and no rejection is a decision too: nothing is stored.
    ///
    /// # Errors
    ///
    /// The rejection, which is an outcome and not a failure.
    fn decide(
        state: &Self::State,
        command: &Self::Command,
        context: &Context<'_, Self::Services>,
    ) -> Result<Events<Self::Event>, Self::Rejection>;

    /// The parts that this event changes. They must be in the scope of the command that caused it.
    ///
    /// Default: [`Scope::Whole`].
    fn touches(_event: &Self::Event) -> Scope {
        Scope::Whole
    }

    /// Changes the state by one event. Cannot fail, does not block, reads no clock, calls nothing:
    /// it runs with the stream's mutex held, live and on replay alike.
    fn apply(state: &mut Self::State, event: &Self::Event);

    /// Replaces immutable data that many streams have in common by one shared copy. Called for the events
    /// of a stream's first decision (of its first step, in a transaction), and for those of its first entry when that is
    /// read from the log; not for later ones.
    ///
    /// Default: nothing is shared.
    fn intern(event: Self::Event, _pool: &mut Interner) -> Self::Event {
        event
    }

    /// How events of older versions become events of [`EVENT_VERSION`](Self::EVENT_VERSION), step by step.
    /// Asked when the type is registered, and by every look at an entry of a feed: cheap. What is missing is
    /// [`Error::InvalidUpcasts`](crate::Error::InvalidUpcasts).
    ///
    /// Default: version 1 is the first and the only one.
    fn upcasts() -> Upcasts<Self::Event> {
        Upcasts::from_version(1)
    }

    /// The same for rejections, which have the version number of the events. Only a
    /// [`history`](crate::Handle::history) reads them: one that cannot be read ends it, and fences nothing.
    ///
    /// Default: the type of the rejections has not changed since version 1.
    fn rejection_upcasts() -> Upcasts<Self::Rejection> {
        Upcasts::unchanged_since(1)
    }

    /// A second opinion on a stream's events, asked by [`Handle::verify`](crate::Handle::verify): one for each
    /// stream, from its first event on.
    ///
    /// Default: none.
    fn audit() -> Option<Box<dyn Audit<Self::Event>>> {
        None
    }
}

/// What a decision may use beside the state and the command.
#[derive(Debug)]
pub struct Context<'a, S> {
    pub(crate) now: Timestamp,
    pub(crate) services: &'a S,
    pub(crate) scope: &'a Scope,
}

impl<'a, S> Context<'a, S> {
    /// The time of this attempt, read once. Never below the time of any event in the state, even if
    /// the clock stepped back.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The services that came with the handle.
    pub fn services(&self) -> &'a S {
        self.services
    }

    /// What [`Aggregate::scope`] said, part for part in its order: exactly this is locked or checked.
    pub fn scope(&self) -> &'a Scope {
        self.scope
    }

    /// The same time and scope with other services: for an aggregate that has more of its own, and leaves the
    /// decision to another one.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand, FlashSaleEvent, FlashSaleState, Rejection};
    /// use boxoffice::{Aggregate, Context, Engine, Events};
    ///
    /// /// A sale that counts its decisions.
    /// struct Counted;
    ///
    /// impl Aggregate for Counted {
    ///     const TYPE: &'static str = "counted";
    ///     type State = FlashSaleState;
    ///     type Command = FlashSaleCommand;
    ///     type Event = FlashSaleEvent;
    ///     type Rejection = Rejection;
    ///     type Services = AtomicU32;
    ///
    ///     fn decide(
    ///         state: &FlashSaleState,
    ///         command: &FlashSaleCommand,
    ///         ctx: &Context<'_, AtomicU32>,
    ///     ) -> Result<Events<FlashSaleEvent>, Rejection> {
    ///         assert!(ctx.services().fetch_add(1, Ordering::Relaxed) < 2);
    ///         FlashSale::decide(state, command, &ctx.with_services(&()))
    ///     }
    ///
    ///     fn apply(state: &mut FlashSaleState, event: &FlashSaleEvent) {
    ///         FlashSale::apply(state, event);
    ///     }
    /// }
    ///
    /// let engine = Engine::builder().aggregate::<Counted>().in_memory()?;
    /// let sales = engine.handle::<Counted>(AtomicU32::new(0))?;
    /// assert!(sales.execute("lamp", &FlashSaleCommand::create(1))?.is_accepted());
    /// assert!(sales.execute("lamp", &FlashSaleCommand::purchase("ada", 1))?.is_accepted());
    /// # engine.close()?;
    /// # Ok::<(), boxoffice::Error>(())
    /// ```
    pub fn with_services<'b, T>(&self, services: &'b T) -> Context<'b, T>
    where
        'a: 'b,
    {
        Context { now: self.now, services, scope: self.scope }
    }
}

/// The events of one decision, in order. A single event needs no allocation.
///
/// ```
/// use boxoffice::Events;
/// let one: Events<u8> = 7.into();
/// let many: Events<u8> = vec![1, 2, 3].into();
/// assert_eq!((one.len(), many.len(), Events::<u8>::none().len()), (1, 3, 0));
/// ```
#[derive(Clone)]
pub struct Events<E>(Several<E>);

#[derive(Clone)]
enum Several<E> {
    One(E),
    Many(Vec<E>),
}

impl<E> Events<E> {
    /// No events: the command asked for what is already so.
    pub fn none() -> Self {
        Self(Several::Many(Vec::new()))
    }

    pub(crate) fn map(self, change: impl FnMut(E) -> E) -> Self {
        self.into_iter().map(change).collect()
    }

    /// Adds them to others, and leaves none: one, which is what most decisions are, without a loop.
    pub(crate) fn move_to(&mut self, others: &mut SmallVec<[E; 1]>) {
        match std::mem::replace(self, Self::none()).0 {
            Several::One(event) => others.push(event),
            Several::Many(events) => others.extend(events),
        }
    }
}

impl<E> From<E> for Events<E> {
    fn from(event: E) -> Self {
        Self(Several::One(event))
    }
}

impl<E> From<Vec<E>> for Events<E> {
    fn from(events: Vec<E>) -> Self {
        Self(Several::Many(events))
    }
}

impl<E> FromIterator<E> for Events<E> {
    fn from_iter<I: IntoIterator<Item = E>>(events: I) -> Self {
        let mut events = events.into_iter();
        match (events.next(), events.size_hint()) {
            (None, _) => Self::none(),
            (Some(only), (_, Some(0))) => only.into(),
            (Some(first), _) => Self(Several::Many(iter::once(first).chain(events).collect())),
        }
    }
}

impl<E> IntoIterator for Events<E> {
    type Item = E;
    type IntoIter = IntoEvents<E>;

    fn into_iter(self) -> IntoEvents<E> {
        let (one, many) = match self.0 {
            Several::One(event) => (Some(event), Vec::new()),
            Several::Many(events) => (None, events),
        };
        IntoEvents(one.into_iter().chain(many))
    }
}

/// The events of one decision, one by one.
#[derive(Debug)]
pub struct IntoEvents<E>(iter::Chain<std::option::IntoIter<E>, std::vec::IntoIter<E>>);

impl<E> Iterator for IntoEvents<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<E> ExactSizeIterator for IntoEvents<E> {}

impl<E> Deref for Events<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        match &self.0 {
            Several::One(event) => slice::from_ref(event),
            Several::Many(events) => events,
        }
    }
}

impl<E: PartialEq> PartialEq for Events<E> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<E: Eq> Eq for Events<E> {}

impl<E: fmt::Debug> fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}
