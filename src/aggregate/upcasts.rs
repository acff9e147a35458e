//! From the events of yesterday to those of today, one version at a time.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::codec::decode;

/// How values that older versions of a type wrote are read as `E`, the type of today: by typed steps from
/// each version to the next.
///
/// The old types are ordinary serde types that the program keeps. A value is decoded as the type that wrote
/// it and goes through every step after that; nothing is encoded in between, and nothing in the file
/// changes. Values of today's version never come near this.
///
/// ```
/// use boxoffice::aggregate::Upcasts;
/// use boxoffice::{Aggregate, Context, Engine, Events};
/// use serde::{Deserialize, Serialize};
///
/// // Version 1 knew no prices, version 2 had them in whole euros.
/// #[derive(Serialize, Deserialize)]
/// struct SoldV1 { seat: u32 }
/// #[derive(Serialize, Deserialize)]
/// struct SoldV2 { seat: u32, euros: u32 }
/// #[derive(Serialize, Deserialize)]
/// struct Sold { seat: u32, cents: u64 }
///
/// struct Kiosk;
///
/// impl Aggregate for Kiosk {
///     const TYPE: &'static str = "kiosk";
///     const EVENT_VERSION: u16 = 3;
///     type State = u64;
///     type Command = u32;
///     type Event = Sold;
///     type Rejection = ();
///     type Services = ();
///
///     fn upcasts() -> Upcasts<Sold> {
///         Upcasts::<SoldV1>::from_version(1)
///             .to(2, |old| SoldV2 { seat: old.seat, euros: 0 })
///             .to(3, |old| Sold { seat: old.seat, cents: u64::from(old.euros) * 100 })
///     }
///
///     fn decide(_: &u64, seat: &u32, _: &Context<'_, ()>) -> Result<Events<Sold>, ()> {
///         Ok(Sold { seat: *seat, cents: 1_000 }.into())
///     }
///     fn apply(takings: &mut u64, sold: &Sold) {
///         *takings += sold.cents;
///     }
/// }
///
/// let engine = Engine::builder().aggregate::<Kiosk>().in_memory()?;
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
///
/// # Changing an event type without breaking a log
///
/// Events are stored by position, without names: fields in their order, variants by their number.
///
/// | change | old events |
/// |---|---|
/// | rename the type, a field or a variant | read as before: no step |
/// | `Vec<T>` to another list of `T`, `T` to `Box<T>` or `Arc<T>`, `String` to another string | read as before |
/// | `u16`, `u32`, `u64` to a wider one of them | read as before |
/// | add a variant **at the end** | read as before, but see below |
/// | add, remove or reorder fields, also with `#[serde(default)]` | a step |
/// | reorder, remove or insert variants | a step |
/// | change a type otherwise: `u8` to `u32`, unsigned to signed, `T` to `Option<T>` | a step |
/// | the same bytes, another meaning: euros to cents | a step |
///
/// 1. A change that needs a step raises [`EVENT_VERSION`](crate::Aggregate::EVENT_VERSION) by one. Keep the old
///    type under another name, with everything that is stored as part of it, and add one
///    [`to`](Self::to) at the end. Never change a step that has been used.
/// 2. A new variant raises it too, with the step `|event| event`, if an older program may ever open the file:
///    that one then says [`Fence::NewerEvent`](crate::error::Fence::NewerEvent) instead of something about bytes.
/// 3. A step is pure: no clock, no services, no randomness, the same answer at every open. What the old event
///    does not say must follow from it, or be a value that means "unknown". One event becomes one event.
/// 4. An older program leaves a stream with newer events alone: roll a new version out everywhere that opens
///    the file before you need to go back.
/// 5. Keep a file of every version that was ever released, and a test that opens it.
///
/// Steps may go once no log holds their version any more: begin with
/// [`from_version`](Self::from_version) of a later one. An event older than that fences its stream
/// ([`Fence::OlderEvent`](crate::error::Fence::OlderEvent)) and is left untouched. A step that panics fences the
/// stream of its event as well ([`Fence::Undecodable`](crate::error::Fence::Undecodable)).
#[must_use]
pub struct Upcasts<E> {
    oldest: u16,
    newest: Newest,
    /// From `oldest` on, one for each version before the newest.
    older: Vec<Reader<E>>,
    /// The first thing that is wrong with the steps.
    wrong: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Newest {
    Version(u16),
    /// Whatever it is: all versions have one type.
    Any,
}

/// Reads one version: decodes, and takes every step from there.
type Reader<E> = Box<dyn Fn(&[u8]) -> Result<E, String> + Send + Sync>;

impl<E: DeserializeOwned + 'static> Upcasts<E> {
    /// `E` is the type of this version, from 1, the oldest that is still read.
    pub fn from_version(version: u16) -> Self {
        let wrong = (version == 0).then(|| "there is no version 0; begin with 1".to_owned());
        Self { oldest: version, newest: Newest::Version(version), older: Vec::new(), wrong }
    }

    /// All versions since this one, up to today's, have the type `E`: it has only been changed in ways that need
    /// no step, or not at all.
    pub fn unchanged_since(version: u16) -> Self {
        Self { newest: Newest::Any, ..Self::from_version(version) }
    }

    /// The step to the next version, whose type is `F`. Versions are named one by one.
    pub fn to<F: DeserializeOwned + 'static>(
        self,
        version: u16,
        step: impl Fn(E) -> F + Send + Sync + 'static,
    ) -> Upcasts<F> {
        let step = Arc::new(step);
        let further = |read: Reader<E>| -> Reader<F> {
            let step = Arc::clone(&step);
            Box::new(move |bytes| read(bytes).map(&*step))
        };
        let older = self.older.into_iter().chain([Box::new(decode::<E>) as Reader<E>]).map(further).collect();
        let wrong = match self.newest {
            Newest::Version(from) if from.checked_add(1) == Some(version) => None,
            Newest::Version(from) if version > from => {
                Some(format!("from version {from} there is no step to {}", u32::from(from) + 1))
            }
            Newest::Version(from) => {
                Some(format!("the step to version {version} comes after version {from}"))
            }
            Newest::Any => Some("a type that is unchanged takes no steps".to_owned()),
        };
        Upcasts { oldest: self.oldest, newest: Newest::Version(version), older, wrong: self.wrong.or(wrong) }
    }

    /// Whether the steps lead from the oldest version to this one.
    pub(crate) fn check(&self, current: u16) -> Result<(), String> {
        if current == 0 {
            return Err("EVENT_VERSION is 0; begin with 1".into());
        }
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        match self.newest {
            Newest::Version(newest) if newest == current => Ok(()),
            Newest::Any if self.oldest <= current => Ok(()),
            Newest::Any => {
                Err(format!("they begin with version {}, EVENT_VERSION is {current}", self.oldest))
            }
            Newest::Version(newest) => {
                Err(format!("they end with version {newest}, EVENT_VERSION is {current}"))
            }
        }
    }

    /// The oldest version that is read.
    pub(crate) fn oldest(&self) -> u16 {
        self.oldest
    }

    /// Reads a value of an older version than today's, not older than the oldest.
    pub(crate) fn older(&self, version: u32, bytes: &[u8]) -> Result<E, String> {
        if self.newest == Newest::Any {
            return decode(bytes);
        }
        let reader = version.checked_sub(self.oldest.into()).and_then(|index| self.older.get(index as usize));
        reader.ok_or_else(|| "no step leads on from it".to_owned())?(bytes)
    }
}

impl<E> fmt::Debug for Upcasts<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upcasts")
            .field("oldest", &self.oldest)
            .field("steps", &self.older.len())
            .field("wrong", &self.wrong)
            .finish()
    }
}
