//! The closing table: one column for each sale.

use std::fmt::Write;
use std::time::Duration;

use crate::Match;
use crate::args::Mode;
use crate::desk::PRICE_TAKES;
use crate::screen::{grouped, plural};

pub(crate) fn closing(matches: &[Match]) -> String {
    let mut table = Table { text: String::from("\n"), matches };
    table.row("", |it| it.mode.name().into());
    table.rule();
    table.row("fans served", |it| grouped(it.tally.fans));
    table.row("seats sold", |it| grouped(it.tally.sold));
    table.row("seats given back", |it| grouped(it.tally.given_back));
    table.row("seats taken at the end", |it| grouped(it.findings.taken));
    table.row("seats sold twice", |it| grouped(it.findings.sold_twice));
    table.rule();
    let mut causes: Vec<&str> = matches.iter().flat_map(|it| it.tally.refused.keys().copied()).collect();
    causes.sort_unstable();
    causes.dedup();
    for cause in causes {
        table.row(&format!("refused: {cause}"), |it| match it.mode {
            // Paper never refuses.
            Mode::Unsafe => "-".into(),
            _ => grouped(it.tally.refused.get(cause).copied().unwrap_or_default()),
        });
    }
    table.row("left: out of patience", |it| grouped(it.tally.out_of_patience));
    table.row("left: no seats they liked", |it| grouped(it.tally.nothing_left));
    if matches.iter().any(|it| it.tally.try_later > 0) {
        table.row("no decision in time", |it| grouped(it.tally.try_later));
    }
    table.rule();
    table.row("conflicts", |it| grouped(it.tally.conflicts));
    table.row("lock waits", |it| grouped(it.tally.lock_waits));
    table.row("decisions per second", |it| grouped(it.tally.per_second()));
    table.row("p50 to durable", |it| millis(it.tally.percentile(0.50)));
    table.row("p99 to durable", |it| millis(it.tally.percentile(0.99)));
    table.text.push_str(&notes(matches));
    table.text
}

struct Table<'m> {
    text: String,
    matches: &'m [Match],
}

impl Table<'_> {
    fn row(&mut self, name: &str, cell: impl Fn(&Match) -> String) {
        let _ = write!(self.text, "  {name:<27}");
        for column in self.matches {
            let _ = write!(self.text, "{:>17}", cell(column));
        }
        self.text.push('\n');
    }

    fn rule(&mut self) {
        let _ = writeln!(self.text, "  {}", "-".repeat(27 + 17 * self.matches.len()));
    }
}

/// What the table cannot say in its cells.
fn notes(matches: &[Match]) -> String {
    let threads = matches.first().map_or(1, |it| it.tally.threads) as u64;
    format!(
        "\nA decision is a sale, a return or a refusal, timed from the question to the answer on disk.\n\
         A sale waits {} ms for its price: {} can make at most {} a second.\n\
         What the engine itself can do, the benches tell.",
        PRICE_TAKES.as_millis(),
        plural(threads, "thread"),
        plural((threads as f64 / PRICE_TAKES.as_secs_f64()) as u64, "sale"),
    )
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "none".into(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}
