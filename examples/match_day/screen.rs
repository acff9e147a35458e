//! What people see: text, and a show that is redrawn in place on a terminal and sparing elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::desk::Seats;
use crate::map::{Ink, Map};
use crate::sale::Moment;
use crate::stadium::Stadium;

/// Large enough to be pretty, small enough for a terminal of 80 by 24.
const LIVE_MAP: (usize, usize) = (72, 22);
/// Two of these fit side by side.
const PRINTED_MAP: (usize, usize) = (48, 16);

pub(crate) struct Screen {
    is_live: bool,
    ink: Ink,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_live = io::stdout().is_terminal() && !dumb;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ink = match (is_live, no_colour) {
            (true, false) => Ink::Colours,
            (true, true) => Ink::Shades,
            (false, _) => Ink::Ascii,
        };
        Self { is_live, ink }
    }

    /// Prints a line, or several. If nobody reads any more, that is no reason to stop selling.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    /// Says something that [`update`](Self::update) may replace. Only on a terminal.
    pub(crate) fn begin(&self, text: &str) {
        if self.is_live {
            self.say(text);
        }
    }

    /// Replaces the line before. Only on a terminal.
    pub(crate) fn update(&self, text: &str) {
        if self.is_live {
            self.say(&format!("\x1b[1A{text}\x1b[K"));
        }
    }

    /// Replaces the line before for good; elsewhere than on a terminal, says it for the first time.
    pub(crate) fn settle(&self, text: &str) {
        if self.is_live { self.update(text) } else { self.say(text) }
    }

    pub(crate) fn complain(&self, mistake: &str) {
        let _ = writeln!(io::stderr().lock(), "match_day: {mistake}");
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        self.ink.paint(text, "1")
    }

    pub(crate) fn alarm(&self, text: &str) -> String {
        // Line by line, so that a pager or a narrow terminal does not lose the colour.
        text.lines().map(|line| self.ink.paint(line, "1;31")).collect::<Vec<_>>().join("\n")
    }

    /// Begins to show a sale.
    pub(crate) fn show(&self, stadium: &Stadium, name: &'static str) -> Show {
        let (columns, lines) = if self.is_live { LIVE_MAP } else { PRINTED_MAP };
        Show {
            is_live: self.is_live,
            map: Map::new(stadium, columns, lines, self.ink),
            seats: stadium.layout.len(),
            name,
            drawn: 0,
            quarters: 0,
            half_time: Vec::new(),
            board: Vec::new(),
        }
    }
}

/// A sale as it is seen.
pub(crate) struct Show {
    is_live: bool,
    map: Map,
    seats: u32,
    name: &'static str,
    /// How many lines of the terminal the map has now.
    drawn: usize,
    /// How many quarters of the crowd were reported.
    quarters: u64,
    half_time: Vec<String>,
    /// The last scoreboard but its first line.
    board: Vec<String>,
}

impl Show {
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
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        self.drawn = lines.len();
        // In one piece, so that it does not flicker.
        let mut out = io::stdout().lock();
        let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }
}

/// A number with commas between the thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of these: `1 seat`, `2,000 seats`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}
