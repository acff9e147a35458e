//! Goal: a program reads what every older version of it wrote, through its own steps and nothing else; it says
//! at once when a step is missing, and leaves alone what it cannot read.
//!
//! Method: three versions of one program write random events one after the other, and the last must see what
//! a conversion written by hand says; a log of the first version, stored beside this file, is opened by the last;
//! every way to name the wrong steps is registered. Proptest prints the input of a failure.

mod support;

use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use boxoffice::aggregate::Upcasts;
use boxoffice::clock::{Clock, Timestamp};
use boxoffice::error::{Advice, Fence};
use boxoffice::history::Happened;
use boxoffice::testing::{FaultyStorage, given};
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::rows::{build, golden, rows, write_golden};

/// One version of the program.
trait Version: Sized + Send + Sync + 'static {
    const NUMBER: u16;
    type Event: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static;
    type No: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static;
    fn upcasts() -> Upcasts<Self::Event>;
    fn rejection_upcasts() -> Upcasts<Self::No>;
    /// Beside what `apply` always does.
    fn on_apply(_event: &Self::Event) {}
}

struct Program<V>(PhantomData<fn() -> V>);

enum Do<V: Version> {
    Store(Vec<V::Event>),
    Refuse(V::No),
}

impl<V: Version> Clone for Do<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Store(events) => Self::Store(events.clone()),
            Self::Refuse(no) => Self::Refuse(no.clone()),
        }
    }
}

/// Everything that happened.
#[derive(Clone, Debug, PartialEq)]
struct Seen<E>(Arc<Vec<E>>);

impl<E> Default for Seen<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<V: Version> Aggregate for Program<V> {
    const TYPE: &'static str = "kiosk";
    const EVENT_VERSION: u16 = V::NUMBER;
    type State = Seen<V::Event>;
    type Command = Do<V>;
    type Event = V::Event;
    type Rejection = V::No;
    type Services = ();

    fn upcasts() -> Upcasts<V::Event> {
        V::upcasts()
    }

    fn rejection_upcasts() -> Upcasts<V::No> {
        V::rejection_upcasts()
    }

    fn decide(_: &Seen<V::Event>, command: &Do<V>, _: &Context<'_, ()>) -> Result<Events<V::Event>, V::No> {
        match command {
            Do::Store(events) => Ok(events.clone().into()),
            Do::Refuse(no) => Err(no.clone()),
        }
    }

    fn apply(seen: &mut Seen<V::Event>, event: &V::Event) {
        Arc::make_mut(&mut seen.0).push(event.clone());
        V::on_apply(event);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum EventV1 {
    Opened { name: String },
    Sold { seat: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum EventV2 {
    Sold { seat: u32, euros: u32 },
    Opened { name: String, seats: Option<u32> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum EventV3 {
    Opened { seats: Option<u32>, name: String },
    Sold { cents: u64, seat: u32 },
    Freed(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct No {
    code: u16,
    why: String,
}

/// What a seat cost before prices were stored.
const OLD_PRICE: u32 = 7;
/// The seat that the step from version 1 panics at, and the one that `apply` of version 3 panics at.
const TRAP: u8 = 13;
const APPLY_TRAP: u32 = 1313;

fn v1_to_v2(old: EventV1) -> EventV2 {
    match old {
        EventV1::Opened { name } => EventV2::Opened { name, seats: None },
        EventV1::Sold { seat } => {
            assert!(seat != TRAP, "unlucky");
            EventV2::Sold { seat: seat.into(), euros: OLD_PRICE }
        }
    }
}

fn v2_to_v3(old: EventV2) -> EventV3 {
    match old {
        EventV2::Opened { name, seats } => EventV3::Opened { name, seats },
        EventV2::Sold { seat, euros } => EventV3::Sold { seat, cents: u64::from(euros) * 100 },
    }
}

enum V1 {}
enum V2 {}
enum V3 {}
/// Version 3 for logs that hold nothing older than version 2.
enum V3Since2 {}

impl Version for V1 {
    const NUMBER: u16 = 1;
    type Event = EventV1;
    type No = String;
    fn upcasts() -> Upcasts<EventV1> {
        Upcasts::from_version(1)
    }
    fn rejection_upcasts() -> Upcasts<String> {
        Upcasts::unchanged_since(1)
    }
}

impl Version for V2 {
    const NUMBER: u16 = 2;
    type Event = EventV2;
    type No = String;
    fn upcasts() -> Upcasts<EventV2> {
        Upcasts::from_version(1).to(2, v1_to_v2)
    }
    fn rejection_upcasts() -> Upcasts<String> {
        Upcasts::unchanged_since(1)
    }
}

impl Version for V3 {
    const NUMBER: u16 = 3;
    type Event = EventV3;
    type No = No;
    fn upcasts() -> Upcasts<EventV3> {
        Upcasts::from_version(1).to(2, v1_to_v2).to(3, v2_to_v3)
    }
    fn rejection_upcasts() -> Upcasts<No> {
        let same = Upcasts::<String>::from_version(1).to(2, |why| why);
        same.to(3, |why| No { code: why.len() as u16, why })
    }
    fn on_apply(event: &EventV3) {
        thread_local!(static SPRUNG: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        // Live, and once for each thread: the rebuild has a thread of its own.
        if matches!(event, EventV3::Freed(APPLY_TRAP)) && !SPRUNG.replace(true) {
            panic!("sprung");
        }
    }
}

impl Version for V3Since2 {
    const NUMBER: u16 = 3;
    type Event = EventV3;
    type No = No;
    fn upcasts() -> Upcasts<EventV3> {
        Upcasts::from_version(2).to(3, v2_to_v3)
    }
    fn rejection_upcasts() -> Upcasts<No> {
        Upcasts::<String>::from_version(2).to(3, |why| No { code: why.len() as u16, why })
    }
}

/// Version 3 that has forgotten how version 1 said no.
enum V3OfEvents {}

impl Version for V3OfEvents {
    const NUMBER: u16 = 3;
    type Event = EventV3;
    type No = No;
    fn upcasts() -> Upcasts<EventV3> {
        V3::upcasts()
    }
    fn rejection_upcasts() -> Upcasts<No> {
        V3Since2::rejection_upcasts()
    }
}

fn open<V: Version>(storage: &FaultyStorage) -> (Engine, Handle<Program<V>>) {
    let engine = Engine::builder().aggregate::<Program<V>>().backend(storage.clone()).unwrap();
    let handle = engine.handle(()).unwrap();
    (engine, handle)
}

/// Has one version of the program do these things to a stream.
fn run<V: Version>(storage: &FaultyStorage, id: &str, commands: &[Do<V>]) {
    let (engine, handle) = open::<V>(storage);
    for command in commands {
        let _ = handle.execute(id, command).unwrap();
    }
    engine.close().unwrap();
}

type Told<V> = Result<<V as Version>::Event, <V as Version>::No>;

fn told<V: Version>(handle: &Handle<Program<V>>, id: &str) -> Vec<Told<V>> {
    let history: Result<Vec<_>, _> = handle.history(id).unwrap().collect();
    let what = |happened| match happened {
        Happened::Event(event) => Ok(event),
        Happened::Rejection(no) => Err(no),
    };
    history.unwrap().into_iter().map(|recorded| what(recorded.what)).collect()
}

fn any_v1() -> impl Strategy<Value = EventV1> {
    prop_oneof![
        ".{0,8}".prop_map(|name| EventV1::Opened { name }),
        (0u8..=255).prop_filter("the trap", |seat| *seat != TRAP).prop_map(|seat| EventV1::Sold { seat }),
    ]
}

fn any_v2() -> impl Strategy<Value = EventV2> {
    prop_oneof![
        (".{0,8}", any::<Option<u32>>()).prop_map(|(name, seats)| EventV2::Opened { name, seats }),
        any::<(u32, u32)>().prop_map(|(seat, euros)| EventV2::Sold { seat, euros }),
    ]
}

fn any_v3() -> impl Strategy<Value = EventV3> {
    prop_oneof![
        (".{0,8}", any::<Option<u32>>()).prop_map(|(name, seats)| EventV3::Opened { name, seats }),
        any::<(u32, u64)>().prop_map(|(seat, cents)| EventV3::Sold { seat, cents }),
        (0..APPLY_TRAP).prop_map(EventV3::Freed),
    ]
}

/// Commands of several events each, and refusals.
fn commands<V: Version<No: From<String>>>(
    event: impl Strategy<Value = V::Event> + 'static,
) -> impl Strategy<Value = Vec<Do<V>>>
where
    Do<V>: Debug,
{
    let event = event.boxed();
    let created = event.clone();
    let command = prop_oneof![
        3 => prop::collection::vec(event, 1..4).prop_map(Do::Store),
        1 => ".{0,8}".prop_map(|why| Do::Refuse(why.into())),
    ];
    // What is refused creates nothing.
    let first = created.prop_map(|event| Do::Store(vec![event]));
    (first, prop::collection::vec(command, 0..4)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

impl From<String> for No {
    fn from(why: String) -> Self {
        Self { code: 1, why }
    }
}

impl<V: Version> Debug for Do<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(events) => events.fmt(f),
            Self::Refuse(no) => no.fmt(f),
        }
    }
}

/// The conversion by hand, from the old types to the newest without a step between.
fn today_of_v1(event: &EventV1) -> EventV3 {
    match event {
        EventV1::Opened { name } => EventV3::Opened { seats: None, name: name.clone() },
        EventV1::Sold { seat } => EventV3::Sold { cents: 700, seat: u32::from(*seat) },
    }
}

fn today_of_v2(event: &EventV2) -> EventV3 {
    match event {
        EventV2::Opened { name, seats } => EventV3::Opened { seats: *seats, name: name.clone() },
        EventV2::Sold { seat, euros } => EventV3::Sold { cents: u64::from(*euros) * 100, seat: *seat },
    }
}

fn today_of_no(why: &str) -> No {
    No { code: why.len() as u16, why: why.to_owned() }
}

fn flat<V: Version>(
    commands: &[Do<V>],
    event: impl Fn(&V::Event) -> EventV3 + Copy,
    no: impl Fn(&V::No) -> No + Copy,
) -> Vec<Told<V3>> {
    let each = |command: &Do<V>| match command {
        Do::Store(events) => events.iter().map(|it| Ok(event(it))).collect::<Vec<_>>(),
        Do::Refuse(why) => vec![Err(no(why))],
    };
    commands.iter().flat_map(each).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// In the state after an open and in the history, whoever wrote it.
    #[test]
    fn every_version_reads_as_the_newest(
        first in commands::<V1>(any_v1()),
        second in commands::<V2>(any_v2()),
        third in commands::<V3>(any_v3()),
        more in commands::<V3>(any_v3()),
    ) {
        let storage = FaultyStorage::new(1);
        run(&storage, "k", &first);
        run(&storage, "k", &second);
        run(&storage, "k", &third);
        let mut expected = flat(&first, today_of_v1, |why| today_of_no(why));
        expected.extend(flat(&second, today_of_v2, |why| today_of_no(why)));
        expected.extend(flat(&third, EventV3::clone, No::clone));
        // Twice: nothing of this changes the file.
        for more in [&more, &Vec::new()] {
            let (engine, handle) = open::<V3>(&storage);
            prop_assert!(engine.recovery().fenced.is_empty());
            prop_assert_eq!(&told(&handle, "k"), &expected);
            let events: Vec<_> = expected.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
            let view = handle.read("k").unwrap();
            prop_assert_eq!(&*view.0, &events);
            prop_assert_eq!(view.version() as usize, expected.len());
            for command in more {
                let _ = handle.execute("k", command).unwrap();
            }
            expected.extend(flat(more, EventV3::clone, No::clone));
            engine.close().unwrap();
        }
    }
}

/// A rebuild reads old events as an open does.
#[test]
fn a_rebuild_takes_the_steps_too() {
    let storage = FaultyStorage::new(1);
    run(&storage, "k", &[Do::<V1>::Store(vec![EventV1::Sold { seat: 3 }])]);
    let (engine, handle) = open::<V3>(&storage);
    let error = handle.execute("k", &Do::Store(vec![EventV3::Freed(APPLY_TRAP)])).map(drop).unwrap_err();
    assert!(matches!(error, Error::ApplyPanicked { .. }), "{error}");
    let view = loop {
        match handle.read("k") {
            Ok(view) => break view,
            Err(error) => {
                assert!(matches!(error, Error::Fenced { reason: Fence::Rebuilding, .. }), "{error}")
            }
        }
        std::thread::yield_now();
    };
    assert_eq!(*view.0, [EventV3::Sold { cents: 700, seat: 3 }]);
    engine.close().unwrap();
}

/// A step that panics fences its stream, and nothing else; the history says so where it comes to it.
#[test]
fn a_step_that_panics_is_an_error() {
    let storage = FaultyStorage::new(1);
    run(&storage, "good", &[Do::<V1>::Store(vec![EventV1::Sold { seat: 3 }])]);
    let unlucky = vec![EventV1::Sold { seat: 3 }, EventV1::Sold { seat: TRAP }];
    run(&storage, "bad", &[Do::<V1>::Store(unlucky)]);
    let (engine, handle) = open::<V3>(&storage);
    let is_it = |error: &Error| {
        let Error::Fenced { stream, reason: Fence::Undecodable(cause) } = error else { panic!("{error:?}") };
        assert_eq!((&*stream.id, &**cause), ("bad", "from schema version 1: panicked: unlucky"));
    };
    is_it(&handle.read("bad").map(drop).unwrap_err());
    assert_eq!(engine.recovery().fenced.len(), 1);
    let history: Vec<_> = handle.history("bad").unwrap().collect();
    assert_eq!(history.len(), 2);
    is_it(history[1].as_ref().unwrap_err());
    assert_eq!(handle.read("good").unwrap().0.len(), 1);
    engine.close().unwrap();
    // The first version has no such step.
    let (engine, handle) = open::<V1>(&storage);
    assert_eq!(handle.read("bad").unwrap().0.len(), 2);
    engine.close().unwrap();
}

fn on_file<V: Version>(path: &Path) -> (Engine, Handle<Program<V>>) {
    let engine = Engine::builder().aggregate::<Program<V>>().clock(Fixed).open(path).unwrap();
    let handle = engine.handle(()).unwrap();
    (engine, handle)
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
}

/// What cannot be read stays as it is: no open, command, read or history changes a byte of the log.
#[test]
fn what_cannot_be_read_is_left_untouched() {
    fn refused<V: Version>(path: &Path, expected: &Fence, command: &Do<V>) {
        let before = rows(path);
        let (engine, handle) = on_file::<V>(path);
        assert_eq!(engine.recovery().fenced.len(), 1);
        let history = handle.history("k").unwrap().find_map(Result::err);
        for error in [
            handle.read("k").map(drop).unwrap_err(),
            handle.execute("k", command).map(drop).unwrap_err(),
            history.unwrap(),
        ] {
            let Error::Fenced { reason, .. } = &error else { panic!("{error:?}") };
            assert_eq!((reason, error.advice()), (expected, Advice::Fix));
        }
        engine.close().unwrap();
        assert!(rows(path) == before, "the log was changed");
    }
    let folder = tempfile::tempdir().unwrap();
    let (newer, older) = (folder.path().join("newer"), folder.path().join("older"));
    let (engine, handle) = on_file::<V3>(&newer);
    let _ = handle.execute("k", &Do::Store(vec![EventV3::Freed(1)])).unwrap();
    engine.close().unwrap();
    refused::<V1>(&newer, &Fence::NewerEvent { found: 3, supported: 1 }, &Do::Refuse(String::new()));
    refused::<V2>(&newer, &Fence::NewerEvent { found: 3, supported: 2 }, &Do::Refuse(String::new()));

    let (engine, handle) = on_file::<V1>(&older);
    let _ = handle.execute("k", &Do::Store(vec![EventV1::Sold { seat: 1 }])).unwrap();
    engine.close().unwrap();
    let reason = Fence::OlderEvent { found: 1, oldest: 2 };
    refused::<V3Since2>(&older, &reason, &Do::Store(vec![EventV3::Freed(1)]));
    // With the missing step it is all there.
    let (engine, handle) = on_file::<V3>(&older);
    assert_eq!(*handle.read("k").unwrap().0, [EventV3::Sold { cents: 700, seat: 1 }]);
    engine.close().unwrap();
}

/// An old rejection that cannot be read hides nothing but itself: no state depends on it.
#[test]
fn an_old_rejection_does_not_fence_its_stream() {
    let storage = FaultyStorage::new(1);
    run(&storage, "k", &[Do::<V1>::Store(vec![EventV1::Sold { seat: 1 }]), Do::Refuse("no".into())]);
    let (engine, handle) = open::<V3OfEvents>(&storage);
    assert_eq!(*handle.read("k").unwrap().0, [EventV3::Sold { cents: 700, seat: 1 }]);
    let history: Vec<_> = handle.history("k").unwrap().collect();
    let second = history[1].as_ref().unwrap_err();
    let reason = Fence::OlderEvent { found: 1, oldest: 2 };
    assert!(matches!(second, Error::Fenced { reason: found, .. } if *found == reason), "{second}");
    engine.close().unwrap();
}

const GOLDEN: &str = "upcasting_v1.rows";

/// What the first version of the program once did.
fn golden_commands() -> [Do<V1>; 4] {
    let seats = |seats: &[u8]| seats.iter().map(|seat| EventV1::Sold { seat: *seat }).collect();
    [
        Do::Store(vec![EventV1::Opened { name: "Köln".into() }]),
        Do::Store(seats(&[0, 250, 251, 255])),
        Do::Refuse("sold out".into()),
        Do::Store(seats(&[7])),
    ]
}

#[test]
#[ignore = "writes the golden file, which was done once"]
fn write_the_golden_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1");
    let (engine, handle) = on_file::<V1>(&path);
    for command in golden_commands() {
        let _ = handle.execute("west", &command).unwrap();
    }
    let _ = handle.execute("east", &golden_commands()[0]).unwrap();
    engine.close().unwrap();
    write_golden(GOLDEN, &rows(&path));
}

#[test]
fn a_stored_log_of_version_1_is_read_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kiosk.boxoffice");
    build(&path, &golden(GOLDEN));
    let mut expected = flat(&golden_commands(), today_of_v1, |why| today_of_no(why));
    assert_eq!(expected.len(), 7);
    for round in 0..3 {
        let (engine, handle) = on_file::<V3>(&path);
        assert!(engine.recovery().fenced.is_empty());
        assert_eq!(told(&handle, "west"), expected, "round {round}");
        let east = vec![Ok(EventV3::Opened { seats: None, name: "Köln".into() })];
        assert_eq!(told(&handle, "east"), east, "round {round}");
        let events: Vec<_> = expected.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
        assert_eq!(*handle.read("west").unwrap().0, events, "round {round}");
        let more = [EventV3::Freed(round), EventV3::Sold { cents: 5, seat: round }];
        let _ = handle.execute("west", &Do::Store(more.to_vec())).unwrap();
        expected.extend(more.map(Ok));
        engine.close().unwrap();
        assert_eq!(rows(&path)[..golden(GOLDEN).len()], golden(GOLDEN), "what is old was changed");
    }
    // The first version itself sees that somebody newer was here.
    let (engine, handle) = on_file::<V1>(&path);
    assert!(handle.read("west").is_err() && handle.read("east").is_ok());
    engine.close().unwrap();
}

/// A program with these steps.
macro_rules! programs {
    ($($name:ident: $version:literal, $events:expr, $rejections:expr => $says:literal;)*) => {
        $(
            enum $name {}
            impl Version for $name {
                const NUMBER: u16 = $version;
                type Event = EventV3;
                type No = String;
                fn upcasts() -> Upcasts<EventV3> {
                    $events
                }
                fn rejection_upcasts() -> Upcasts<String> {
                    $rejections
                }
            }
        )*
        fn misfits() -> Vec<(&'static str, &'static str, Option<Error>)> {
            vec![$((stringify!($name), $says, registered::<$name>())),*]
        }
    };
}

fn registered<V: Version>() -> Option<Error> {
    // A test of the aggregate alone says the same as the registration.
    let tested = std::panic::catch_unwind(|| drop(given::<Program<V>>(())));
    let error = Engine::builder().aggregate::<Program<V>>().in_memory().err();
    assert_eq!(tested.is_err(), error.is_some());
    error
}

fn same() -> Upcasts<String> {
    Upcasts::unchanged_since(1)
}

fn since(version: u16) -> Upcasts<EventV3> {
    Upcasts::from_version(version)
}

fn id<T>(value: T) -> T {
    value
}

programs! {
    Fine: 3, since(1).to(2, id).to(3, id), same() => "";
    FineSinceToday: 3, since(3), same() => "";
    FineUnchanged: 3, Upcasts::unchanged_since(2), Upcasts::unchanged_since(3) => "";
    FineAtTheEnd: 65_535, since(65_534).to(65_535, id), same() => "";
    NoStep: 2, since(1), same() => "events: they end with version 1, EVENT_VERSION is 2";
    StepMissing: 3, since(1).to(2, id), same() => "events: they end with version 2, EVENT_VERSION is 3";
    Gap: 3, since(1).to(3, id), same() => "events: from version 1 there is no step to 2";
    GapAtFirst: 3, since(1).to(3, id).to(2, id).to(3, id), same() => "events: from version 1 there is no step to 2";
    Twice: 2, since(1).to(2, id).to(2, id), same() => "events: the step to version 2 comes after version 2";
    Backwards: 2, since(2).to(1, id).to(2, id), same() => "events: the step to version 1 comes after version 2";
    TooFar: 1, since(1).to(2, id), same() => "events: they end with version 2, EVENT_VERSION is 1";
    FromZero: 1, since(0).to(1, id), same() => "events: there is no version 0; begin with 1";
    ToZero: 1, since(1).to(0, id), same() => "events: the step to version 0 comes after version 1";
    AroundTheEnd: 1, since(65_535).to(0, id).to(1, id), same()
        => "events: the step to version 0 comes after version 65535";
    VersionZero: 0, since(1), same() => "events: EVENT_VERSION is 0; begin with 1";
    UnchangedFromZero: 1, Upcasts::unchanged_since(0), same() => "events: there is no version 0; begin with 1";
    UnchangedTooLate: 1, Upcasts::unchanged_since(2), same()
        => "events: they begin with version 2, EVENT_VERSION is 1";
    UnchangedAndSteps: 2, Upcasts::<EventV3>::unchanged_since(1).to(2, id), same()
        => "events: a type that is unchanged takes no steps";
    RejectionGap: 3, since(3), Upcasts::<String>::from_version(1).to(3, id)
        => "rejections: from version 1 there is no step to 2";
    RejectionShort: 3, since(3), Upcasts::from_version(1)
        => "rejections: they end with version 1, EVENT_VERSION is 3";
}

#[test]
fn steps_that_do_not_lead_to_the_version_are_found_at_the_registration() {
    for (name, says, error) in misfits() {
        match error {
            None => assert_eq!(says, "", "{name}"),
            Some(Error::InvalidUpcasts { aggregate: "kiosk", what }) => assert_eq!(&*what, says, "{name}"),
            Some(other) => panic!("{name}: {other:?}"),
        }
    }
    // Before a file is touched.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none");
    let error = Engine::builder().aggregate::<Program<NoStep>>().open(&path).unwrap_err();
    assert!(matches!(&error, Error::InvalidUpcasts { .. }) && error.advice() == Advice::Fix, "{error}");
    assert!(!path.exists());
}
