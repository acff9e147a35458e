//! Goal: transactions are as if they ran one after the other, in the order in which they were committed; what is not
//! allowed says why at once; and what was dropped or refused leaves nothing behind, not even a lock.
//!
//! Method: up to three transactions are open at a time on one thread, in both modes, and take turns at random with
//! each other and with plain commands, on two streams of three cells. A model says of every step how it ends: fine,
//! blocked by a lock, in conflict. Then everything that was committed is done again, one after the other, on two
//! plain arrays: all that anybody saw must be seen again, also by those who only read, and the end must be the same.
//! What a command stores depends on what it saw, and not in a way that would forgive another order. Proptest prints the
//! steps of a failure.

mod support;

use boxoffice::options::Wait;
use boxoffice::{Error, Options, Scope, Transaction, View};
use proptest::prelude::*;
use support::board::{Ask, Board, Put, boards, engine, parts};
use support::{WATCHDOG, at_once, modes};

const IDS: [&str; 2] = ["a", "b"];
const CELLS: usize = 3;

/// How a transaction or a command is run.
#[derive(Clone, Copy, Debug)]
struct How {
    optimistic: bool,
    /// Would wait, if it were not for the one who waits that the lock is held.
    patient: bool,
}

/// Cells of a stream, as bits; 8 is all that there is and could be.
type Mask = u8;

/// A command: changes the second cell by what the first one holds, or says no after it has looked.
#[derive(Clone, Copy, Debug)]
struct Mix {
    stream: usize,
    from: usize,
    to: usize,
    salt: i64,
    refuses: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Read {
        stream: usize,
        mask: Mask,
        for_update: bool,
    },
    Peek(usize),
    Lock {
        mask: Mask,
        shared: bool,
    },
    Mix(Mix),
    Commit,
    Drop,
    /// A command of nobody.
    Plain(How, Mix),
}

fn cells(mask: Mask) -> impl Iterator<Item = usize> {
    (0..CELLS).filter(move |cell| mask & 8 != 0 || mask & (1 << cell) != 0)
}

fn scope(mask: Mask) -> Scope {
    if mask & 8 != 0 { Scope::Whole } else { parts(cells(mask).map(|cell| cell as u64)) }
}

impl How {
    fn options(self) -> Options {
        let (_, options) = modes()[usize::from(self.optimistic)];
        if self.patient { Options { wait: Wait::AtMost(WATCHDOG), ..options } } else { at_once(options) }
    }
}

impl Mix {
    fn mask(self) -> Mask {
        1 << self.from | 1 << self.to
    }

    fn of(self, cells: &[i64; CELLS]) -> i64 {
        (cells[self.from] * 3 + cells[self.to] * 7 + self.salt) % 1_000_003
    }

    fn ask(self) -> Ask {
        let Self { from, to, refuses, .. } = self;
        Ask::on([from as u64, to as u64], move |cells| {
            let seen = [0, 1, 2].map(|cell| cells.get(cell));
            if refuses { Err("no".into()) } else { Ok(vec![Put::cell(to as u64, self.of(&seen))]) }
        })
    }
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Fine,
    WouldBlock,
    HeldByCaller,
    Conflict,
}

impl Ends {
    fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Fine,
            Err(Error::WouldBlock { .. }) => Self::WouldBlock,
            Err(Error::HeldByCaller { .. }) => Self::HeldByCaller,
            Err(Error::Conflict { .. }) => Self::Conflict,
            Err(error) => panic!("{error}"),
        }
    }
}

#[derive(Default)]
struct Model {
    cells: [[i64; CELLS]; 2],
    /// The position at which each cell was last changed.
    changed: [[u64; CELLS]; 2],
    versions: [u64; 2],
    position: u64,
    open: [Option<Unit>; 3],
}

struct Unit {
    how: How,
    lost: bool,
    /// Stream, cells, and whether it is shared.
    locks: Vec<(usize, Mask, bool)>,
    /// Stream, cells, the position that it was seen at, and whether it was only read.
    seen: Vec<(usize, Mask, u64, bool)>,
    /// Stream, cell, value.
    staged: Vec<(usize, usize, i64)>,
}

impl Model {
    fn unit(&mut self, slot: usize) -> &mut Unit {
        self.open[slot].as_mut().expect("open")
    }

    fn is_locked(&self, but_by: Option<usize>, stream: usize, mask: Mask, shared: bool) -> bool {
        let others = self.open.iter().enumerate().filter(|(slot, _)| Some(*slot) != but_by);
        let mut locks = others.filter_map(|(_, unit)| unit.as_ref()).flat_map(|unit| &unit.locks);
        let meet = |other: Mask| cells(mask).any(|cell| cells(other).any(|it| it == cell));
        locks.any(|(of, other, also)| *of == stream && meet(*other) && !(shared && *also))
    }

    fn is_changed(&self, (stream, mask, at, _): (usize, Mask, u64, bool)) -> bool {
        cells(mask).any(|cell| self.changed[stream][cell] > at)
    }

    /// What a transaction saw of a stream is looked at again before it sees more of it.
    fn look(&mut self, slot: usize, stream: usize) -> Ends {
        let (how, seen) = (self.unit(slot).how, self.unit(slot).seen.clone());
        if how.optimistic && seen.iter().any(|seen| seen.0 == stream && self.is_changed(*seen)) {
            self.unit(slot).lost = true;
            return Ends::Conflict;
        }
        Ends::Fine
    }

    /// A transaction depends on something.
    fn step(&mut self, slot: usize, stream: usize, mask: Mask, shared: bool) -> Ends {
        let how = self.unit(slot).how;
        if self.look(slot, stream) == Ends::Conflict {
            return Ends::Conflict;
        }
        if !how.optimistic {
            if self.is_locked(Some(slot), stream, mask, shared) {
                return if how.patient { Ends::HeldByCaller } else { Ends::WouldBlock };
            }
            self.unit(slot).locks.push((stream, mask, shared));
        }
        let now = self.position;
        self.unit(slot).seen.push((stream, mask, now, shared));
        Ends::Fine
    }

    /// A stream as a transaction sees it.
    fn view(&self, slot: usize, stream: usize) -> [i64; CELLS] {
        let mut cells = self.cells[stream];
        let staged = self.open[slot].iter().flat_map(|unit| &unit.staged);
        staged.filter(|it| it.0 == stream).for_each(|(_, cell, value)| cells[*cell] = *value);
        cells
    }

    /// Everything that may be the end of it: who is in the way of two streams may name either.
    fn commit(&mut self, slot: usize) -> Vec<Ends> {
        let unit = self.open[slot].take().expect("open");
        if unit.lost {
            return vec![Ends::Conflict];
        }
        let mut ends = Vec::new();
        if unit.how.optimistic {
            let locked = |(stream, mask, _, shared): &(usize, Mask, u64, bool)| {
                self.is_locked(None, *stream, *mask, *shared)
            };
            ends.extend(unit.seen.iter().any(locked).then_some(Ends::WouldBlock));
            ends.extend(unit.seen.iter().any(|it| self.is_changed(*it)).then_some(Ends::Conflict));
        }
        if ends.is_empty() {
            ends.push(Ends::Fine);
            self.store(&unit.staged);
        }
        ends
    }

    fn store(&mut self, staged: &[(usize, usize, i64)]) {
        self.position += u64::from(!staged.is_empty());
        for (stream, cell, value) in staged {
            self.cells[*stream][*cell] = *value;
            self.changed[*stream][*cell] = self.position;
            self.versions[*stream] += 1;
        }
    }
}

/// What somebody did, to be done again.
#[derive(Clone, Debug)]
enum Did {
    Saw(usize, usize, i64),
    Mixed(Mix),
}

/// Does one after the other what was committed.
fn serially(start: [[i64; CELLS]; 2], committed: &[Vec<Did>]) -> [[i64; CELLS]; 2] {
    let mut now = start;
    for (number, did) in committed.iter().enumerate() {
        for did in did {
            match did {
                Did::Saw(stream, cell, value) => {
                    assert_eq!(now[*stream][*cell], *value, "number {number} of the committed: {did:?}");
                }
                Did::Mixed(mix) if mix.refuses => {}
                Did::Mixed(mix) => now[mix.stream][mix.to] = mix.of(&now[mix.stream]),
            }
        }
    }
    now
}

/// A step of the transaction in a slot, which is begun like this if there is none.
fn any_step() -> impl Strategy<Value = (usize, How, Step)> {
    let how = || any::<(bool, bool)>().prop_map(|(optimistic, patient)| How { optimistic, patient });
    let mask = || prop_oneof![6 => 1..8u8, 1 => Just(8)];
    let mix = || {
        (0..2usize, 0..CELLS, 0..CELLS, 1..1000i64, prop::bool::weighted(0.1))
            .prop_map(|(stream, from, to, salt, refuses)| Mix { stream, from, to, salt, refuses })
    };
    let step = prop_oneof![
        4 => (0..2usize, mask(), prop::bool::weighted(0.3))
            .prop_map(|(stream, mask, for_update)| Step::Read { stream, mask, for_update }),
        1 => (0..2usize).prop_map(Step::Peek),
        1 => (mask(), prop::bool::weighted(0.8)).prop_map(|(mask, shared)| Step::Lock { mask, shared }),
        4 => mix().prop_map(Step::Mix),
        3 => Just(Step::Commit),
        1 => Just(Step::Drop),
        2 => (how(), mix()).prop_map(|(how, mix)| Step::Plain(how, mix)),
    ];
    (0..3usize, how(), step)
}

fn shown(view: &View<Board>) -> [i64; CELLS] {
    [0, 1, 2].map(|cell| view.get(cell))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn transactions_are_as_if_they_ran_one_after_the_other(steps in prop::collection::vec(any_step(), 1..70)) {
        let engine = engine();
        let handle = boards(&engine, Options::default());
        let mut model = Model::default();
        let mut first = engine.begin(Options::default());
        for (stream, id) in IDS.iter().enumerate() {
            for cell in 0..CELLS {
                let value = 10 * stream as i64 + cell as i64;
                first.stage(&handle, id, Put::cell(cell as u64, value)).unwrap();
            }
        }
        first.commit().unwrap();
        model.store(&[(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 10), (1, 1, 11), (1, 2, 12)]);
        let start = model.cells;
        // What each open transaction did, and what all committed ones did.
        let mut units: [Option<(Transaction, Vec<Did>)>; 3] = [None, None, None];
        let mut committed = Vec::new();

        for (slot, how, step) in steps {
            if !matches!(step, Step::Plain(..)) && units[slot].is_none() {
                units[slot] = Some((engine.begin(how.options()), Vec::new()));
                let (locks, seen, staged) = (Vec::new(), Vec::new(), Vec::new());
                model.open[slot] = Some(Unit { how, lost: false, locks, seen, staged });
            }
            match step {
                Step::Read { stream, mask, for_update } => {
                    let (unit, did) = units[slot].as_mut().unwrap();
                    let read = if for_update {
                        unit.read_for_update(&handle, IDS[stream], scope(mask))
                    } else {
                        unit.read(&handle, IDS[stream], scope(mask))
                    };
                    prop_assert_eq!(Ends::of(&read), model.step(slot, stream, mask, !for_update));
                    if let Ok(view) = read {
                        prop_assert_eq!(shown(&view), model.view(slot, stream));
                        let seen = shown(&view);
                        did.extend(cells(mask).map(|cell| Did::Saw(stream, cell, seen[cell])));
                    }
                }
                Step::Peek(stream) => {
                    let (unit, _) = units[slot].as_mut().unwrap();
                    let peeked = unit.peek(&handle, IDS[stream]);
                    prop_assert_eq!(Ends::of(&peeked), model.look(slot, stream));
                    if let Ok(view) = peeked {
                        prop_assert_eq!(shown(&view), model.view(slot, stream));
                    }
                }
                Step::Lock { mask, shared } => {
                    let (unit, _) = units[slot].as_mut().unwrap();
                    // Given in the wrong order: it takes them in the order of their names.
                    let locks = [IDS[1], IDS[0]].map(|id| {
                        let lock = handle.lock(id).on(scope(mask));
                        if shared { lock.shared() } else { lock }
                    });
                    let mut ends = Ends::Fine;
                    for stream in 0..2 {
                        if ends == Ends::Fine {
                            ends = model.step(slot, stream, mask, shared);
                        }
                    }
                    prop_assert_eq!(Ends::of(&unit.lock(locks)), ends);
                }
                Step::Mix(mix) => {
                    let (unit, did) = units[slot].as_mut().unwrap();
                    let staged = unit.execute(&handle, IDS[mix.stream], &mix.ask());
                    prop_assert_eq!(Ends::of(&staged), model.step(slot, mix.stream, mix.mask(), false));
                    if let Ok(staged) = staged {
                        prop_assert_eq!(staged.is_accepted(), !mix.refuses);
                        did.push(Did::Mixed(mix));
                        if !mix.refuses {
                            let value = mix.of(&model.view(slot, mix.stream));
                            prop_assert_eq!(staged.events()[0].cells[0], (mix.to as u64, value));
                            model.unit(slot).staged.push((mix.stream, mix.to, value));
                        }
                    }
                }
                Step::Commit => {
                    let (unit, did) = units[slot].take().unwrap();
                    let before = model.position;
                    let (done, ends) = (unit.commit(), model.commit(slot));
                    prop_assert!(ends.contains(&Ends::of(&done)), "{:?}, not {:?}", done, ends);
                    if let Ok(done) = done {
                        let stored = (model.position > before).then_some(model.position);
                        prop_assert_eq!(done.position(), stored);
                        committed.push(did);
                    }
                }
                Step::Drop => {
                    units[slot] = None;
                    model.open[slot] = None;
                }
                Step::Plain(how, mix) => {
                    let done = handle.with(how.options()).execute(IDS[mix.stream], &mix.ask());
                    let ends = match model.is_locked(None, mix.stream, mix.mask(), false) {
                        true if how.patient => Ends::HeldByCaller,
                        true => Ends::WouldBlock,
                        false => Ends::Fine,
                    };
                    prop_assert_eq!(Ends::of(&done), ends);
                    if done.is_ok() && mix.refuses {
                        // Recorded: it takes a place and changes nothing.
                        model.position += 1;
                        model.versions[mix.stream] += 1;
                    } else if done.is_ok() {
                        let value = mix.of(&model.cells[mix.stream]);
                        model.store(&[(mix.stream, mix.to, value)]);
                        committed.push(vec![Did::Mixed(mix)]);
                    }
                }
            }
            // Nobody else sees what is not committed.
            prop_assert_eq!(engine.position(), model.position);
            for (stream, id) in IDS.iter().enumerate() {
                let view = handle.read(id).unwrap();
                prop_assert_eq!((shown(&view), view.version()), (model.cells[stream], model.versions[stream]));
            }
        }

        prop_assert_eq!(serially(start, &committed), model.cells);
        units = [None, None, None];
        drop(units);
        let mut all = engine.begin(at_once(Options::default()));
        prop_assert_eq!(Ends::of(&all.lock(IDS.map(|id| handle.lock(id)))), Ends::Fine, "a lock was left");
        drop(all);
        prop_assert!(handle.verify().unwrap().is_clean());
        engine.close().unwrap();
    }
}
