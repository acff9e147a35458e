//! What every layout keeps, however it was described.

use std::collections::HashSet;

use bincode::config::standard;
use proptest::prelude::*;

use super::*;

fn stored(layout: &Layout) -> Vec<u8> {
    bincode::serde::encode_to_vec(layout, standard()).unwrap()
}

fn restored(bytes: &[u8]) -> Result<Layout, bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(bytes, standard()).map(|(layout, _)| layout)
}

/// Labels and indices name each other, and survive storage.
fn assert_sound(layout: &Layout) {
    let mut labels = HashSet::new();
    for seat in layout.seats() {
        let label = layout.label(seat).unwrap();
        assert_eq!(layout.seat(&label), Some(seat), "{label}");
        assert_eq!(layout.price(seat), Some(layout.row(seat).unwrap().category().price));
        for (side, neighbour) in layout.neighbours(seat).into_iter().enumerate() {
            let Some(neighbour) = neighbour else { continue };
            assert_eq!(layout.neighbours(neighbour)[1 - side], Some(seat));
        }
        labels.insert(label);
    }
    assert_eq!(labels.len(), layout.len() as usize);
    assert!(layout.rows().flat_map(|row| row.seats()).eq(layout.seats()));
    let end = SeatIndex(layout.len());
    assert!(layout.label(end).is_none() && layout.row(end).is_none());
    assert_eq!(layout.neighbours(end), [None, None]);
    let again = restored(&stored(layout)).unwrap();
    assert_eq!(&again, layout);
    assert!(layout.seats().all(|seat| again.seat(&layout.label(seat).unwrap()) == Some(seat)));
}

const CINEMA: &str = "
    category classic 17796
    category extra_legroom 23656
    category recliner 47296
    row A classic 9-1 | 18-10
    row D extra_legroom 9-1 | 18-10
    section Stalls   # from here on, labels have a section
    row M recliner 12-1 | 13
    section
    row 7 classic 1-2
";

#[test]
fn a_file_becomes_rows_blocks_labels_and_prices() {
    let cinema = Layout::parse(CINEMA).unwrap();
    assert_sound(&cinema);
    assert_eq!(cinema.len(), 18 + 18 + 13 + 2);
    let rows: Vec<_> = cinema.rows().map(|row| (row.section(), row.name(), row.block())).collect();
    let stalls = Some("Stalls");
    assert_eq!(
        rows,
        [
            (None, "A", 0),
            (None, "A", 1),
            (None, "D", 0),
            (None, "D", 1),
            (stalls, "M", 0),
            (stalls, "M", 1),
            (None, "7", 0)
        ]
    );
    let seat = |label| cinema.seat(label).unwrap();
    assert_eq!(cinema.neighbours(seat("A1")), [Some(seat("A2")), None]);
    assert_eq!(cinema.neighbours(seat("A18")), [None, Some(seat("A17"))]);
    assert_eq!(cinema.price(seat("Stalls-M-13")), Some(47_296));
    assert_eq!(cinema.row(seat("D12")).unwrap().number(seat("D12")), Some(12));
    assert_eq!(cinema.row(seat("D12")).unwrap().number(seat("A1")), None);
    for unknown in ["", "A", "A0", "A19", "A01", "a1", "7-3", "71", "M1", "A99999999999", "A-1", "é1"] {
        assert_eq!(cinema.seat(unknown), None, "{unknown}");
    }
}

#[test]
fn a_mistake_names_its_line() {
    let cases = [
        ("category a 1\nrow A a 1-9\n\nrow A a 9-12", 4, LayoutError::DuplicateLabel { label: "A9".into() }),
        ("category a 1\nrow A a 5\nrow A a 1-9", 3, LayoutError::DuplicateLabel { label: "A5".into() }),
        ("row A classic 1-9", 1, LayoutError::UnknownCategory { name: "classic".into() }),
        ("category a 1\n# comment\nrow A a 1-4294967295", 3, LayoutError::TooManySeats),
        ("category a 1\nrow A a 1-4294967296", 2, LayoutError::NumberTooLarge),
        ("category a 1\nrow A a 1000000000", 2, LayoutError::NumberTooLarge),
        ("category a 1\ncategory a 2", 2, LayoutError::DuplicateCategory { name: "a".into() }),
        ("category a 99999999999999999999", 1, LayoutError::PriceTooLarge { name: "a".into() }),
    ];
    for (text, line, cause) in cases {
        let expected = LayoutError::AtLine { line, cause: Box::new(cause) };
        assert_eq!(Layout::parse(text).unwrap_err(), expected, "{text}");
    }
    for text in [
        "seat A1",
        "row A",
        "row A a",
        "category a",
        "category a -1",
        "category a b 1",
        "section a b",
        "category a 1\nrow A a 1-",
        "category a 1\nrow A a 1 2",
        "category a 1\nrow A a 1||2",
        "category a 1\nrow A a +1",
    ] {
        let error = Layout::parse(text).unwrap_err();
        assert!(
            matches!(&error, LayoutError::AtLine { cause, .. }
            if matches!(**cause, LayoutError::Syntax { .. })),
            "{text}: {error}"
        );
    }
    assert_eq!(Layout::parse("# nothing").unwrap_err(), LayoutError::Empty);
}

#[test]
fn claims_are_checked_before_memory_is_spent() {
    let row = |blocks: [(u32, u32); 1]| Layout::builder().category("a", 0).row("A", "a", blocks).build();
    assert_eq!(row([(0, u32::MAX)]).unwrap_err(), LayoutError::TooManySeats);
    assert_eq!(row([(u32::MAX, 0)]).unwrap_err(), LayoutError::TooManySeats);
    assert_eq!(row([(u32::MAX, u32::MAX)]).unwrap_err(), LayoutError::NumberTooLarge);
    assert_eq!(row([(0, Layout::MAX_SEATS)]).unwrap_err(), LayoutError::TooManySeats);
    assert_eq!(row([(1, Layout::MAX_SEATS)]).unwrap().len(), Layout::MAX_SEATS);
    let endless = Layout::builder().category("a", 0).row("A", "a", std::iter::repeat((1, 1_000)));
    assert_eq!(endless.build().unwrap_err(), LayoutError::TooManySeats);
    let long = "x".repeat(65);
    assert!(matches!(Layout::from_labels([&long]), Err(LayoutError::NameTooLong { bytes: 65, .. })));
    assert!(Layout::from_labels([&long[..64]]).is_ok());
    assert!(Layout::builder().category("a", 0).row(&long[..63], "a", [(1, 9)]).build().is_ok());
    assert!(Layout::builder().category("a", 0).row(&long[..63], "a", [(1, 10)]).build().is_err());
    assert_eq!(Layout::from_labels([""]).unwrap_err(), LayoutError::EmptyName { what: "label" });
    assert_eq!(Layout::from_labels([""; 0]).unwrap_err(), LayoutError::Empty);
    let twice = LayoutError::DuplicateLabel { label: "A1".into() };
    assert_eq!(Layout::from_labels(["A1", "A2", "A1"]).unwrap_err(), twice);
    let empty = Layout::builder().category("a", 0).row("A", "a", []).build();
    assert_eq!(empty.unwrap_err(), LayoutError::EmptyRow { name: "A".into() });
}

#[test]
fn a_plain_list_is_small_and_claims_no_neighbours() {
    let hall = Layout::from_labels((1..=1_000).map(|number| format!("S{number}"))).unwrap();
    assert_sound(&hall);
    assert!(stored(&hall).len() < 40);
    assert_eq!(hall.neighbours(SeatIndex(5)), [None, None]);
    assert_eq!(format!("{hall:?}"), "Layout { seats: 1000, rows: 1, categories: 1, .. }");
}

#[test]
fn sections_and_rows_whose_names_run_together_still_have_exact_labels() {
    let layout = |numbers| {
        let layout = Layout::builder().category("a", 0);
        let layout = layout.section("A").row("B-C", "a", [(1, 5)]);
        layout.section("A-B").row("C", "a", [numbers]).build()
    };
    assert_sound(&layout((6, 9)).unwrap());
    let twice = LayoutError::DuplicateLabel { label: "A-B-C-5".into() };
    assert_eq!(layout((5, 9)).unwrap_err(), twice);
}

/// A section, a row and the row's blocks.
type Described = (u8, u8, Vec<(u32, u32)>);

fn described() -> impl Strategy<Value = Vec<Described>> {
    let block = prop_oneof![(0u32..60, 0u32..60), (9_990u32..10_010, 9_990u32..10_010)];
    prop::collection::vec((0u8..3, 0u8..8, prop::collection::vec(block, 1..3)), 1..12)
}

proptest! {
    /// Against a set of all labels: refused exactly if two are the same.
    #[test]
    fn any_description_is_sound_or_has_a_duplicate(rows in described()) {
        const ROWS: [&str; 8] = ["A", "B", "7", "71", "A-", "A7", "-", "ä"];
        let mut builder = Layout::builder().category("dear", 9).category("cheap", 1);
        let mut labels = HashSet::new();
        let mut duplicates = HashSet::new();
        for (section, row, blocks) in &rows {
            let name = ROWS[usize::from(*row)];
            if *section > 0 {
                builder = builder.section(format!("S{section}"));
            } else {
                builder.end_section();
            }
            for number in blocks.iter().flat_map(|&(a, b)| a.min(b)..=a.max(b)) {
                let dash = if name.ends_with(|c: char| c.is_ascii_digit()) { "-" } else { "" };
                let label = match section {
                    0 => format!("{name}{dash}{number}"),
                    _ => format!("S{section}-{name}-{number}"),
                };
                if !labels.insert(label.clone()) {
                    duplicates.insert(label);
                }
            }
            builder = builder.row(name, if row % 2 == 0 { "dear" } else { "cheap" }, blocks.iter().copied());
        }
        match builder.build() {
            Ok(layout) => {
                prop_assert!(duplicates.is_empty());
                prop_assert_eq!(layout.len() as usize, labels.len());
                prop_assert!(labels.iter().all(|label| layout.seat(label).is_some()));
                assert_sound(&layout);
            }
            Err(LayoutError::DuplicateLabel { label }) => prop_assert!(duplicates.contains(label.as_str())),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Any labels, with leading zeros, many digits and none.
    #[test]
    fn any_plain_list_is_sound_or_has_a_duplicate(
        labels in prop::collection::vec("[AB0]{0,2}(0{0,2}[0-9]{0,2}|[0-9]{8,11}|é?)", 1..40),
    ) {
        let labels: Vec<_> = labels.into_iter().filter(|label| !label.is_empty()).collect();
        let distinct: HashSet<_> = labels.iter().collect();
        match Layout::from_labels(&labels) {
            Ok(layout) => {
                prop_assert_eq!(distinct.len(), labels.len());
                prop_assert!(layout.seats().map(|seat| layout.label(seat).unwrap()).eq(labels.iter()));
                assert_sound(&layout);
            }
            Err(LayoutError::DuplicateLabel { label }) => {
                prop_assert!(labels.iter().filter(|other| **other == label).count() > 1);
            }
            Err(other) => prop_assert!(labels.is_empty() && other == LayoutError::Empty),
        }
    }

    /// A damaged chart is refused or is a sound layout, and never panics.
    #[test]
    fn damaged_bytes_never_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), plain in any::<bool>(),
    ) {
        let layout = if plain {
            Layout::from_labels(["A1", "A2", "B", "A03", "7", "8"]).unwrap()
        } else {
            Layout::parse(CINEMA).unwrap()
        };
        let mut bytes = stored(&layout);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(layout) = restored(&bytes)
            && layout.len() < 10_000
        {
            assert_sound(&layout);
        }
    }

    /// Any text at all gives a layout or an error.
    #[test]
    fn any_text_is_read_or_refused(text in "((category|row|section|#| |\n|a|1|-|\\||9{1,12}|\\PC){0,3} ?){0,20}") {
        let _ = Layout::parse(&text);
    }
}
