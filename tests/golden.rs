//! Goal: what format 1 is stays what it is. A file written by any version of this crate that writes format 1 is read
//! by every later one, and every one of them writes the same bytes for the same decisions.
//!
//! Method: `tests/golden/format_1.rows` holds the rows that the first engine of format 1 wrote for the calls of
//! [`act`], under a clock that was told each time, and one row made by hand from the grammar in `src/log/entry.rs`,
//! with a section that nobody knows. Today's engine reads them: histories, feed, states, audit, and the ids
//! of commands, against tables that were checked by hand. And it is asked for the same again: every byte has to be the same.
//!
//! When a test here fails: never change the golden file, nor the tables. If what is stored was not meant to change,
//! the change is wrong. If it was, it is a new format: raise `FORMAT` in `src/log/row.rs` and in
//! `src/log/store.rs`, keep reading format 1 (this file goes on to be read as it is; only
//! `today_writes_the_same_bytes` goes), and store a `format_2.rows` beside it. The same holds for the events of
//! `FlashSale`: a change of these is a new `EVENT_VERSION` with an upcast, and a new file.

mod support;

use std::fmt::{Debug, Write};
use std::sync::Arc;

use boxoffice::aggregate::Upcasts;
use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::history::{FeedEntry, Happened};
use boxoffice::options::Metadata;
use boxoffice::testing::FaultyStorage;
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Options};
use serde::{Deserialize, Serialize};
use support::gate::GatedStorage;
use support::rows::{Rows, build_on, golden, meta_on, rows_on, write_golden};

const GOLDEN: &str = "format_1.rows";

/// Texts, kept as they come.
enum Notes {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Ask {
    Write(Vec<String>),
    Refuse(u32),
}

impl Aggregate for Notes {
    const TYPE: &'static str = "notes";
    // Not 1, or a schema version could be anything that is always 1.
    const EVENT_VERSION: u16 = 300;
    type State = Arc<Vec<Note>>;
    type Command = Ask;
    type Event = Note;
    type Rejection = u32;
    type Services = ();

    fn upcasts() -> Upcasts<Note> {
        Upcasts::unchanged_since(300)
    }

    fn rejection_upcasts() -> Upcasts<u32> {
        Upcasts::unchanged_since(300)
    }

    fn decide(_: &Arc<Vec<Note>>, ask: &Ask, _: &Context<'_, ()>) -> Result<Events<Note>, u32> {
        match ask {
            Ask::Write(texts) => {
                let notes = texts.iter().map(|text| Note { text: text.clone() });
                Ok(notes.collect::<Vec<_>>().into())
            }
            Ask::Refuse(code) => Err(*code),
        }
    }

    fn apply(state: &mut Arc<Vec<Note>>, note: &Note) {
        Arc::make_mut(state).push(note.clone());
    }
}

fn write(texts: &[&str]) -> Ask {
    Ask::Write(texts.iter().map(|text| (*text).to_owned()).collect())
}

/// A text of this length.
fn long(bytes: usize) -> String {
    "0123456789".chars().cycle().take(bytes).collect()
}

fn buy(buyer: &str, quantity: u64) -> FlashSaleCommand {
    FlashSaleCommand::purchase(buyer, quantity)
}

/// Everything that metadata can say.
fn everything() -> Metadata {
    let named = Metadata::default().with_correlation("req-71").with_causation("cmd-9").with_user("zoë");
    named.with("channel", "phone").with("empty", "").with("agent", long(130))
}

struct Desk {
    engine: Engine,
    notes: Handle<Notes>,
    sales: Handle<FlashSale>,
    clock: Arc<ManualClock>,
}

impl Desk {
    fn open(storage: impl redb::StorageBackend) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let builder = Engine::builder().aggregate::<Notes>().aggregate::<FlashSale>();
        let engine = builder.clock(Arc::clone(&clock)).backend(storage).unwrap();
        let (notes, sales) = (engine.handle(()).unwrap(), engine.handle(()).unwrap());
        Self { engine, notes, sales, clock }
    }

    fn at(&self, time: u64) -> &Self {
        self.clock.set(Timestamp(time));
        self
    }
}

/// What the golden file was written for. Each call waits for the disk, and is then alone in its batch; those
/// between the doors of the gate are one.
fn act(storage: &GatedStorage) {
    let desk = Desk::open(storage.clone());
    let Desk { engine, notes, sales, .. } = &desk;
    let transaction = |time: u64, options: Options| {
        desk.at(time);
        engine.begin(options)
    };

    // 1 to 3: a stream that is new, that is known, with several events, with a rejection.
    let _ = desk.at(1_000).notes.execute("west", &write(&["Köln"])).unwrap();
    let _ = desk.at(2_000).notes.execute("west", &write(&["", "a", "b"])).unwrap();
    let _ = desk.at(300_000).notes.execute("west", &Ask::Refuse(70_000)).unwrap();

    // 4: two streams of two types, one of them new.
    let mut both = transaction(300_001, Options::pessimistic());
    assert!(both.execute(notes, "west", &write(&["lamps are in"])).unwrap().is_accepted());
    assert!(both.execute(sales, "lamp", &FlashSaleCommand::create(7)).unwrap().is_accepted());
    assert!(both.execute(sales, "lamp", &buy("ada", 2)).unwrap().is_accepted());
    both.commit().unwrap();

    // 5: two new ones, and all that a transaction can say about itself.
    let mut both = transaction(300_002, Options::optimistic());
    assert!(both.execute(sales, "bulb", &FlashSaleCommand::create(300)).unwrap().is_accepted());
    both.stage(notes, "north", Note { text: "bulbs are in".into() }).unwrap();
    both.metadata(&everything());
    both.commit().unwrap();

    // 6 to 10: what a command can say, ids that changed something, were refused, or were answered without a span.
    let call = desk.at(400_000).notes.call().metadata(&everything());
    let _ = call.execute("west", &write(&["who"])).unwrap();
    let _ = desk.at(500_000).sales.call().id("order-1").execute("lamp", &buy("bob", 1)).unwrap();
    let of_cid = Metadata::default().with_user("cid");
    let call = desk.at(600_000).sales.call().id("order-2").metadata(&of_cid);
    assert!(!call.execute("lamp", &buy("cid", 100)).unwrap().is_accepted());
    let call = desk.at(700_000).notes.call().id("order-3");
    assert!(!call.execute("nowhere", &Ask::Refuse(9)).unwrap().is_accepted());
    let call = desk.at(800_000).notes.call().id("order-4");
    assert!(call.execute("west", &write(&[])).unwrap().events().is_empty());

    // 11: events on both sides of every length at which a number takes more bytes.
    let texts = [125, 126, 127, 250, 251, 16_380, 16_381].map(long);
    let _ = desk.at(900_000).notes.execute("north", &Ask::Write(texts.to_vec())).unwrap();

    // 12 is on its way to the disk when 13 to 16 come, which are one batch therefore.
    storage.close_gate();
    let first = desk.at(1_000_000).notes.submit("west", &write(&["first"])).unwrap();
    storage.await_blocked();
    let second = desk.at(1_000_001).sales.submit("bulb", &buy("dot", 3)).unwrap();
    let mut both = transaction(1_000_002, Options::pessimistic());
    assert!(both.execute(notes, "east", &write(&["e1", "e2"])).unwrap().is_accepted());
    assert!(both.execute(sales, "lamp", &buy("eve", 1)).unwrap().is_accepted());
    let third = both.submit().unwrap();
    let fourth = desk.at(1_000_003).notes.call().id("order-5").submit("east", &write(&["e3"])).unwrap();
    let fifth = desk.at(1_000_004).notes.submit("south", &write(&["s"])).unwrap();
    // The batch is committed later than it was decided, and then the clock steps back.
    desk.at(2_000_000);
    storage.open_gate();
    let _ = (first.wait().unwrap(), second.wait().unwrap(), third.wait().unwrap());
    let _ = (fourth.wait().unwrap(), fifth.wait().unwrap());
    let _ = desk.at(5).notes.execute("south", &write(&["late"])).unwrap();
    desk.engine.close().unwrap();
}

/// The row that no engine of format 1 has written: sections of tags that are unknown, before and after one that is
/// known. Made from the grammar alone.
fn by_hand() -> (u64, Vec<u8>) {
    fn block(out: &mut Vec<u8>, bytes: &[u8]) {
        assert!(bytes.len() < 128);
        out.push(bytes.len() as u8);
        out.extend(bytes);
    }
    let mut sections = Vec::new();
    sections.extend([0xE7, 0x07]); // tag 999
    block(&mut sections, b"of tomorrow");
    sections.push(4); // user
    block(&mut sections, b"flo");
    sections.push(127);
    block(&mut sections, b"");

    let mut entry = vec![1]; // with sections
    entry.extend(2_000_001u64.to_le_bytes());
    block(&mut entry, &sections);
    entry.push(1); // span
    entry.push(0); // stream 0, known: "west"
    entry.extend([9, 1]); // first version, events
    entry.extend([0xD8, 0x04]); // schema version 300, an event
    block(&mut entry, b"\x04hand");

    let mut row = b"bxof\x01\0\0\0".to_vec();
    row.extend(18u64.to_le_bytes());
    row.extend(1u32.to_le_bytes());
    row.extend((4 + entry.len() as u32).to_le_bytes());
    row.extend(2_000_002u64.to_le_bytes());
    let mut body = (entry.len() as u32).to_le_bytes().to_vec();
    body.extend(entry);
    let sum = crc32fast::hash(&[&row[..], &body[..]].concat());
    row.extend(sum.to_le_bytes());
    row.extend([0; 4]);
    row.extend(body);
    (18, row)
}

fn written() -> Rows {
    let storage = GatedStorage::default();
    act(&storage);
    let mut rows = rows_on(storage);
    rows.push(by_hand());
    rows
}

#[test]
#[ignore = "writes the golden file, which was done once"]
fn write_the_golden_file() {
    write_golden(GOLDEN, &written());
}

/// Everything that the feed shows of each entry.
const FEED: &str = r#"1 1000/1000
  notes/west 1+1
    west 1 Note { text: "Köln" }
2 2000/2000
  notes/west 2+3
    west 2 Note { text: "" }
    west 3 Note { text: "a" }
    west 4 Note { text: "b" }
3 300000/300000
  notes/west 5+1
    west 5 no: 70000
4 300001/300001
  notes/west 6+1
  flash_sale/lamp 1+2
    west 6 Note { text: "lamps are in" }
    lamp 1 Created { stock: 7 }
    lamp 2 Purchased { buyer: "ada", quantity: 2 }
5 300002/300002 corr=req-71 cause=cmd-9 user=zoë channel:phone empty: agent:(130)
  flash_sale/bulb 1+1
  notes/north 1+1
    north 1 Note { text: "bulbs are in" }
    bulb 1 Created { stock: 300 }
6 400000/400000 corr=req-71 cause=cmd-9 user=zoë channel:phone empty: agent:(130)
  notes/west 7+1
    west 7 Note { text: "who" }
7 500000/500000 id=order-1
  flash_sale/lamp 3+1
    lamp 3 Purchased { buyer: "bob", quantity: 1 }
8 600000/600000 id=order-2 user=cid
  flash_sale/lamp 4+1
    lamp 4 no: Rejection { buyer: Some("cid"), refusal: QuantityAboveStock { wanted: 100, stock: 7 } }
9 700000/700000 id=order-3
10 800000/800000 id=order-4
11 900000/900000
  notes/north 2+7
    north 2 Note { text: "012345... (142)
    north 3 Note { text: "012345... (143)
    north 4 Note { text: "012345... (144)
    north 5 Note { text: "012345... (267)
    north 6 Note { text: "012345... (268)
    north 7 Note { text: "012345... (16397)
    north 8 Note { text: "012345... (16398)
12 1000000/1000000
  notes/west 8+1
    west 8 Note { text: "first" }
13 1000001/2000000
  flash_sale/bulb 2+1
    bulb 2 Purchased { buyer: "dot", quantity: 3 }
14 1000002/2000000
  notes/east 1+2
  flash_sale/lamp 5+1
    east 1 Note { text: "e1" }
    east 2 Note { text: "e2" }
    lamp 5 Purchased { buyer: "eve", quantity: 1 }
15 1000003/2000000 id=order-5
  notes/east 3+1
    east 3 Note { text: "e3" }
16 1000004/2000000
  notes/south 1+1
    south 1 Note { text: "s" }
17 1000004/2000000
  notes/south 2+1
    south 2 Note { text: "late" }
18 2000001/2000002 user=flo
  notes/west 9+1
    west 9 Note { text: "hand" }
"#;

/// Everything that each stream's history shows.
const HISTORIES: &str = r#"notes/east
  1 at 14 1000002/2000000 Note { text: "e1" }
  2 at 14 1000002/2000000 Note { text: "e2" }
  3 at 15 1000003/2000000 id=order-5 Note { text: "e3" }
notes/north
  1 at 5 300002/300002 corr=req-71 cause=cmd-9 user=zoë channel:phone empty: agent:(130) Note { text: "bulbs are in" }
  2 at 11 900000/900000 Note { text: "012345... (142)
  3 at 11 900000/900000 Note { text: "012345... (143)
  4 at 11 900000/900000 Note { text: "012345... (144)
  5 at 11 900000/900000 Note { text: "012345... (267)
  6 at 11 900000/900000 Note { text: "012345... (268)
  7 at 11 900000/900000 Note { text: "012345... (16397)
  8 at 11 900000/900000 Note { text: "012345... (16398)
notes/south
  1 at 16 1000004/2000000 Note { text: "s" }
  2 at 17 1000004/2000000 Note { text: "late" }
notes/west
  1 at 1 1000/1000 Note { text: "Köln" }
  2 at 2 2000/2000 Note { text: "" }
  3 at 2 2000/2000 Note { text: "a" }
  4 at 2 2000/2000 Note { text: "b" }
  5 at 3 300000/300000 no: 70000
  6 at 4 300001/300001 Note { text: "lamps are in" }
  7 at 6 400000/400000 corr=req-71 cause=cmd-9 user=zoë channel:phone empty: agent:(130) Note { text: "who" }
  8 at 12 1000000/1000000 Note { text: "first" }
  9 at 18 2000001/2000002 user=flo Note { text: "hand" }
flash_sale/bulb
  1 at 5 300002/300002 corr=req-71 cause=cmd-9 user=zoë channel:phone empty: agent:(130) Created { stock: 300 }
  2 at 13 1000001/2000000 Purchased { buyer: "dot", quantity: 3 }
flash_sale/lamp
  1 at 4 300001/300001 Created { stock: 7 }
  2 at 4 300001/300001 Purchased { buyer: "ada", quantity: 2 }
  3 at 7 500000/500000 id=order-1 Purchased { buyer: "bob", quantity: 1 }
  4 at 8 600000/600000 id=order-2 user=cid no: Rejection { buyer: Some("cid"), refusal: QuantityAboveStock { wanted: 100, stock: 7 } }
  5 at 14 1000002/2000000 Purchased { buyer: "eve", quantity: 1 }
"#;

fn happened<A: Aggregate>(what: &Happened<A>) -> String
where
    A::Event: Debug,
    A::Rejection: Debug,
{
    let text = match what {
        Happened::Event(event) => format!("{event:?}"),
        Happened::Rejection(rejection) => format!("no: {rejection:?}"),
    };
    // A long text is its length, and what it begins with.
    if text.len() < 100 { text } else { format!("{}... ({})", &text[..20], text.len()) }
}

fn said(metadata: Option<&Metadata>) -> String {
    let Some(metadata) = metadata else { return String::new() };
    let mut text = String::new();
    for (name, value) in
        [("corr", metadata.correlation()), ("cause", metadata.causation()), ("user", metadata.user())]
    {
        if let Some(value) = value {
            write!(text, " {name}={value}").unwrap();
        }
    }
    for (key, value) in metadata.pairs() {
        write!(text, " {key}:{}", if value.len() > 99 { format!("({})", value.len()) } else { value.into() })
            .unwrap();
    }
    text
}

fn shown(entry: &FeedEntry) -> String {
    fn events<A: Aggregate>(entry: &FeedEntry, text: &mut String)
    where
        A::Event: Debug,
        A::Rejection: Debug,
    {
        for event in entry.events::<A>().map(Result::unwrap) {
            writeln!(text, "    {} {} {}", event.id, event.version, happened(&event.what)).unwrap();
        }
    }
    let mut text = format!("{} {}/{}", entry.position(), entry.decided_at().0, entry.committed_at().0);
    if let Some(id) = entry.command_id() {
        write!(text, " id={id}").unwrap();
    }
    text += &said(entry.metadata().as_ref());
    text.push('\n');
    for span in entry.streams() {
        writeln!(text, "  {} {}+{}", span.stream, span.first_version, span.events).unwrap();
    }
    events::<Notes>(entry, &mut text);
    events::<FlashSale>(entry, &mut text);
    text
}

fn history<A: Aggregate>(handle: &Handle<A>) -> String
where
    A::Event: Debug,
    A::Rejection: Debug,
{
    let mut text = String::new();
    let mut ids = handle.ids();
    ids.sort();
    for id in ids {
        writeln!(text, "{}/{id}", A::TYPE).unwrap();
        for it in handle.history(&id).unwrap().map(Result::unwrap) {
            write!(text, "  {} at {} {}/{}", it.version, it.position, it.decided_at.0, it.committed_at.0)
                .unwrap();
            if let Some(id) = &it.command_id {
                write!(text, " id={id}").unwrap();
            }
            writeln!(text, "{} {}", said(it.metadata.as_deref()), happened(&it.what)).unwrap();
        }
    }
    text
}

/// The first line that differs, with its number: the whole would hide it.
#[track_caller]
fn assert_text(found: &str, expected: &str) {
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", number + 1);
    }
    assert_eq!(found, expected);
}

#[test]
fn what_is_stored_is_read() {
    let (rows, storage) = (golden(GOLDEN), FaultyStorage::new(1));
    build_on(storage.clone(), &rows);
    let desk = Desk::open(storage);
    let Desk { engine, notes, sales, .. } = &desk;
    assert!(engine.recovery().fenced.is_empty());
    assert_eq!((engine.position(), engine.durable_position()), (18, 18));

    let mut feed = engine.feed(1).unwrap();
    let shown: String = std::iter::from_fn(|| feed.try_next()).map(|entry| shown(&entry.unwrap())).collect();
    assert_text(&shown, FEED);
    assert_text(&(history(notes) + &history(sales)), HISTORIES);

    let texts = |id: &str| notes.read(id).unwrap().iter().map(|note| note.text.clone()).collect::<Vec<_>>();
    let west = ["Köln", "", "a", "b", "lamps are in", "who", "first", "hand"];
    assert_eq!((texts("west"), notes.read("west").unwrap().version()), (west.map(String::from).to_vec(), 9));
    let mut north = vec!["bulbs are in".to_owned()];
    north.extend([125, 126, 127, 250, 251, 16_380, 16_381].map(long));
    assert_eq!(texts("north"), north);
    assert_eq!(
        (texts("east"), texts("south")),
        (vec!["e1".into(), "e2".into(), "e3".into()], vec!["s".into(), "late".into()])
    );
    let left = |id: &str| (sales.read(id).unwrap().left(), sales.read(id).unwrap().version());
    assert_eq!((left("lamp"), left("bulb")), ((3, 5), (297, 2)));
    assert!(sales.read("lamp").unwrap().has_bought("eve"));
    assert!(notes.verify().unwrap().is_clean() && sales.verify().unwrap().is_clean());

    // Every id is known, with its answer, and tells its own command from another.
    let sold = sales.call().id("order-1").execute("lamp", &buy("bob", 1)).unwrap();
    assert_eq!((sold.is_repeated(), sold.position(), sold.version()), (true, Some(7), 3));
    assert_eq!((sold.events().len(), sold.decided_at()), (1, Timestamp(500_000)));
    let refused = sales.call().id("order-2").execute("lamp", &buy("cid", 100)).unwrap();
    assert_eq!((refused.is_repeated(), refused.position(), refused.version()), (true, Some(8), 4));
    assert_eq!(refused.rejection().unwrap().reason(), "quantity_above_stock");
    let nowhere = notes.call().id("order-3").execute("nowhere", &Ask::Refuse(9)).unwrap();
    assert_eq!((nowhere.is_repeated(), nowhere.position(), nowhere.version()), (true, Some(9), 0));
    assert_eq!(nowhere.rejection(), Some(&9));
    let nothing = notes.call().id("order-4").execute("west", &write(&[])).unwrap();
    assert_eq!((nothing.is_repeated(), nothing.position(), nothing.version()), (true, Some(10), 7));
    assert!(nothing.is_accepted() && nothing.events().is_empty());
    let third = notes.call().id("order-5").execute("east", &write(&["e3"])).unwrap();
    assert_eq!((third.is_repeated(), third.position(), third.version()), (true, Some(15), 3));
    let other = notes.call().id("order-5").execute("east", &write(&["e4"])).map(drop).unwrap_err();
    assert!(matches!(&other, Error::IdReused { id } if id == "order-5"), "{other}");
    assert_eq!(engine.position(), 18, "an id was decided again");
    desk.engine.close().unwrap();
}

/// The log goes on, new streams get numbers that nobody has, and nothing that is old is written again.
#[test]
fn what_is_stored_goes_on_and_stays() {
    let (rows, storage) = (golden(GOLDEN), GatedStorage::default());
    build_on(storage.clone(), &rows);
    for round in 0..3 {
        let desk = Desk::open(storage.clone());
        let mut both = desk.engine.begin(Options::default());
        assert!(both.execute(&desk.notes, "west", &write(&["on"])).unwrap().is_accepted());
        let new = format!("new-{round}");
        assert!(both.execute(&desk.sales, &new, &FlashSaleCommand::create(1)).unwrap().is_accepted());
        assert_eq!(both.commit().unwrap().position(), Some(19 + round));
        assert_eq!(desk.notes.read("west").unwrap().version(), 10 + round);
        assert!(desk.notes.verify().unwrap().is_clean() && desk.sales.verify().unwrap().is_clean());
        desk.engine.close().unwrap();
        assert_eq!(rows_on(storage.clone())[..rows.len()], rows, "what is old was changed");
    }
}

#[test]
fn today_writes_the_same_bytes() {
    let storage = GatedStorage::default();
    act(&storage);
    assert_eq!(meta_on(storage.clone()), [("format".to_owned(), 1u32.to_le_bytes().to_vec())]);
    let (mut found, expected) = (rows_on(storage), golden(GOLDEN));
    found.push(by_hand());
    let firsts = |rows: &Rows| rows.iter().map(|(first, _)| *first).collect::<Vec<_>>();
    assert_eq!(firsts(&found), firsts(&expected));
    for ((first, found), (_, expected)) in found.iter().zip(&expected) {
        let differs = found.iter().zip(expected).position(|(one, other)| one != other);
        let lengths = (found.len(), expected.len());
        assert!(
            found == expected,
            "the row of position {first} differs at byte {differs:?}, lengths {lengths:?}"
        );
    }
}
