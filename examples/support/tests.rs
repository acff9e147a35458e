//! What the examples share, tested wherever an example's tests run.
//!
//! Goal: an argument is taken or refused with one clear line; tables and bars say what they were given.
//!
//! Method: texts are compared as they are printed.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::args::{Asked, Choice, CommandLine};
use super::bar::{Bar, Share};
use super::ink::Ink;
use super::promises::Promises;
use super::table::{Column, Table};
use super::text::{duration, grouped, money, pad, plural, width};
use super::together::together;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Fast,
    Slow,
}

impl Choice for Mode {
    const ALL: &'static [(&'static str, Self)] = &[("fast", Self::Fast), ("slow", Self::Slow)];
}

#[derive(Debug)]
struct Args {
    mode: Mode,
    seats: u32,
    wait: Option<Duration>,
    nap: Option<Duration>,
    file: Option<PathBuf>,
    child: bool,
}

fn ask(words: &[impl AsRef<OsStr>]) -> Result<Asked<Args>, String> {
    let args = Args { mode: Mode::Fast, seats: 7, wait: None, nap: None, file: None, child: false };
    let line = CommandLine::new("shop", "Sells.")
        .choice("MODE", "{}", |args: &mut Args| &mut args.mode)
        .number("--seats N", "how many,\n{}", 1..=9, |args| &mut args.seats)
        .time("--wait TIME", "how long", Duration::from_secs(2), "none", |args| &mut args.wait)
        .time("--nap TIME", "how short", Duration::from_millis(100), "none", |args| &mut args.nap)
        .path("--file PATH", "where", "a temporary file", |args| &mut args.file)
        .hidden_switch("--child", |args| &mut args.child)
        .check(|args| if args.seats == 5 { Err("not five".into()) } else { Ok(()) });
    line.parse(args, words.iter().map(OsString::from))
}

fn args<W: AsRef<OsStr> + Debug>(words: &[W]) -> Args {
    match ask(words) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help(_)) => panic!("{words:?}: help"),
        Err(mistake) => panic!("{words:?}: {mistake}"),
    }
}

#[test]
fn arguments_are_taken_in_any_order_and_form() {
    let none = args::<&str>(&[]);
    assert_eq!((none.mode, none.seats, none.wait, none.file, none.child), (Mode::Fast, 7, None, None, false));
    let all = args(&["--seats=9", "slow", "--file", "a b", "--wait", "250ms", "--child"]);
    assert_eq!((all.mode, all.seats, all.child), (Mode::Slow, 9, true));
    assert_eq!((all.wait, all.file), (Some(Duration::from_millis(250)), Some(PathBuf::from("a b"))));
    assert_eq!(args(&["--wait", "0"]).wait, Some(Duration::ZERO));
    assert_eq!(args(&["--wait", "2s"]).wait, Some(Duration::from_secs(2)));
}

#[test]
fn a_wrong_argument_is_one_clear_line() {
    for (words, mistake) in [
        (&["--seats", "0"][..], "--seats takes a whole number from 1 to 9, not \"0\""),
        (&["--seats", "ten"], "--seats takes a whole number from 1 to 9, not \"ten\""),
        (&["--seats"], "--seats needs a value; see --help"),
        (&["--seats", "5"], "not five"),
        (&["--wait", "3s"], "--wait takes a time up to 2s, such as 500ms, not \"3s\""),
        (&["--wait", "1"], "--wait takes a time up to 2s, such as 500ms, not \"1\""),
        (&["--wait", "-1s"], "--wait takes a time up to 2s, such as 500ms, not \"-1s\""),
        (&["--nap", "101ms"], "--nap takes a time up to 100ms, such as 25ms, not \"101ms\""),
        (&["--nap=1s"], "--nap takes a time up to 100ms, such as 25ms, not \"1s\""),
        (&["--child=no"], "--child takes no value"),
        (&["--child="], "--child takes no value"),
        (&["--file="], "--file needs a path"),
        (&["medium"], "MODE is fast or slow, not \"medium\""),
        (&["slow", "fast"], "unknown argument \"fast\"; see --help"),
        (&["--seat", "3"], "unknown argument \"--seat\"; see --help"),
        (&["-x"], "unknown argument \"-x\"; see --help"),
        (&["MODE"], "MODE is fast or slow, not \"MODE\""),
    ] {
        match ask(words) {
            Err(said) => assert_eq!(said, mistake, "{words:?}"),
            Ok(_) => panic!("{words:?} was taken"),
        }
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_keeps_its_bytes_or_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    let path = OsString::from_vec(b"caf\xe9".to_vec());
    assert_eq!(args(&["--file".into(), path.clone()]).file, Some(PathBuf::from(path)));
    let joined = ask(&[OsString::from_vec(b"--file=caf\xe9".to_vec())]).err();
    let mistake = "the value of --file is no text; give it as the next word, without \"=\"";
    assert_eq!(joined.as_deref(), Some(mistake));
}

#[test]
fn the_help_shows_bounds_and_defaults() {
    let Ok(Asked::Help(help)) = ask(&["--seats", "3", "--help"]) else { panic!("no help") };
    for line in [
        "Usage: cargo run --release --example shop -- [MODE] [OPTIONS]",
        "  MODE           fast or slow                                        [fast]",
        "  --seats N      how many,",
        "                 1 to 9                                              [7]",
        "  --wait TIME    how long                                            [none]",
    ] {
        assert!(help.lines().any(|found| found == line), "{line:?} is not in\n{help}");
    }
    assert!(!help.contains("--child"), "{help}");
}

#[test]
fn columns_are_as_wide_as_their_widest_cell_whatever_its_colour() {
    let mut table = Table::new([Column::left("name"), Column::right("n").at_least(4)]);
    table.row(["ada", "1"]);
    table.rule();
    table.row(["\x1b[1;31mbenedict\x1b[0m", "23,456"]);
    let expected = "  name           n\n  ----------------\n  ada            1\n  ----------------\n  \
                    \x1b[1;31mbenedict\x1b[0m  23,456\n";
    assert_eq!(table.to_string(), expected);
}

#[test]
fn a_bar_is_as_long_as_its_part_and_hides_nothing() {
    let bar = Bar::new(Ink::Ascii, 10, 1_000);
    assert_eq!(bar.filled(0), "[..........]");
    assert_eq!(bar.filled(500), "[#####.....]");
    assert_eq!(bar.filled(1_000), "[##########]");
    assert_eq!(bar.filled(5_000), "[##########]");
    // One of a thousand is seen, at either end.
    assert_eq!(bar.filled(1), "[#.........]");
    assert_eq!(bar.filled(999), "[#########.]");
    assert_eq!(bar.stacked(&[Share::good(998), Share::bad(1), Share::rest(1)]), "[########X.]");
    assert_eq!(bar.stacked(&[Share::good(300)]), "[###       ]");
    assert_eq!(Bar::new(Ink::Ascii, 20, 1_000).scale(), "0        500     1,000");
    assert_eq!(width(&Bar::new(Ink::Colours, 10, 3).filled(2)), 12);
}

#[test]
fn numbers_and_times_are_readable() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!((plural(1, "seat"), plural(2_000, "seat")), ("1 seat".into(), "2,000 seats".into()));
    assert_eq!([0, 5, 4_800, 123_450].map(money), ["0.00", "0.05", "48.00", "1,234.50"]);
    let micros = [0, 350, 4_200, 350_000, 999_999, 1_500_000, 10_000_000];
    let said = micros.map(|micros| duration(Duration::from_micros(micros)));
    assert_eq!(said, ["0 s", "350 us", "4.2 ms", "350 ms", "1 s", "1.5 s", "10 s"]);
    assert_eq!((pad("ab", 4), pad("\x1b[1mab\x1b[0m", 3)), ("ab  ".into(), "\x1b[1mab\x1b[0m ".into()));
}

#[test]
fn a_broken_promise_is_named_and_a_kept_one_is_not() {
    let mut promises = Promises::default();
    promises.equal("seats", 3, 3);
    promises.check(true, || "never said".into());
    assert!(promises.verdict().is_ok());
    promises.equal("seats", 4, 3);
    let mut others = Promises::default();
    others.extend(["another".to_owned()]);
    promises.add(others);
    let said = promises.verdict().err().map(|error| error.to_string());
    assert_eq!(said.as_deref(), Some("a promise was broken:\n  seats: found 4, promised 3\n  another"));
}

#[test]
fn who_begins_together_has_seen_all_threads_start() {
    let started = AtomicU32::new(0);
    let seen: Vec<u32> = thread::scope(|scope| {
        // Counted when the thread is asked for: nobody may be at work before the last of them is.
        let works = (0..4).map(|_| {
            started.fetch_add(1, Relaxed);
            || started.load(Relaxed)
        });
        let threads = together(scope, works).unwrap_or_else(|error| panic!("{error}"));
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).collect()
    });
    assert_eq!(seen, [4; 4]);
}

#[test]
fn nobody_waits_for_who_never_comes() {
    let worked = AtomicU32::new(0);
    // The third thread is not started. That the first two end is seen by the end of this test.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        thread::scope(|scope| {
            let works = (0..3).map(|number| {
                if number == 2 {
                    resume_unwind(Box::new("no more threads"));
                }
                || worked.fetch_add(1, Relaxed)
            });
            together(scope, works).map(|threads| threads.len())
        })
    }));
    assert!(ended.is_err());
    assert_eq!(worked.load(Relaxed), 0);
}
