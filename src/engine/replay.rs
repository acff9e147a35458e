//! State from the log: one stream's events folded, the same way at open and after a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::registry::Registry;
use super::schema::Schema;
use super::stream::{Inner, StateArc, Stream};
use crate::aggregate::{Aggregate, Interner};
use crate::error::{Cause, Error, Fence, StreamName};
use crate::log::{EventKind, Events, Malformed, Run};

/// A stream being read from the log.
pub(crate) struct Fold<A: Aggregate> {
    registry: Arc<Registry<A>>,
    pub(crate) state: A::State,
    inner: Inner<A>,
    name: StreamName,
    pool: Interner,
}

/// A fold whose type is not known here.
pub(crate) trait AnyFold: Send {
    /// Takes what the stream got next. An event that cannot be taken fences the stream.
    fn run(&mut self, run: &Run<'_>) -> Result<(), Malformed>;

    /// Puts the stream into its registry; returns why it is fenced, if it is.
    fn finish(self: Box<Self>) -> Result<Option<(StreamName, Fence)>, Error>;
}

/// Why no further event is taken.
enum Stop {
    Malformed(Malformed),
    Fence(Fence),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Fence> for Stop {
    fn from(fence: Fence) -> Self {
        Self::Fence(fence)
    }
}

impl<A: Aggregate> Fold<A> {
    pub(crate) fn new(registry: Arc<Registry<A>>, id: &str, number: u32) -> Self {
        let inner = Inner { number: Some(number), ..Inner::default() };
        let pool = registry.interner.again();
        Self { registry, state: A::State::default(), inner, name: Registry::<A>::name(id), pool }
    }

    /// Why the events so far could not all be taken.
    pub(crate) fn fence(&self) -> Option<&Fence> {
        self.inner.fence.as_ref()
    }

    pub(crate) fn version(&self) -> u64 {
        self.inner.version
    }

    pub(crate) fn position(&self) -> u64 {
        self.inner.position
    }

    /// Takes events up to the first that cannot be taken. The first `shared` of them are interned.
    fn take(&mut self, events: &mut Events<'_>, mut shared: u32) -> Result<(), Stop> {
        let Self { registry, state, pool, .. } = self;
        for event in events {
            let event = event?;
            if event.kind == EventKind::Rejection {
                Schema::<A>::refuse_newer(&event)?;
            } else {
                let mut event = registry.schema.event(&event)?;
                if shared > 0 {
                    event = A::intern(event, pool);
                }
                A::apply(state, &event);
            }
            shared = shared.saturating_sub(1);
        }
        Ok(())
    }
}

impl<A: Aggregate> AnyFold for Fold<A> {
    fn run(&mut self, run: &Run<'_>) -> Result<(), Malformed> {
        let mut events = run.events();
        if self.inner.fence.is_none() {
            // Only what a stream begins with is shared with others.
            let shared = if self.inner.version == 0 { run.begins_with } else { 0 };
            // All of this is foreign code, the decoding too.
            self.inner.fence = match catch_unwind(AssertUnwindSafe(|| self.take(&mut events, shared))) {
                Ok(Ok(())) => None,
                Ok(Err(Stop::Fence(fence))) => Some(fence),
                Ok(Err(Stop::Malformed(malformed))) => return Err(malformed),
                Err(panic) => Some(Fence::ApplyPanicked(panic_message(&*panic))),
            };
        }
        // Of what comes after a fence only the form is looked at.
        events.finish()?;
        if self.inner.born == 0 {
            self.inner.born = run.first;
        }
        self.inner.version += run.count;
        self.inner.position = run.last;
        self.inner.decided_at = self.inner.decided_at.max(run.decided_at);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Option<(StreamName, Fence)>, Error> {
        let Self { registry, state, mut inner, name, pool: _ } = *self;
        inner.state = StateArc::new(state);
        let fenced = inner.fence.clone().map(|fence| (name.clone(), fence));
        registry.insert(Stream::new(name, inner))?;
        Ok(fenced)
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> Cause {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    Cause::from(said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message"))
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::{Context, Events as Decided};
    use crate::clock::Timestamp;
    use crate::engine::options::Options;
    use crate::log::{Dealer, Draft, Entry, NewSpan, RowView, StreamRef, sealed};

    /// Adds up numbers, and how many of them were interned.
    struct Sum;

    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
    enum Added {
        Number { number: u32, shared: bool },
        Bomb,
    }

    impl Aggregate for Sum {
        const TYPE: &'static str = "sum";
        type State = (u32, u32);
        type Command = ();
        type Event = Added;
        type Rejection = ();
        type Services = ();

        fn decide(_: &(u32, u32), (): &(), _: &Context<'_, ()>) -> Result<Decided<Added>, ()> {
            Err(())
        }

        fn apply((sum, interned): &mut (u32, u32), event: &Added) {
            let Added::Number { number, shared } = event else { panic!("a bomb after {sum}") };
            *sum += number;
            *interned += u32::from(*shared);
        }

        fn intern(event: Added, _: &mut Interner) -> Added {
            match event {
                Added::Number { number, .. } => Added::Number { number, shared: true },
                Added::Bomb => panic!("a bomb is not shared"),
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Stored {
        Number(u32),
        Rejection,
        Bomb,
        Nonsense,
        NewerRejection,
    }

    fn stored() -> impl Strategy<Value = Stored> {
        prop_oneof![
            20 => (1..99u32).prop_map(Stored::Number),
            3 => Just(Stored::Rejection),
            1 => Just(Stored::Bomb),
            1 => Just(Stored::Nonsense),
            1 => Just(Stored::NewerRejection),
        ]
    }

    fn row(entries: &[Vec<Stored>]) -> Vec<u8> {
        let mut version = 1;
        let mut written = Vec::new();
        for (index, events) in entries.iter().enumerate() {
            let mut draft = Draft::new(1 << 20);
            for event in events {
                match event {
                    Stored::Number(number) => {
                        draft.push(EventKind::Event, 1, &Added::Number { number: *number, shared: false })
                    }
                    Stored::Rejection => draft.push(EventKind::Rejection, 1, &()),
                    Stored::Bomb => draft.push(EventKind::Event, 1, &Added::Bomb),
                    Stored::Nonsense => draft.push(EventKind::Event, 1, &77u8),
                    Stored::NewerRejection => draft.push(EventKind::Rejection, 2, &()),
                }
                .unwrap();
            }
            let stream =
                if index == 0 { StreamRef::New { aggregate: "sum", id: "s" } } else { StreamRef::Known(0) };
            let span = NewSpan { stream, first_version: version, events: events.len() as u32, draft: &draft };
            version += events.len() as u64;
            // Times may step back from entry to entry.
            let decided_at = Timestamp(1000 + index as u64 * 5 % 7);
            Entry { decided_at, sections: &[], spans: &[span] }.write(0, &mut written);
        }
        sealed(1, entries.len() as u32, &written)
    }

    fn told(fold: &Fold<Sum>) -> String {
        let Inner { version, position, born, decided_at, fence, .. } = &fold.inner;
        format!("{:?} {version} {position} {born} {decided_at:?} {fence:?}", fold.state)
    }

    proptest! {
        /// Many entries at once, cut anywhere, are what they are one by one: also around a fence, and whoever is interned.
        #[test]
        fn a_run_is_its_entries_one_by_one(
            entries in prop::collection::vec(prop::collection::vec(stored(), 1..5), 1..30),
            cuts in prop::collection::vec(1usize..12, 1..10),
        ) {
            let row = row(&entries);
            let view = RowView::open(&row).unwrap();
            let fold = || Fold::new(Arc::new(Registry::<Sum>::new(Options::default())), "s", 0);
            let (mut one_by_one, mut at_once) = (fold(), fold());
            let mut dealer = Dealer::new(1);
            let mut cuts = cuts.into_iter().cycle();
            let mut left = cuts.next().unwrap();
            let mut folded = |dealer: &mut Dealer| {
                dealer.hands().into_iter().flatten().for_each(|dealt| at_once.run(&dealt.run).unwrap());
            };
            view.for_each(|position, entry| {
                let run = Run::of_span(position, entry.decided_at, &entry.spans[0], &mut entry.events())?;
                one_by_one.run(&run)?;
                dealer.deal(position, entry)?;
                left -= 1;
                if left == 0 {
                    folded(&mut dealer);
                    left = cuts.next().unwrap();
                }
                Ok::<_, Malformed>(())
            }).unwrap();
            folded(&mut dealer);
            prop_assert_eq!(told(&at_once), told(&one_by_one));
            prop_assert_eq!(at_once.inner.version as usize, entries.iter().flatten().count());
            let can_be_taken = |event: &&Stored| matches!(event, Stored::Number(_) | Stored::Rejection);
            let first = entries[0].iter().take_while(can_be_taken);
            let interned = first.filter(|event| matches!(event, Stored::Number(_))).count();
            prop_assert_eq!(at_once.state.1 as usize, interned, "exactly the first entry's are interned");
        }
    }
}
