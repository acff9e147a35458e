//! The streams of the log by number, as the definitions in entries name them.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::error::StreamName;
use crate::sync::Mutex;

/// Names every stream of the log, also those of types that nobody registered.
///
/// The audit fills it, which sees every definition before anybody can read the entry: at an open, and at
/// the commit that makes the entry durable. Readers ask it only for what they were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    streams: Vec<StreamName>,
    /// Each type once: a long name is then kept once, and not once per stream.
    types: Vec<SmolStr>,
}

impl Directory {
    /// Adds the stream with the next number.
    pub(super) fn define(&self, aggregate: &str, id: &str) {
        let id = SmolStr::new(id);
        let mut names = self.0.lock();
        let known = names.types.iter().find(|known| *known == aggregate).cloned();
        let aggregate = known.unwrap_or_else(|| {
            let new = SmolStr::new(aggregate);
            names.types.push(new.clone());
            new
        });
        names.streams.push(StreamName { aggregate, id });
    }

    /// The name of a stream that an entry of the log uses.
    pub(crate) fn name(&self, number: u32) -> Option<StreamName> {
        self.0.lock().streams.get(number as usize).cloned()
    }

    /// The id of a stream, if it is of this type.
    pub(crate) fn id_in(&self, number: u32, aggregate: &str) -> Option<SmolStr> {
        let names = self.0.lock();
        let name = names.streams.get(number as usize)?;
        (name.aggregate == aggregate).then(|| name.id.clone())
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_by_its_number_and_only_as_its_own_type() {
        let directory = Directory::default();
        let long = "a type whose name is too long to be kept in place";
        for (aggregate, id) in [("venue", "a"), (long, "a"), ("venue", "b"), (long, "venue")] {
            directory.define(aggregate, id);
        }
        assert_eq!(directory.name(2), Some(StreamName { aggregate: "venue".into(), id: "b".into() }));
        assert_eq!(directory.id_in(3, long).as_deref(), Some("venue"));
        assert_eq!((directory.id_in(3, "venue"), directory.name(4)), (None, None));
        assert_eq!(directory.0.lock().types.len(), 2);
    }
}
