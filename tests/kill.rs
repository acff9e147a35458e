//! Goal: a process that is killed takes nothing with it that it had told anybody.
//!
//! Method: this program starts itself again as a child that sells from several threads on a real file
//! and prints each decision after it was acknowledged. After a random number of lines it is killed
//! (SIGKILL), sometimes before it has opened the file; then the file is opened here and must hold every line
//! that came out of the pipe. Half of the rounds go on with the file of the round before. The seed
//! reproduces the commands and the number of lines, not the moment.
//!
//! The second part: one file, two engines, in two processes or in one.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Barrier;

use boxoffice::testing::Prng;
use boxoffice::{Error, Handle, Outcome};
use common::{Ask, Hall, any_ask, builder, entry_of, halls, read_log};

const FILE: &str = "BOXOFFICE_TEST_FILE";
const SEED: &str = "BOXOFFICE_TEST_SEED";

/// Starts this program as a child that runs only the test `name`.
fn start(name: &str, file: &Path, seed: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env(SEED, seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// What the parent wants, in a child; nothing in the parent, where these tests do nothing.
fn orders() -> Option<(String, u64)> {
    Some((std::env::var(FILE).ok()?, std::env::var(SEED).ok()?.parse().unwrap()))
}

/// One line, out at once. False if nobody reads any more.
fn say(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn acknowledge(id: &str, outcome: &Outcome<Hall>) -> bool {
    let entry = entry_of(id, outcome).unwrap();
    say(&format!("ACK {} {entry:?}", outcome.position().unwrap()))
}

/// Sells until nobody listens.
fn sell(halls: &Handle<Hall>, mut dice: Prng) {
    loop {
        let id = format!("hall-{}", dice.below(3));
        let ask = if halls.read(&id).is_ok() { any_ask(&mut dice) } else { Ask::Open };
        let command = common::Command { ticket: dice.next_u64(), ask };
        let goes_on = if dice.chance(1, 2) {
            acknowledge(&id, &halls.execute(&id, &command).unwrap())
        } else {
            let receipts: Vec<_> = (0..dice.below(8)).map(|_| halls.submit(&id, &command).unwrap()).collect();
            receipts.into_iter().all(|receipt| acknowledge(&id, &receipt.wait().unwrap()))
        };
        if !goes_on {
            return;
        }
    }
}

#[test]
fn child_that_sells() {
    let Some((file, seed)) = orders() else { return };
    say("OPENING");
    let engine = builder().open(file).unwrap();
    let mut dice = Prng::new(seed);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let dice = dice.fork();
            scope.spawn(|| sell(&halls(&engine), dice));
        }
    });
}

/// The next whole line; a line that was cut short does not count.
fn next_line(lines: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line).unwrap();
    let line = String::from_utf8(line).unwrap();
    line.strip_suffix('\n').map(String::from)
}

#[test]
fn sales_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Prng::new(7);
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    let (mut path, mut total) = (folder.path().join("0"), 0);
    for round in 0..60 {
        let fresh = round % 2 == 0;
        if fresh {
            path = folder.path().join(format!("{round}"));
            acknowledged.clear();
        }
        let (seed, kill_at) = (dice.next_u64(), dice.below(4) * dice.below(80));
        let name = format!("round {round}, killed at line {kill_at}, child seed {seed}");
        let (mut child, mut lines) = start("child_that_sells", &path, seed);
        while !next_line(&mut lines).expect("the child does not start").ends_with("OPENING") {}
        let mut heard = 0;
        if kill_at == 0 {
            child.kill().unwrap();
        }
        while let Some(line) = next_line(&mut lines) {
            if let Some((position, entry)) = line.strip_prefix("ACK ").and_then(|ack| ack.split_once(' ')) {
                let before = acknowledged.insert(position.parse().unwrap(), entry.into());
                assert_eq!(before, None, "{name}: position {position} was acknowledged twice");
                heard += 1;
                if heard == kill_at {
                    child.kill().unwrap();
                }
            }
        }
        let status = child.wait().unwrap();
        assert!(!status.success() && status.code().is_none(), "{name}: not killed but {status}");
        total += heard;

        let engine = builder().open(&path).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let log = read_log(&engine, &name);
        for (position, entry) in &acknowledged {
            let found = log.get(position).map(|entry| format!("{entry:?}"));
            assert_eq!(found.as_ref(), Some(entry), "{name}: acknowledged and lost");
        }
        // What was not acknowledged may be there, too; from here on it stays.
        acknowledged.extend(log.iter().map(|(position, entry)| (*position, format!("{entry:?}"))));
        drop(engine);
    }
    assert!(total > 500, "only {total} acknowledgements were heard");
}

#[test]
fn child_that_holds_the_file() {
    let Some((file, _)) = orders() else { return };
    let engine = builder().open(file);
    say(&format!("{:?}", engine.as_ref().err()));
    // Until the parent lets go.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn two_processes_on_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales");
    let child = || {
        let (child, mut lines) = start("child_that_holds_the_file", &path, 0);
        let said = std::iter::from_fn(|| next_line(&mut lines))
            .find_map(|line| Some(line[line.find("None").or(line.find("Some("))?..].to_owned()));
        (child, said, lines)
    };

    // The child first.
    let (mut first, said, _lines) = child();
    assert_eq!(said.as_deref(), Some("None"));
    let refused = builder().open(&path);
    assert!(matches!(refused, Err(Error::AlreadyOpen)), "{refused:?}");
    first.kill().unwrap();
    first.wait().unwrap();

    // Then this process, which goes on undisturbed; in the end another child.
    let engine = builder().open(&path).unwrap();
    let (mut second, said, _lines) = child();
    assert_eq!(said.as_deref(), Some("Some(AlreadyOpen)"));
    drop(second.stdin.take());
    assert!(second.wait().unwrap().success());
    let command = common::Command { ticket: 1, ask: Ask::Open };
    assert!(halls(&engine).execute("hall-0", &command).unwrap().is_accepted());
    engine.close().unwrap();
    let (mut third, said, _lines) = child();
    assert_eq!(said.as_deref(), Some("None"));
    drop(third.stdin.take());
    assert!(third.wait().unwrap().success());
}

#[test]
fn two_engines_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales");
    let engine = builder().open(&path).unwrap();
    let command = common::Command { ticket: 1, ask: Ask::Open };
    for id in ["hall-0", "hall-1"] {
        let refused = builder().open(&path).unwrap_err();
        assert!(matches!(refused, Error::AlreadyOpen), "{refused:?}");
        assert!(refused.to_string().contains("close it there first"), "{refused}");
        assert!(halls(&engine).execute(id, &command).unwrap().is_accepted());
    }
    // A handle does not keep the file open, an engine does.
    let handle = halls(&engine);
    drop(engine);
    let engine = builder().open(&path).unwrap();
    assert_eq!(halls(&engine).ids().len(), 2);
    assert!(matches!(handle.read("hall-0"), Err(Error::Closed)));
}

/// Several create the same file at the same moment: at most one gets it, and what that one acknowledges
/// is in the file of that name.
#[test]
fn several_engines_create_one_file() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..150 {
        let path = folder.path().join(format!("{round}"));
        let start = Barrier::new(3);
        let create = |ticket| {
            start.wait();
            let engine = builder().open(&path)?;
            let command = common::Command { ticket, ask: Ask::Open };
            let id = format!("hall-{ticket}");
            let outcome = halls(&engine).execute(&id, &command)?;
            Ok((engine, format!("{:?}", entry_of(&id, &outcome).unwrap())))
        };
        let created = std::thread::scope(|scope| {
            let threads = [1, 2, 3].map(|ticket| {
                let create = &create;
                scope.spawn(move || create(ticket))
            });
            threads.map(|thread| thread.join().unwrap())
        });
        let mut sold = Vec::new();
        for result in &created {
            match result {
                Ok((_, entry)) => sold.push(entry.clone()),
                Err(Error::AlreadyOpen) => {}
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        assert!(sold.len() <= 1, "round {round}: several engines on one file");
        drop(created);
        let engine = builder().open(&path).unwrap();
        let log = read_log(&engine, &format!("round {round}"));
        let log: Vec<_> = log.values().map(|entry| format!("{entry:?}")).collect();
        assert_eq!(log, sold, "round {round}: acknowledged, and not in the file");
    }
}
