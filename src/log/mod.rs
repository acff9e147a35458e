//! The log: entries in, entries out, durable in order. Knows nothing of aggregates.

mod audit;
mod bytes;
mod copy;
mod deal;
mod directory;
mod draft;
mod durable;
mod entry;
mod failure;
#[cfg(all(test, shuttle))]
mod memory_store;
#[cfg(all(test, shuttle))]
mod model;
mod overlay;
mod queue;
mod reader;
mod recovery;
mod rest;
mod room;
mod row;
mod section;
mod stop;
mod storage;
mod store;
mod view_store;

pub(crate) use crate::codec::{EncodeFailure, decode, encode_to, fingerprint};
pub(crate) use audit::{Auditor, Gap};
pub(crate) use bytes::Malformed;
pub(crate) use deal::{Dealer, Hand, Run};
pub(crate) use draft::Draft;
pub(crate) use entry::{
    Entry, EntryView, EventKind, EventView, Events, NewSpan, Span, StreamRef, entry_bytes, span_bytes,
};
#[cfg(all(test, shuttle))]
pub(crate) use memory_store::MemoryStore;
pub(crate) use queue::Log;
pub(crate) use reader::{Arrival, DurableEntry, Reader};
pub(crate) use recovery::Opening;
pub(crate) use row::RowView;
#[cfg(all(test, not(shuttle)))]
pub(crate) use row::sealed;
pub(crate) use section::{Sections, put_answer, put_command, put_metadata};
pub(crate) use storage::{Source, sync_folder_of};
pub(crate) use store::{RedbStore, Store};
pub(crate) use view_store::{Head, Mark, ViewStore};
