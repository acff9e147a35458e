//! Goal: what the queue acknowledges is stored; what fails is told to everybody at once; nobody waits for ever.
//! Method: [`explore`] runs a writer, threads that commit in place and tasks on a store in memory that may fail at any
//! append; then the rows are read again and every answer is compared with them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::sync::Arc;

use shuttle::thread::{JoinHandle, spawn, yield_now};

use super::memory_store::MemoryStore;
use super::{
    Arrival, Draft, Entry, EntryView, EventKind, Log, NewSpan, Opening, Reader, StreamRef, decode,
    entry_bytes,
};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::Error;
use crate::limits::Limits;
use crate::model::{LIMIT, chance, explore, pick, run_or_drop, run_task};
use crate::sync::{Patience, Timer, run_blocking};

/// What one entry takes of the room, at most.
const ENTRY: usize = 100;

/// A log with a writer, on storage that everybody can look at.
#[derive(Clone)]
struct Desk {
    log: Arc<Log>,
    store: MemoryStore,
    timer: Arc<Timer>,
    answers: Arc<parking_lot::Mutex<Vec<Answer>>>,
}

/// What became of an entry.
struct Answer {
    position: u64,
    client: u64,
    version: u64,
    /// Absent if nobody waited for it.
    result: Option<Result<(), Error>>,
}

impl Desk {
    /// Opens an empty log with room for at least so many entries.
    fn open(store: MemoryStore, room: usize) -> (Self, JoinHandle<()>) {
        Self::open_with(store, room, ManualClock::new(Timestamp(1)))
    }

    fn open_with(store: MemoryStore, room: usize, clock: impl Clock) -> (Self, JoinHandle<()>) {
        let limits = Limits {
            batch_bytes: if chance() { ENTRY } else { 10 * ENTRY },
            queue_bytes: room * ENTRY,
            ..Limits::default()
        };
        let log = Arc::new(Opening::new(Box::new(store.clone())).into_log(Arc::new(clock), limits));
        let writer = Arc::clone(&log);
        let writer = spawn(move || writer.run_writer());
        (Self { log, store, timer: Arc::default(), answers: Arc::default() }, writer)
    }

    fn client(&self, name: u64) -> Client {
        Client { desk: self.clone(), name, stream: None, version: 0 }
    }

    /// Runs clients side by side, each in a thread of its own, then closes.
    fn serve(&self, writer: JoinHandle<()>, clients: Vec<JoinHandle<()>>) {
        clients.into_iter().for_each(|client| client.join().unwrap());
        self.log.close();
        writer.join().unwrap();
    }

    /// All that was given a position is stored, in order, and no room is left in use.
    fn check_all_stored(&self) {
        let last = self.answers.lock().iter().map(|answer| answer.position).max().unwrap_or(0);
        assert_eq!((self.store.end(), self.log.durable(), self.log.tail()), (last, last, last));
        assert_eq!(self.log.room_in_use(), (0, 0));
        self.check_rows();
        let answers = self.answers.lock();
        assert_eq!(answers.len() as u64, last);
        for answer in answers.iter() {
            match &answer.result {
                None | Some(Ok(()) | Err(Error::NotYetDurable { .. })) => {}
                Some(Err(error)) => panic!("position {}: {error}", answer.position),
            }
        }
    }

    /// The rows hold what was appended, without a gap.
    fn check_rows(&self) {
        let answers = self.answers.lock();
        let by_position: BTreeMap<u64, _> =
            answers.iter().map(|answer| (answer.position, (answer.client, answer.version))).collect();
        let mut opening = Opening::new(Box::new(self.store.reopened()));
        let mut next = 1;
        let mut visit = |position: u64, entry: &EntryView<'_>| {
            assert_eq!(position, next);
            next += 1;
            let event = entry.events().next().unwrap().unwrap();
            let stored: (u64, u64) = decode(event.payload).unwrap();
            assert_eq!(Some(&stored), by_position.get(&position));
            Ok(())
        };
        while opening.next_row(&mut visit).unwrap().is_some() {}
        assert_eq!(next, self.store.end() + 1);
    }

    /// After the log stopped early: every answer says what the rows say.
    fn check_verdicts(&self) {
        self.check_rows();
        let appends = self.store.appends();
        let unsure = appends.last().map_or(0..0, |last| last.positions.clone());
        for Answer { position, result, .. } in self.answers.lock().iter() {
            let append = appends.iter().find(|append| append.positions.contains(position));
            match result {
                None => {}
                Some(Ok(())) => assert!(append.is_some_and(|append| append.stored)),
                Some(Err(Error::NotYetDurable { .. })) => {}
                Some(Err(Error::OutcomeUnknown { position: named, .. })) => {
                    assert_eq!(named, position);
                    assert!(unsure.contains(position), "{position} is outside {unsure:?}");
                }
                Some(Err(Error::NotStored { .. })) => assert!(append.is_none(), "{position} was written"),
                Some(Err(error)) => panic!("position {position}: {error}"),
            }
        }
    }
}

/// Appends to one stream.
struct Client {
    desk: Desk,
    name: u64,
    stream: Option<u32>,
    version: u64,
}

/// How a client waits.
#[derive(Clone, Copy)]
struct Manners {
    task: bool,
    deadline: bool,
}

impl Manners {
    fn any() -> Self {
        Self { task: chance(), deadline: chance() }
    }

    fn patient() -> Self {
        Self { task: chance(), deadline: false }
    }

    fn patience(self, timer: &Timer) -> Patience<'_> {
        let limit = LIMIT.filter(|_| self.deadline);
        if self.task { Patience::of_task(limit, timer) } else { Patience::of_thread(limit) }
    }

    fn run<F: Future>(self, future: F) -> F::Output {
        if self.task { run_task(future) } else { run_blocking(future) }
    }
}

impl Client {
    /// Appends an entry; the caller waits for it, or leaves it to the writer.
    async fn append(&mut self, patience: &mut Patience<'_>, nudge: bool) -> Result<u64, Error> {
        let desk = self.desk.clone();
        let mut draft = Draft::new(ENTRY);
        let version = self.version + 1;
        draft.push(EventKind::Event, 1, &(self.name, version))?;
        let id = ["a", "b", "c", "d"][self.name as usize];
        let bytes = entry_bytes(0, 2, &draft);
        assert!(bytes <= ENTRY && bytes * 2 > ENTRY);
        desk.log.wait_for_room(ENTRY, patience).await?;
        let stream = match self.stream {
            Some(number) => StreamRef::Known(number),
            None => StreamRef::New { aggregate: "t", id },
        };
        let spans = [NewSpan { stream, first_version: version, events: 1, draft: &draft }];
        let entry = Entry { decided_at: Timestamp(1), sections: &[], spans: &spans };
        let appended = desk.log.append(&entry, ENTRY, nudge)?;
        self.stream.get_or_insert(appended.new_stream);
        self.version = version;
        if let Some(writer) = appended.writer {
            writer.signal();
        }
        Ok(appended.position)
    }

    /// Appends and waits, in one of the ways of the engine.
    fn put(&mut self, manners: Manners) -> Result<u64, Error> {
        let desk = self.desk.clone();
        let mut patience = manners.patience(&desk.timer);
        // Only a thread commits in place.
        let nudge = manners.task || chance();
        let position = manners.run(self.append(&mut patience, nudge))?;
        let result = if manners.task && chance() {
            let mut place = None;
            let receipt = poll_fn(|cx| desk.log.poll_durable(position, &mut place, cx));
            match pick(3) {
                0 => run_or_drop(receipt, 2),
                _ => Some(run_task(receipt)),
            }
        } else {
            Some(manners.run(desk.log.wait_durable(position, &mut patience)))
        };
        self.answer(position, result);
        Ok(position)
    }

    fn answer(&self, position: u64, result: Option<Result<(), Error>>) {
        let desk = &self.desk;
        match &result {
            Some(Ok(())) => assert!(desk.store.end() >= position, "acknowledged before it is stored"),
            Some(Err(Error::NotYetDurable { .. })) | None => {}
            Some(Err(_)) => assert!(desk.log.check_running().is_err(), "woken before the latch"),
        }
        let answer = Answer { position, client: self.name, version: self.version, result };
        desk.answers.lock().push(answer);
    }

    /// Looks for room a few times, and goes away.
    fn give_up(&mut self) {
        let desk = self.desk.clone();
        let mut patience = Patience::of_task(LIMIT.filter(|_| chance()), &desk.timer);
        let appended = run_or_drop(self.append(&mut patience, true), pick(4));
        if let Some(Ok(position)) = appended {
            self.answer(position, None);
        }
    }
}

#[test]
fn everybody_is_served() {
    explore(|| {
        let (desk, writer) = Desk::open(MemoryStore::default(), 10);
        let clients = (0..3).map(|name| {
            let mut client = desk.client(name);
            spawn(move || {
                for _ in 0..=pick(2) {
                    client.put(Manners::any()).unwrap();
                }
            })
        });
        desk.serve(writer, clients.collect());
        desk.check_all_stored();
    });
}

/// Panics now and then.
struct BadClock;

impl Clock for BadClock {
    fn now(&self) -> Timestamp {
        if chance() { resume_unwind(Box::new("clock")) } else { Timestamp(1) }
    }
}

#[test]
fn a_clock_that_panics_stops_no_commit() {
    explore(|| {
        let (desk, writer) = Desk::open_with(MemoryStore::default(), 10, BadClock);
        let clients = (0..2).map(|name| {
            let mut client = desk.client(name);
            spawn(move || client.put(Manners::patient()).map(drop).unwrap())
        });
        desk.serve(writer, clients.collect());
        desk.check_all_stored();
    });
}

#[test]
fn room_is_given_back_and_passed_on() {
    explore(|| {
        let (desk, writer) = Desk::open(MemoryStore::default(), 1 + pick(2));
        let clients = (0..4).map(|name| {
            let mut client = desk.client(name);
            let leaves = name == 3;
            spawn(move || {
                if leaves {
                    client.give_up();
                }
                match client.put(Manners { deadline: leaves && chance(), ..Manners::patient() }) {
                    Ok(_) => {}
                    Err(Error::Busy { .. }) => assert!(leaves, "somebody patient was sent away"),
                    Err(error) => panic!("{error}"),
                }
            })
        });
        desk.serve(writer, clients.collect());
        desk.check_all_stored();
    });
}

/// Nobody is left behind by a caller who gives up: its own entry, and those before it, get to the disk
/// without anybody's help.
#[test]
fn what_a_caller_gives_up_on_is_written_all_the_same() {
    explore(|| {
        let (desk, writer) = Desk::open(MemoryStore::default(), 10);
        let clients = (0..3).map(|name| {
            let mut client = desk.client(name);
            spawn(move || {
                for _ in 0..=pick(1) {
                    let position = client.put(Manners { task: chance(), deadline: true }).unwrap();
                    while client.desk.log.durable() < position {
                        client.desk.log.let_time_pass();
                        yield_now();
                    }
                }
            })
        });
        desk.serve(writer, clients.collect());
        desk.check_all_stored();
    });
}

#[test]
fn a_close_drains_what_was_taken_and_ends_every_wait() {
    explore(|| {
        let (desk, writer) = Desk::open(MemoryStore::default(), 1 + pick(3));
        let mut clients: Vec<_> = (0..3)
            .map(|name| {
                let mut client = desk.client(name);
                spawn(move || {
                    for _ in 0..2 {
                        match client.put(Manners::any()) {
                            Ok(_) | Err(Error::Busy { .. }) => {}
                            Err(Error::Closed) => {
                                assert!(matches!(client.desk.log.check_running(), Err(Error::Closed)));
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let closing = desk.clone();
        clients.push(spawn(move || closing.log.close()));
        desk.serve(writer, clients);
        desk.check_all_stored();
        assert!(desk.log.release().is_ok());
    });
}

fn put_until_stopped(mut client: Client) -> JoinHandle<()> {
    spawn(move || {
        for _ in 0..2 {
            match client.put(Manners::any()) {
                Ok(_) | Err(Error::Busy { .. }) => {}
                Err(Error::Storage { .. } | Error::Broken { .. } | Error::Closed) => {
                    assert!(client.desk.log.check_running().is_err());
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
}

#[test]
fn a_failing_disk_is_told_to_everybody_at_once() {
    explore(|| {
        let (desk, writer) = Desk::open(MemoryStore::failing_after(pick(3)), 1 + pick(4));
        let clients: Vec<_> = (0..3).map(|name| put_until_stopped(desk.client(name))).collect();
        desk.serve(writer, clients);
        desk.check_verdicts();
        let failed = desk.store.appends().iter().any(|append| !append.stored);
        assert_eq!(failed, matches!(desk.log.release(), Err(Error::Storage { .. })));
        if failed {
            assert!(matches!(desk.log.check_running(), Err(Error::Storage { .. })));
            assert!(matches!(desk.client(3).put(Manners::patient()), Err(Error::Storage { .. })));
        }
    });
}

/// Reads on in every way there is, and says where it came to the end, or why it came to none.
fn read_along(desk: Desk, from: u64) -> JoinHandle<Result<u64, Error>> {
    spawn(move || {
        let (log, mut reader) = (&desk.log, Reader::new(from));
        loop {
            while let Some(entry) = reader.next(log)? {
                assert!(entry.position() <= log.durable(), "shown before it is durable");
                assert!(entry.position() <= desk.store.end(), "shown before it is stored");
            }
            let next = reader.position();
            let (manners, mut place) = (Manners::any(), None);
            let mut patience = manners.patience(&desk.timer);
            let looks = pick(3);
            let arrival = match pick(3) {
                0 => match run_or_drop(poll_fn(|cx| log.poll_for(next, &mut place, cx)), looks) {
                    Some(arrival) => arrival?,
                    None => continue,
                },
                1 => run_task(poll_fn(|cx| log.poll_for(next, &mut place, cx)))?,
                _ => manners.run(log.wait_for(next, &mut patience))?,
            };
            match arrival {
                Arrival::Durable => assert!(reader.position() <= log.durable()),
                Arrival::NotYet => assert!(manners.deadline, "sent away without a deadline"),
                Arrival::Never => return Ok(next),
            }
        }
    })
}

#[test]
fn whoever_reads_along_sees_all_that_becomes_durable_and_then_the_end() {
    explore(|| {
        let fails = chance();
        let store = if fails { MemoryStore::failing_after(pick(3)) } else { MemoryStore::default() };
        let (desk, writer) = Desk::open(store, 10);
        let readers: Vec<_> = (0..2).map(|_| read_along(desk.clone(), 1 + pick(2) as u64)).collect();
        let mut clients: Vec<_> = (0..2).map(|name| put_until_stopped(desk.client(name))).collect();
        if chance() {
            let closing = desk.clone();
            clients.push(spawn(move || closing.log.close()));
        }
        desk.serve(writer, clients);
        for reader in readers {
            match reader.join().unwrap() {
                Ok(next) => assert_eq!(next.max(2), (desk.log.tail() + 1).max(2), "it ended early"),
                Err(error) => assert!(fails && matches!(error, Error::Storage { .. }), "{error}"),
            }
        }
        assert_eq!(desk.log.waiting_readers(), 0);
        desk.check_verdicts();
    });
}

/// The engine stops itself, meets a read that fails, closes, and fails on the disk, at any moment and in any order.
#[test]
fn however_it_stops_every_answer_is_true() {
    explore(|| {
        let store = if chance() { MemoryStore::default() } else { MemoryStore::failing_after(1 + pick(2)) };
        let (desk, writer) = Desk::open(store, 1 + pick(4));
        let mut clients: Vec<_> = (0..3).map(|name| put_until_stopped(desk.client(name))).collect();
        let breaking = desk.clone();
        clients.push(spawn(move || {
            let error = if chance() {
                breaking.log.broken("a rule".into())
            } else {
                breaking.store.0.lock().blind = true;
                match breaking.log.read_row(1, &mut Vec::new()) {
                    // Nothing was there to be read.
                    Ok(None) => return,
                    Ok(Some(_)) => panic!("read from a disk that cannot be read"),
                    Err(error) => error,
                }
            };
            assert!(matches!(error, Error::Broken { .. } | Error::Storage { .. }), "{error}");
            assert!(breaking.log.check_running().is_err());
            assert!(breaking.log.release().is_err());
        }));
        if chance() {
            let closing = desk.clone();
            clients.push(spawn(move || closing.log.close()));
        }
        desk.serve(writer, clients);
        desk.check_verdicts();
    });
}
