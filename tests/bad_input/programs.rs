//! Types that are registered twice, not at all, or by another version of the program.

use std::collections::HashSet;
use std::path::Path;

use boxoffice::error::{Advice, Fence};
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::history::Happened;
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Options};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::support::board::{Ask, Board, Cells, Kind, Plain, boards, engine};
use crate::support::error_of;

enum Namesake {}
impl Kind for Namesake {}

#[test]
fn types_are_registered_once_and_before_use() {
    let engine = engine();
    let error = error_of(engine.handle::<FlashSale>(()));
    assert!(matches!(error, Error::NotRegistered { aggregate: "flash_sale" }), "{error}");
    engine.close().unwrap();
    let error = error_of(Engine::builder().aggregate::<Board>().aggregate::<Board<Namesake>>().in_memory());
    assert!(matches!(error, Error::RegisteredTwice { aggregate: "board" }), "{error}");
    // The same type again replaces its options.
    let options = Options { retries: 77, ..Options::optimistic() };
    let builder = Engine::builder().aggregate::<Board>().aggregate_with::<Board>(options);
    let engine = builder.in_memory().unwrap();
    assert_eq!(engine.handle::<Board>(()).unwrap().options(), options);
    engine.close().unwrap();
}

fn open<K: Kind>(path: &Path) -> (Engine, Handle<Board<K>>) {
    let engine = Engine::builder().aggregate::<Board<K>>().open(path).unwrap();
    let handle = engine.handle(()).unwrap();
    (engine, handle)
}

#[test]
fn types_that_a_program_does_not_know_are_kept_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixed.boxoffice");
    {
        let engine = Engine::builder().aggregate::<Board>().aggregate::<FlashSale>().open(&path).unwrap();
        let (plain, sales) = (boards(&engine, Options::default()), engine.handle::<FlashSale>(()).unwrap());
        for round in 1..=5 {
            let _ = plain.execute("b", &Ask::set(1, round)).unwrap();
            let sale = format!("sale-{}", round % 2);
            let _ = sales.execute(&sale, &FlashSaleCommand::create(10)).unwrap();
            let _ = sales.execute(&sale, &FlashSaleCommand::purchase("ada", 1)).unwrap();
        }
        engine.close().unwrap();
    }
    // Programs that know one of the two, or neither, go on writing beside what they do not know.
    for round in 6..=8 {
        let (engine, plain) = open::<Plain>(&path);
        let unknown: Vec<_> = engine.recovery().unregistered.clone().into_iter().collect();
        assert_eq!(unknown, [(SmolStr::new("flash_sale"), 2)]);
        assert_eq!(plain.execute("b", &Ask::set(1, round)).unwrap().version(), round.cast_unsigned());
        assert!(engine.handle::<FlashSale>(()).is_err());
        engine.close().unwrap();
    }
    Engine::builder().open(&path).unwrap().close().unwrap();
    let engine = Engine::builder().aggregate::<Board>().aggregate::<FlashSale>().open(&path).unwrap();
    assert!(engine.recovery().unregistered.is_empty() && engine.recovery().fenced.is_empty());
    let sales = engine.handle::<FlashSale>(()).unwrap();
    assert_eq!((sales.read("sale-0").unwrap().left(), sales.read("sale-1").unwrap().left()), (8, 7));
    assert_eq!(boards(&engine, Options::default()).read("b").unwrap().get(1), 8);
    engine.close().unwrap();
}

/// The next version of the program, whose events have another meaning.
enum Newer {}
impl Kind for Newer {
    const EVENT_VERSION: u16 = 2;
}

#[test]
fn an_event_of_a_newer_program_fences_its_stream_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("versions.boxoffice");
    let (engine, old) = open::<Plain>(&path);
    for id in ["old", "mixed"] {
        let _ = old.execute(id, &Ask::set(1, 1)).unwrap();
    }
    engine.close().unwrap();
    let (engine, new) = open::<Newer>(&path);
    assert_eq!(new.read("mixed").unwrap().get(1), 1, "a newer program reads what older ones wrote");
    let _ = new.execute("mixed", &Ask::set(1, 2)).unwrap();
    let _ = new.execute("refused", &Ask::set(1, 2)).unwrap();
    engine.close().unwrap();

    for round in 2..4 {
        let (engine, old) = open::<Plain>(&path);
        let reason = Fence::NewerEvent { found: 2, supported: 1 };
        let fenced: HashSet<_> =
            engine.recovery().fenced.iter().map(|(name, _)| name.id.to_string()).collect();
        assert_eq!(fenced, HashSet::from(["mixed".into(), "refused".into()]));
        for error in [
            error_of(old.read("mixed")),
            error_of(old.execute("mixed", &Ask::set(1, 9))),
            error_of(old.execute("mixed", &Ask::reject(1))),
            error_of(old.submit("refused", &Ask::set(1, 9))),
        ] {
            assert!(matches!(&error, Error::Fenced { reason: found, .. } if *found == reason), "{error}");
            assert_eq!(error.advice(), Advice::Fix);
        }
        // What it can read of the history it shows, and then says why it stops.
        let history: Vec<_> = old.history("mixed").unwrap().collect();
        assert!(matches!(&history[0].as_ref().unwrap().what, Happened::Event(_)) && history.len() == 2);
        assert!(matches!(&history[1], Err(Error::Fenced { reason: found, .. }) if *found == reason));
        assert_eq!(old.execute("old", &Ask::set(1, 1)).unwrap().version(), round);
        engine.close().unwrap();
    }
    let (engine, new) = open::<Newer>(&path);
    assert_eq!((new.read("mixed").unwrap().get(1), new.read("mixed").unwrap().version()), (2, 2));
    engine.close().unwrap();
}

/// The same name, other events: what the first program wrote does not decode.
struct Stranger;

/// Cannot be written.
#[derive(Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("not today"))
    }
}

impl Aggregate for Stranger {
    const TYPE: &'static str = "board";
    type State = Cells;
    type Command = ();
    type Event = Unwritable;
    type Rejection = ();
    type Services = ();

    fn decide(_: &Cells, (): &(), _: &Context<'_, ()>) -> Result<Events<Unwritable>, ()> {
        Ok(Unwritable.into())
    }

    fn apply(_: &mut Cells, _: &Unwritable) {}
}

#[test]
fn events_that_cannot_be_read_or_written_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strange.boxoffice");
    let (engine, plain) = open::<Plain>(&path);
    let _ = plain.execute("b", &Ask::set(1, 1)).unwrap();
    engine.close().unwrap();
    let engine = Engine::builder().aggregate::<Stranger>().open(&path).unwrap();
    let strange: Handle<Stranger> = engine.handle(()).unwrap();
    let error = error_of(strange.execute("b", &()));
    assert!(matches!(&error, Error::Fenced { reason: Fence::Undecodable(_), .. }), "{error}");
    let error = error_of(strange.execute("new", &()));
    assert!(matches!(&error, Error::Encode { cause } if cause.contains("not today")), "{error}");
    assert_eq!((engine.position(), strange.ids().len()), (1, 1));
    engine.close().unwrap();
    let (engine, plain) = open::<Plain>(&path);
    assert_eq!(plain.read("b").unwrap().get(1), 1);
    engine.close().unwrap();
}
