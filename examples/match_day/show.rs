//! A sale as people see it: a map that is redrawn in place on a terminal, and printed sparingly elsewhere.

use std::io::{self, Write};
use std::time::Duration;

use crate::desk::Seats;
use crate::map::Map;
use crate::sale::Moment;
use crate::stadium::Stadium;
use crate::support::screen::{Frame, Screen};
use crate::support::text::grouped;

/// Large enough to be pretty, small enough for a terminal of 80 by 24.
const LIVE_MAP: (usize, usize) = (72, 22);
/// Two of these fit side by side.
const PRINTED_MAP: (usize, usize) = (48, 16);

/// A sale as it is seen.
pub(crate) struct Show {
    is_live: bool,
    frame: Frame,
    map: Map,
    seats: u32,
    name: &'static str,
    /// How many quarters of the crowd were reported.
    quarters: u64,
    half_time: Vec<String>,
    /// The last scoreboard but its first line.
    board: Vec<String>,
}

impl Show {
    /// Begins to show a sale.
    pub(crate) fn new(screen: &Screen, stadium: &Stadium, name: &'static str) -> Self {
        let is_live = screen.is_live();
        let (columns, lines) = if is_live { LIVE_MAP } else { PRINTED_MAP };
        Self {
            is_live,
            frame: Frame::default(),
            map: Map::new(stadium, columns, lines, screen.ink()),
            seats: stadium.layout.len(),
            name,
            quarters: 0,
            half_time: Vec::new(),
            board: Vec::new(),
        }
    }

    /// Called several times a second.
    pub(crate) fn watch(&mut self, moment: &Moment, seats: &impl Seats) {
        let speed = moment.decisions as f64 / moment.since.max(Duration::from_millis(1)).as_secs_f64();
        let count = self.map.count(seats);
        let speed = grouped(speed as u64);
        self.board = vec![
            format!("{} of {} seats", grouped(count.taken), grouped(self.seats.into())),
            format!("{} of {} fans", grouped(moment.served), grouped(moment.fans)),
            format!("{speed} decisions/s"),
        ];
        if count.shared > 0 {
            self.board.push(format!("{} SEATS SOLD TWICE", grouped(count.shared)));
        }
        if self.is_live {
            self.redraw(seats);
            return;
        }
        let quarter = moment.served * 4 / moment.fans.max(1);
        if quarter > self.quarters {
            self.quarters = quarter;
            let line = format!("  {:>3} %  {}", quarter * 25, self.board.join(", "));
            let _ = writeln!(io::stdout().lock(), "{line}");
        }
        if quarter >= 2 && self.half_time.is_empty() {
            self.half_time = self.printed("half-time", count.taken, seats);
        }
    }

    /// Called when the last fan has gone.
    pub(crate) fn finish(&mut self, seats: &impl Seats) {
        if self.is_live {
            self.redraw(seats);
            return;
        }
        let full_time = self.printed("full-time", self.map.count(seats).taken, seats);
        let mut out = io::stdout().lock();
        for (index, right) in full_time.iter().enumerate() {
            let left = self.half_time.get(index).map_or("", String::as_str);
            let _ = writeln!(out, "{}", format!("{left:<50}{right}").trim_end());
        }
        let _ = writeln!(out, "{}", self.map.legend());
    }

    fn printed(&self, when: &str, taken: u64, seats: &impl Seats) -> Vec<String> {
        self.map.draw(seats, &[when.into(), format!("{} taken", grouped(taken))])
    }

    fn redraw(&mut self, seats: &impl Seats) {
        let mut board = vec![self.name.to_uppercase()];
        board.extend(self.board.iter().cloned());
        let mut lines = self.map.draw(seats, &board);
        lines.push(self.map.legend());
        self.frame.draw(&lines);
    }
}
