//! What people see: text, and lines that are redrawn in place on a terminal and said once elsewhere.

use std::io::{self, IsTerminal, Write};

use super::ink::Ink;

pub(crate) struct Screen {
    program: &'static str,
    is_live: bool,
    ink: Ink,
}

impl Screen {
    pub(crate) fn new(program: &'static str) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_live = io::stdout().is_terminal() && !dumb;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ink = match (is_live, no_colour) {
            (true, false) => Ink::Colours,
            (true, true) => Ink::Shades,
            (false, _) => Ink::Ascii,
        };
        Self { program, is_live, ink }
    }

    /// Whether lines can be redrawn.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(crate) fn ink(&self) -> Ink {
        self.ink
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
        let _ = writeln!(io::stderr().lock(), "{}: {mistake}", self.program);
    }

    /// The text in a style, where there are colours.
    pub(crate) fn paint(&self, text: &str, style: &str) -> String {
        self.ink.paint(text, style)
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    pub(crate) fn alarm(&self, text: &str) -> String {
        // Line by line, so that a pager or a narrow terminal does not lose the colour.
        text.lines().map(|line| self.paint(line, "1;31")).collect::<Vec<_>>().join("\n")
    }
}

/// Several lines that are drawn over themselves. Only for a terminal.
#[derive(Default)]
pub(crate) struct Frame {
    /// How many lines of the terminal it has now.
    drawn: usize,
}

impl Frame {
    pub(crate) fn draw(&mut self, lines: &[String]) {
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        self.drawn = lines.len();
        // In one piece, so that it does not flicker.
        let mut out = io::stdout().lock();
        let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }
}
