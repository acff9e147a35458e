//! An aggregate that does what its command says: numbered cells, a scope and a decision given as
//! functions, and events that may lie about what they touch or panic when applied.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use boxoffice::aggregate::Upcasts;
use boxoffice::clock::Timestamp;
use boxoffice::{Aggregate, Context, Engine, Events, Handle, Options, Part, Scope};
use serde::{Deserialize, Serialize};

/// What tells one program's board from another's: the name, the version, and what `apply` does beside.
pub(crate) trait Kind: Send + Sync + 'static {
    const TYPE: &'static str = "board";
    const EVENT_VERSION: u16 = 1;
    fn on_apply(_put: &Put) {}
}

/// The ordinary kind.
pub(crate) enum Plain {}
impl Kind for Plain {}

pub(crate) struct Board<K = Plain>(PhantomData<fn() -> K>);

/// Cells by number; one that was never set holds 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cells(Arc<BTreeMap<u64, i64>>);

impl Cells {
    pub(crate) fn get(&self, cell: u64) -> i64 {
        self.0.get(&cell).copied().unwrap_or(0)
    }
}

/// Sets cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Put {
    pub(crate) cells: Vec<(u64, i64)>,
    /// Set too, but not among what the event says that it touches.
    pub(crate) hidden: Vec<(u64, i64)>,
    /// Says that it touches everything.
    pub(crate) whole: bool,
    /// Makes `apply` panic, after the cells were set.
    pub(crate) trap: bool,
    pub(crate) blob: Vec<u8>,
}

impl Put {
    pub(crate) fn cell(cell: u64, value: i64) -> Self {
        Self { cells: vec![(cell, value)], ..Self::default() }
    }

    pub(crate) fn trapped(self) -> Self {
        Self { trap: true, ..self }
    }

    /// Makes the event this many bytes larger.
    pub(crate) fn padded(self, bytes: usize) -> Self {
        Self { blob: vec![0; bytes], ..self }
    }
}

type ScopeFn = dyn Fn(&Cells) -> Scope + Send + Sync;
type DecideFn = dyn Fn(&Cells, &Context<'_, ()>) -> Result<Vec<Put>, String> + Send + Sync;

/// A command: what it depends on, and what it decides.
#[derive(Clone)]
pub(crate) struct Ask {
    scope: Arc<ScopeFn>,
    decide: Arc<DecideFn>,
    creates: bool,
    /// All of a command that is serialized.
    label: u64,
}

impl Serialize for Ask {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.label.serialize(serializer)
    }
}

impl Ask {
    pub(crate) fn new(
        scope: impl Fn(&Cells) -> Scope + Send + Sync + 'static,
        decide: impl Fn(&Cells, &Context<'_, ()>) -> Result<Vec<Put>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { scope: Arc::new(scope), decide: Arc::new(decide), creates: true, label: 0 }
    }

    /// Depends on these cells.
    pub(crate) fn on(
        cells: impl IntoIterator<Item = u64>,
        decide: impl Fn(&Cells) -> Result<Vec<Put>, String> + Send + Sync + 'static,
    ) -> Self {
        let scope = parts(cells);
        Self::new(move |_| scope.clone(), move |cells, _| decide(cells))
    }

    /// Depends on everything.
    pub(crate) fn whole(decide: impl Fn(&Cells) -> Result<Vec<Put>, String> + Send + Sync + 'static) -> Self {
        Self::new(|_| Scope::Whole, move |cells, _| decide(cells))
    }

    /// Decides these events, and depends on the cells that they name.
    pub(crate) fn puts(puts: impl IntoIterator<Item = Put>) -> Self {
        let puts: Vec<Put> = puts.into_iter().collect();
        let cells: Vec<u64> = puts.iter().flat_map(|put| put.cells.iter().map(|(cell, _)| *cell)).collect();
        Self::on(cells, move |_| Ok(puts.clone()))
    }

    /// Sets a cell.
    pub(crate) fn set(cell: u64, value: i64) -> Self {
        Self::puts([Put::cell(cell, value)])
    }

    /// Adds one to a cell.
    pub(crate) fn add(cell: u64) -> Self {
        Self::on([cell], move |cells| Ok(vec![Put::cell(cell, cells.get(cell) + 1)]))
    }

    /// Says no, depending on a cell.
    pub(crate) fn reject(cell: u64) -> Self {
        Self::on([cell], |_| Err("no".into()))
    }

    /// The same command, that runs `hook` in its decision first.
    pub(crate) fn first(self, hook: impl Fn(&Cells, Timestamp) + Send + Sync + 'static) -> Self {
        let then = self.decide;
        let decide = move |cells: &Cells, context: &Context<'_, ()>| {
            hook(cells, context.now());
            then(cells, context)
        };
        Self { decide: Arc::new(decide), ..self }
    }

    /// The same command, told apart from others by this when it is serialized.
    pub(crate) fn labelled(self, label: u64) -> Self {
        Self { label, ..self }
    }

    /// The same command, which may not be a stream's first.
    pub(crate) fn on_existing(self) -> Self {
        Self { creates: false, ..self }
    }
}

pub(crate) fn parts(cells: impl IntoIterator<Item = u64>) -> Scope {
    Scope::parts(cells.into_iter().map(|cell| Part::number(0, cell)))
}

impl<K: Kind> Aggregate for Board<K> {
    const TYPE: &'static str = K::TYPE;
    const EVENT_VERSION: u16 = K::EVENT_VERSION;

    type State = Cells;
    type Command = Ask;
    type Event = Put;
    type Rejection = String;
    type Services = ();

    fn creates(command: &Ask) -> bool {
        command.creates
    }

    fn upcasts() -> Upcasts<Put> {
        Upcasts::unchanged_since(1)
    }

    fn scope(state: &Cells, command: &Ask) -> Scope {
        (command.scope)(state)
    }

    fn decide(state: &Cells, command: &Ask, context: &Context<'_, ()>) -> Result<Events<Put>, String> {
        (command.decide)(state, context).map(Events::from)
    }

    fn touches(put: &Put) -> Scope {
        if put.whole { Scope::Whole } else { parts(put.cells.iter().map(|(cell, _)| *cell)) }
    }

    fn apply(state: &mut Cells, put: &Put) {
        K::on_apply(put);
        let cells = Arc::make_mut(&mut state.0);
        cells.extend(put.cells.iter().chain(&put.hidden).copied());
        assert!(!put.trap, "sprung");
    }
}

/// An engine in memory that knows the ordinary board.
pub(crate) fn engine() -> Engine {
    Engine::builder().aggregate::<Board>().in_memory().expect("opens")
}

/// The ordinary boards of an engine.
pub(crate) fn boards(engine: &Engine, options: Options) -> Handle<Board> {
    engine.handle::<Board>(()).expect("registered").with(options)
}
