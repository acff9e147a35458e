//! A timeline: a row for everybody, drawn against time. Who waits, who holds, who reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::screen::Screen;

/// Columns of the drawing itself: with names and notes it fits a terminal of 100.
const COLUMNS: usize = 50;
const NAME: usize = 10;
/// However short a moment is, it is seen.
const NARROWEST: usize = 2;

/// What somebody does for a while.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Waits,
    Holds,
    Shares,
    Charges,
    /// A process, without a lock.
    Runs,
}

/// What somebody does at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Reads,
    Asks,
    Saves,
    Fails,
}

impl Kind {
    /// Its letter, and its style where there are colours.
    fn look(self) -> (char, &'static str) {
        match self {
            Self::Waits => ('.', "33"),
            Self::Holds => ('#', "32"),
            Self::Shares => ('=', "36"),
            Self::Charges => ('$', "35"),
            Self::Runs => ('-', "90"),
        }
    }
}

impl Mark {
    fn look(self) -> (char, &'static str) {
        match self {
            Self::Reads => ('o', "36"),
            Self::Asks => ('?', "35"),
            Self::Saves => ('S', "32"),
            Self::Fails => ('x', "1;31"),
        }
    }
}

pub(crate) const LEGEND: &str = "\
. waits   # holds the lock   = shares it   $ the provider charges
o reads   ? asks the provider   S saves   x fails   - a process runs
Time runs to the right; short moments are drawn wider than they are.";

/// All rows of a scene, and when it began.
#[derive(Clone)]
pub(crate) struct Timeline {
    began: Instant,
    rows: Arc<Mutex<Vec<Lane>>>,
}

#[derive(Default)]
struct Lane {
    name: String,
    spans: Vec<(Duration, Option<Duration>, Kind)>,
    marks: Vec<(Duration, Mark)>,
    note: String,
}

/// Somebody's row, to write in from any thread.
#[derive(Clone)]
pub(crate) struct Row {
    of: Timeline,
    index: usize,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), rows: Arc::default() }
    }

    pub(crate) fn row(&self, name: impl Into<String>) -> Row {
        let mut rows = self.rows();
        rows.push(Lane { name: name.into(), ..Lane::default() });
        Row { of: self.clone(), index: rows.len() - 1 }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws what has happened until now.
    pub(crate) fn draw(&self, screen: &Screen) -> String {
        let rows = self.rows();
        let end = self.began.elapsed();
        let axis = Axis::new(&rows, end);
        let mut text = format!("  {:NAME$} {}\n", "ms", axis.labels());
        for row in rows.iter() {
            let mut cells = vec![(' ', None); COLUMNS];
            for (from, to, kind) in &row.spans {
                let from = axis.column(*from);
                let to = axis.column(to.unwrap_or(end)).max(from + 1);
                let (letter, style) = kind.look();
                for cell in cells.iter_mut().take(to).skip(from) {
                    *cell = (letter, Some(style));
                }
            }
            for (at, mark) in &row.marks {
                let (letter, style) = mark.look();
                if let Some(cell) = cells.get_mut(axis.column(*at)) {
                    *cell = (letter, Some(style));
                }
            }
            let drawn: String = cells
                .chunk_by(|one, other| one.1 == other.1)
                .map(|run| {
                    let word: String = run.iter().map(|cell| cell.0).collect();
                    match run.first().and_then(|cell| cell.1) {
                        Some(style) => screen.paint(&word, style),
                        None => word,
                    }
                })
                .collect();
            let line = format!("  {:NAME$} {drawn} {}", row.name, row.note);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Row {
    fn change(&self, change: impl FnOnce(&mut Lane, Duration)) {
        let now = self.of.began.elapsed();
        if let Some(lane) = self.of.rows().get_mut(self.index) {
            change(lane, now);
        }
    }

    /// From now on this.
    pub(crate) fn now(&self, kind: Kind) {
        self.change(|lane, now| {
            lane.stop(now);
            lane.spans.push((now, None, kind));
        });
    }

    /// From now on nothing.
    pub(crate) fn rest(&self) {
        self.change(Lane::stop);
    }

    pub(crate) fn mark(&self, mark: Mark) {
        self.change(|lane, now| lane.marks.push((now, mark)));
    }

    pub(crate) fn end(&self, note: impl Into<String>) {
        self.change(|lane, now| {
            lane.stop(now);
            lane.note = note.into();
        });
    }

    pub(crate) fn fail(&self, note: impl Into<String>) {
        self.mark(Mark::Fails);
        self.end(note);
    }
}

impl Lane {
    fn stop(&mut self, now: Duration) {
        if let Some((_, to @ None, _)) = self.spans.last_mut() {
            *to = Some(now);
        }
    }
}

/// From times to columns. What happens between two moments gets columns by how long it takes, and a few at least.
struct Axis {
    moments: Vec<(Duration, usize)>,
}

impl Axis {
    fn new(rows: &[Lane], end: Duration) -> Self {
        let mut moments: Vec<Duration> = vec![Duration::ZERO, end];
        for row in rows {
            moments.extend(row.spans.iter().flat_map(|(from, to, _)| [Some(*from), *to]).flatten());
            moments.extend(row.marks.iter().map(|(at, _)| *at));
        }
        moments.sort_unstable();
        // Moments that nobody could tell apart share a column.
        moments.dedup_by(|next, kept| next.saturating_sub(*kept) < Duration::from_micros(20));
        let gaps = moments.len().saturating_sub(1).max(1);
        let narrowest = NARROWEST.min(COLUMNS / gaps);
        let spare = (COLUMNS - narrowest * gaps) as f64;
        let whole = moments.last().map_or(1.0, Duration::as_secs_f64).max(1e-6);
        let moments = moments
            .iter()
            .enumerate()
            .map(|(index, at)| (*at, narrowest * index + (at.as_secs_f64() / whole * spare) as usize));
        Self { moments: moments.collect() }
    }

    fn column(&self, at: Duration) -> usize {
        let after = self.moments.partition_point(|(moment, _)| *moment <= at);
        self.moments.get(after.saturating_sub(1)).map_or(0, |(_, column)| *column).min(COLUMNS - 1)
    }

    /// The time of every moment, as far as there is room and it is another.
    fn labels(&self) -> String {
        let (mut text, mut last) = (String::new(), None);
        for (at, column) in &self.moments {
            let label = at.as_millis();
            let digits = label.to_string();
            let fits = text.is_empty() || *column > text.len();
            if last != Some(label) && fits && column + digits.len() <= COLUMNS {
                text.push_str(&" ".repeat(column - text.len()));
                text.push_str(&digits);
                last = Some(label);
            }
        }
        text
    }
}
