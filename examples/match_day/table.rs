//! The closing table: one column for each sale.

use std::iter;
use std::time::Duration;

use crate::Match;
use crate::args::Mode;
use crate::desk::PRICE_TAKES;
use crate::support::table::{Column, Table};
use crate::support::text::{grouped, millis, plural};

pub(crate) fn closing(matches: &[Match]) -> String {
    let sales = matches.iter().map(|it| Column::right(it.mode.name()).at_least(15));
    let mut table = Table::new(iter::once(Column::left("").at_least(27)).chain(sales));
    let row = |table: &mut Table, name: &str, cell: &dyn Fn(&Match) -> String| {
        table.row(iter::once(name.to_owned()).chain(matches.iter().map(cell)));
    };
    row(&mut table, "fans served", &|it| grouped(it.tally.fans));
    row(&mut table, "seats sold", &|it| grouped(it.tally.sold));
    row(&mut table, "seats given back", &|it| grouped(it.tally.given_back));
    row(&mut table, "seats taken at the end", &|it| grouped(it.findings.taken));
    row(&mut table, "seats sold twice", &|it| grouped(it.findings.sold_twice));
    table.rule();
    let mut causes: Vec<&str> = matches.iter().flat_map(|it| it.tally.refused.keys().copied()).collect();
    causes.sort_unstable();
    causes.dedup();
    for cause in causes {
        row(&mut table, &format!("refused: {cause}"), &|it| match it.mode {
            // Paper never refuses.
            Mode::Unsafe => "-".into(),
            _ => grouped(it.tally.refused.get(cause).copied().unwrap_or_default()),
        });
    }
    row(&mut table, "left: out of patience", &|it| grouped(it.tally.out_of_patience));
    row(&mut table, "left: no seats they liked", &|it| grouped(it.tally.nothing_left));
    if matches.iter().any(|it| it.tally.try_later > 0) {
        row(&mut table, "no decision in time", &|it| grouped(it.tally.try_later));
    }
    table.rule();
    row(&mut table, "conflicts", &|it| grouped(it.tally.conflicts));
    row(&mut table, "lock waits", &|it| grouped(it.tally.lock_waits));
    row(&mut table, "decisions per second", &|it| grouped(it.tally.per_second()));
    row(&mut table, "p50 to durable", &|it| time(it.tally.percentile(0.50)));
    row(&mut table, "p99 to durable", &|it| time(it.tally.percentile(0.99)));
    format!("\n{table}{}", notes(matches))
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

fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| "none".into(), millis)
}
