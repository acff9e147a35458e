//! The log: entries in, entries out, durable in order. Knows nothing of aggregates.

mod audit;
mod bytes;
mod codec;
mod entry;
mod queue;
mod row;
mod storage;
mod store;

pub(crate) use codec::decode;
pub(crate) use entry::{Draft, Entry, EntryView, EventKind, EventView, Span, StreamRef};
pub(crate) use queue::{Log, Opening, Reservation};
pub(crate) use row::RowView;
pub(crate) use storage::Source;
#[cfg(all(test, shuttle))]
pub(crate) use store::MemoryStore;
pub(crate) use store::{RedbStore, Store};
