//! Ids, labels, carts, names and layouts, at and beyond their bounds.

use std::collections::HashSet;

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::layout::{Layout, LayoutError};
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Options};
use proptest::prelude::*;
use smol_str::SmolStr;

use crate::support::board::{Ask, Board, Kind, boards, engine};
use crate::support::{error_of, modes};

#[test]
fn ids_beyond_their_bounds_are_refused_and_create_nothing() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        for bytes in [0, 256, 1_000_000] {
            // Bytes count, not characters.
            for id in ["x".repeat(bytes), "é".repeat(bytes / 2)] {
                match error_of(handle.execute(&id, &Ask::set(1, 1))) {
                    Error::InvalidId { bytes, limit: 255 } => assert_eq!(bytes, id.len(), "{mode}"),
                    other => panic!("{mode}: {other}"),
                }
                assert!(handle.submit(&id, &Ask::set(1, 1)).is_err());
                for error in [error_of(handle.read(&id)), error_of(handle.history(&id))] {
                    let typed = matches!(error, Error::InvalidId { .. } | Error::UnknownStream { .. });
                    assert!(typed, "{mode}: {error}");
                }
            }
        }
        assert!(handle.ids().is_empty() && engine.position() == 0, "{mode}");
        assert!(format!("{handle:?}").contains("streams: 0,"), "{mode}");
        engine.close().unwrap();
    }
}

/// Ids that a careless join of type and id, a path, a terminator or a comparison by case would mix up.
fn strange_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "a ",
        " a",
        "a/b",
        "a//b",
        "/",
        "\0",
        "a\0",
        "a\0b",
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "\u{202e}a",
        "board",
        "board/a",
        "..",
        "1",
        "01",
        "\u{1F3AD}",
        "NULL",
        "'; --",
        "a\n",
        "\u{feff}a",
    ]
    .map(String::from)
    .to_vec();
    ids.extend([254, 255].map(|bytes| "x".repeat(bytes)));
    // 64 characters in common.
    ids.extend([format!("{}1", "v".repeat(64)), format!("{}2", "v".repeat(64)), "é".repeat(127)]);
    ids
}

/// Another type, whose name and ids make the same text as those of the first.
enum Slashed {}
impl Kind for Slashed {
    const TYPE: &'static str = "board/a";
}

#[test]
fn no_id_aliases_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.boxoffice");
    let open = || {
        let engine =
            Engine::builder().aggregate::<Board>().aggregate::<Board<Slashed>>().open(&path).unwrap();
        let plain: Handle<Board> = engine.handle(()).unwrap();
        let slashed: Handle<Board<Slashed>> = engine.handle(()).unwrap();
        (engine, plain, slashed)
    };
    let ids = strange_ids();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    let (engine, plain, slashed) = open();
    for (value, id) in (1..).zip(&ids) {
        let first = plain.execute(id, &Ask::set(1, value)).unwrap();
        let other = slashed.execute(id, &Ask::set(1, -value)).unwrap();
        assert_eq!((first.version(), other.version()), (1, 1), "{id:?} was there already");
    }
    engine.close().unwrap();
    let (engine, plain, slashed) = open();
    for (value, id) in (1..).zip(&ids) {
        assert_eq!(plain.read(id).unwrap().get(1), value, "{id:?}");
        assert_eq!(slashed.read(id).unwrap().get(1), -value, "{id:?}");
        assert_eq!(plain.history(id).unwrap().count(), 1, "{id:?}");
    }
    let known: HashSet<String> = plain.ids().iter().map(ToString::to_string).collect();
    assert_eq!(known, ids.iter().cloned().collect());
    engine.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(9), ..ProptestConfig::default()
    })]

    #[test]
    fn any_id_is_itself_or_refused(ids in prop::collection::hash_set("\\PC{0,90}|(?s).{0,8}", 1..12)) {
        let engine = engine();
        let handle = boards(&engine, Options::default());
        let mut streams = 0;
        for (value, id) in (1..).zip(&ids) {
            match handle.execute(id, &Ask::set(1, value)) {
                Ok(outcome) => {
                    prop_assert!((1..=255).contains(&id.len()) && outcome.version() == 1);
                    streams += 1;
                }
                Err(Error::InvalidId { bytes, .. }) => prop_assert!(bytes == id.len() && !(1..=255).contains(&bytes)),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        prop_assert_eq!(handle.ids().len(), streams);
        engine.close().unwrap();
    }
}

fn hall() -> (Engine, Handle<Venue>) {
    let engine = Engine::builder().aggregate::<Venue>().aggregate::<Venue<SmolStr>>().in_memory().unwrap();
    let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
    let _ =
        venues.execute("hall", &VenueCommand::create(Layout::from_labels(["A1", "A2"]).unwrap())).unwrap();
    (engine, venues)
}

#[test]
fn malformed_carts_say_what_is_wrong() {
    let (engine, venues) = hall();
    let million: Vec<String> = (0..1_000_000).map(|seat| format!("S{seat}")).collect();
    let none: [&str; 0] = [];
    let long = "L".repeat(65);
    let many =
        |label: &str| (0..20).map(|seat| format!("S{seat}")).chain([label.to_owned()]).collect::<Vec<_>>();
    let table = [
        (VenueCommand::reserve(1, &million), "1000000 seats"),
        (VenueCommand::release(1, &million), "1000000 seats"),
        (VenueCommand::force_release(&million, "x"), "1000000 seats"),
        (VenueCommand::reserve(1, none), "empty"),
        (VenueCommand::reserve(1, ["A1", "A1"]), "A1"),
        (VenueCommand::reserve(1, ["A2", "A1", "A2"]), "A2"),
        // A long cart is searched in another way.
        (VenueCommand::reserve(1, many("S7")), "S7"),
        (VenueCommand::release(1, ["nowhere", "nowhere"]), "nowhere"),
        (VenueCommand::reserve(1, [&*long]), "65"),
        (VenueCommand::force_release(["A1"], "r".repeat(1025)), "1025"),
        (VenueCommand::create_with_limit(Layout::from_labels(["A1"]).unwrap(), 0), "limit"),
    ];
    for (command, part) in table {
        for id in ["hall", "elsewhere"] {
            match error_of(venues.execute(id, &command)) {
                Error::InvalidCommand { why } => assert!(why.to_string().contains(part), "{why}"),
                other => panic!("{part}: {other}"),
            }
        }
    }
    assert_eq!((engine.position(), venues.read("hall").unwrap().sold()), (1, 0));
    // Labels that are not there are a rejection, however strange.
    for label in ["", "a1", "A1 ", "\0", "A1\0", "é", "-1", &"x".repeat(64)] {
        let outcome = venues.execute("hall", &VenueCommand::reserve(1, [label])).unwrap();
        assert_eq!(outcome.rejection().map(|no| no.reason()), Some("seat_not_found"), "{label:?}");
    }
    engine.close().unwrap();
}

#[test]
fn malformed_names_of_people_are_refused() {
    let (engine, _) = hall();
    let venues = engine.handle::<Venue<SmolStr>>(VenueServices::default()).unwrap();
    let _ = venues.execute("hall", &VenueCommand::create(Layout::from_labels(["A1"]).unwrap())).unwrap();
    for (bytes, fine) in [(0, false), (1, true), (255, true), (256, false), (1_000_000, false)] {
        let result = venues.execute("hall", &VenueCommand::reserve(SmolStr::new("c".repeat(bytes)), ["A1"]));
        assert_eq!(result.is_ok(), fine, "{bytes}");
    }
    let sales = Engine::builder().aggregate::<FlashSale>().in_memory().unwrap();
    let handle = sales.handle::<FlashSale>(()).unwrap();
    let _ = handle.execute("sale", &FlashSaleCommand::create(u64::MAX)).unwrap();
    for (bytes, fine) in [(0, false), (255, true), (256, false)] {
        let result = handle.execute("sale", &FlashSaleCommand::purchase("c".repeat(bytes), 1));
        assert_eq!(result.is_ok(), fine, "{bytes}");
    }
    assert!(matches!(
        error_of(handle.execute("new", &FlashSaleCommand::create(0))),
        Error::InvalidCommand { .. }
    ));
    engine.close().unwrap();
    sales.close().unwrap();
}

#[test]
fn hostile_layouts_are_refused_before_memory_is_spent() {
    let row = |blocks: &[(u32, u32)]| {
        Layout::builder()
            .category("c", 1)
            .row("A", "c", blocks.iter().copied())
            .build()
            .map(|layout| layout.len())
    };
    let table = [
        (row(&[]), LayoutError::EmptyRow { name: "A".into() }),
        (row(&[(1, 3), (3, 5)]), LayoutError::DuplicateLabel { label: "A3".into() }),
        (row(&[(1, u32::MAX)]), LayoutError::TooManySeats),
        (row(&[(u32::MAX, 0)]), LayoutError::TooManySeats),
        (row(&[(1_000_000_000, 1_000_000_000)]), LayoutError::NumberTooLarge),
        (row(&vec![(1, Layout::MAX_SEATS); 1000]), LayoutError::TooManySeats),
        (
            Layout::from_labels(["A1", "B1", "A1"]).map(|it| it.len()),
            LayoutError::DuplicateLabel { label: "A1".into() },
        ),
        (Layout::from_labels::<[&str; 0]>([]).map(|it| it.len()), LayoutError::Empty),
        (Layout::from_labels([""]).map(|it| it.len()), LayoutError::EmptyName { what: "label" }),
        (Layout::builder().build().map(|it| it.len()), LayoutError::Empty),
    ];
    for (result, expected) in table {
        assert_eq!(result, Err(expected));
    }
    let long = Layout::from_labels(["x".repeat(1_000_000)]).unwrap_err();
    assert!(
        matches!(&long, LayoutError::NameTooLong { bytes: 1_000_000, .. }) && long.to_string().len() < 1000
    );
    for text in
        ["", "row", "row A", "row A c", "row A c 1-", "category", "category c x", "category c -1", "seat 1"]
    {
        assert!(Layout::parse(text).is_err(), "{text:?}");
    }
    let far = Layout::parse("category c 1\nrow A c 1-99999999999999999999").unwrap_err();
    assert!(matches!(&far, LayoutError::AtLine { line: 2, .. }), "{far}");
    assert!(Layout::parse("category c 1\nrow A c 1-4194304").is_ok());
}
