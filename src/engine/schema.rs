//! What is stored, read as the types of today: the one place where events and rejections are decoded.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use super::replay::panic_message;
use crate::aggregate::{Aggregate, Upcasts};
use crate::error::{Error, Fence};
use crate::log::{EventView, decode};

/// How events and rejections of all versions of one aggregate type are read.
pub(crate) struct Schema<A: Aggregate> {
    events: Upcasts<A::Event>,
    rejections: Upcasts<A::Rejection>,
}

impl<A: Aggregate> Default for Schema<A> {
    fn default() -> Self {
        Self { events: A::upcasts(), rejections: A::rejection_upcasts() }
    }
}

impl<A: Aggregate> Schema<A> {
    const VERSION: u32 = A::EVENT_VERSION as u32;

    /// Whether the steps lead to the version of today.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let events = self.events.check(A::EVENT_VERSION).map_err(|what| format!("events: {what}"));
        let rejections =
            || self.rejections.check(A::EVENT_VERSION).map_err(|what| format!("rejections: {what}"));
        events
            .and_then(|()| rejections())
            .map_err(|what| Error::InvalidUpcasts { aggregate: A::TYPE, what: what.into() })
    }

    #[inline]
    pub(crate) fn event(&self, stored: &EventView<'_>) -> Result<A::Event, Fence> {
        read(&self.events, Self::VERSION, stored)
    }

    pub(crate) fn rejection(&self, stored: &EventView<'_>) -> Result<A::Rejection, Fence> {
        read(&self.rejections, Self::VERSION, stored)
    }

    pub(crate) fn refuse_newer(stored: &EventView<'_>) -> Result<(), Fence> {
        let (found, supported) = (stored.schema, Self::VERSION);
        if found > supported { Err(Fence::NewerEvent { found, supported }) } else { Ok(()) }
    }
}

#[inline(always)]
fn read<E: DeserializeOwned + 'static>(
    upcasts: &Upcasts<E>,
    version: u32,
    stored: &EventView<'_>,
) -> Result<E, Fence> {
    if stored.schema == version {
        return decode(stored.payload).map_err(|cause| Fence::Undecodable(cause.into()));
    }
    read_other(upcasts, version, stored)
}

#[cold]
fn read_other<E: DeserializeOwned + 'static>(
    upcasts: &Upcasts<E>,
    version: u32,
    stored: &EventView<'_>,
) -> Result<E, Fence> {
    let (found, oldest) = (stored.schema, u32::from(upcasts.oldest()));
    if found > version {
        return Err(Fence::NewerEvent { found, supported: version });
    }
    if found < oldest {
        return Err(Fence::OlderEvent { found, oldest });
    }
    // The steps are foreign code.
    let read = catch_unwind(AssertUnwindSafe(|| upcasts.older(found, stored.payload)));
    let read = read.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_message(&*panic))));
    read.map_err(|cause| Fence::Undecodable(format!("from schema version {found}: {cause}").into()))
}
