//! Judges a recorded run: every answer against the model, in the order of the log.

use std::collections::{BTreeMap, HashMap};

use super::spec::{Answer, Ask, Model};

/// What one caller asked and was told. `began` and `ended` are numbers from one counter: a call that
/// ended before another began has the lower ones.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) stream: &'static str,
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
    pub(crate) version: u64,
    pub(crate) position: Option<u64>,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// What the log holds at each position: the stream, its version after the entry, and the answer.
pub(crate) type Entries = BTreeMap<u64, (&'static str, u64, Answer)>;

/// How many events an answer is.
pub(crate) fn events(answer: &Answer) -> u64 {
    match answer {
        Answer::Released(by_holder) => by_holder.len() as u64,
        _ => 1,
    }
}

/// A stream's model after each version that an entry ended with.
struct Replayed {
    versions: BTreeMap<u64, Model>,
}

impl Replayed {
    fn newest(&self) -> (u64, &Model) {
        self.versions
            .last_key_value()
            .map(|(version, model)| (*version, model))
            .expect("begins with version 0")
    }
}

/// # Errors
///
/// The first thing that no sequence of single steps, in the order of the positions, explains.
pub(crate) fn check(responses: &[Response], entries: &Entries) -> Result<(), String> {
    let mut recorded: Vec<(u64, &Response)> =
        responses.iter().filter_map(|response| Some((response.position?, response))).collect();
    recorded.sort_by_key(|(position, _)| *position);
    let mut streams: HashMap<&str, Replayed> = HashMap::new();
    for (expected, &(position, response)) in (1..).zip(&recorded) {
        if position != expected {
            return Err(format!("position {expected} was given to nobody or twice: {response:?}"));
        }
        let replayed = streams
            .entry(response.stream)
            .or_insert_with(|| Replayed { versions: BTreeMap::from([(0, Model::default())]) });
        let (version, model) = replayed.newest();
        let answer = model.answer(&response.ask);
        if answer != response.answer {
            return Err(format!("position {position}: the model answers {answer:?}: {response:?}"));
        }
        let version = version + events(&answer);
        if version != response.version {
            return Err(format!("position {position}: the model is at version {version}: {response:?}"));
        }
        match entries.get(&position) {
            Some((stream, stored, content))
                if (*stream, *stored, content) == (response.stream, version, &answer) => {}
            other => return Err(format!("position {position}: the log holds {other:?}: {response:?}")),
        }
        let mut model = model.clone();
        model.follow(&response.ask, &answer);
        replayed.versions.insert(version, model);
    }
    if entries.len() != recorded.len() {
        return Err(format!("{} entries for {} answers", entries.len(), recorded.len()));
    }
    real_time(&recorded)?;
    let unrecorded = responses.iter().filter(|response| response.position.is_none());
    unrecorded.into_iter().try_for_each(|response| placed(response, responses, &streams))
}

/// Who ended before another began comes first in the log.
fn real_time(recorded: &[(u64, &Response)]) -> Result<(), String> {
    let mut by_begin = recorded.to_vec();
    by_begin.sort_by_key(|(_, response)| response.began);
    let mut by_end = recorded.to_vec();
    by_end.sort_by_key(|(_, response)| response.ended);
    let mut ended = by_end.iter().peekable();
    let mut highest = 0;
    for (position, response) in by_begin {
        while let Some((earlier, _)) = ended.next_if(|(_, earlier)| earlier.ended < response.began) {
            highest = highest.max(*earlier);
        }
        if highest > position {
            return Err(format!("position {highest} was told before this was asked: {response:?}"));
        }
    }
    Ok(())
}

/// An answer that was not stored is right for the version that it names, and that version was the newest
/// at some moment between the question and the answer.
fn placed(response: &Response, all: &[Response], streams: &HashMap<&str, Replayed>) -> Result<(), String> {
    let mine =
        || all.iter().filter(|other| other.stream == response.stream && !std::ptr::eq(*other, response));
    let told = mine().filter(|other| other.ended < response.began).map(|other| other.version).max();
    let asked = mine().filter(|other| other.began < response.ended).map(|other| other.version).max();
    let (oldest, newest) = (told.unwrap_or(0), asked.unwrap_or(0));
    if !(oldest..=newest).contains(&response.version) {
        return Err(format!("decided outside of {oldest}..={newest}: {response:?}"));
    }
    let model = streams.get(response.stream).and_then(|replayed| replayed.versions.get(&response.version));
    match model.map(|model| model.answer(&response.ask)) {
        Some(answer) if answer == response.answer => Ok(()),
        other => Err(format!("not stored, and the model answers {other:?}: {response:?}")),
    }
}
