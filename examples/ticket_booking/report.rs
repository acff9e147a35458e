//! The table and the bars: one line for each way of selling.

use std::iter;
use std::time::Duration;

use crate::sellers::Way;
use crate::support::bar::{Bar, Share};
use crate::support::screen::Screen;
use crate::support::table::{Column, Table};
use crate::support::text::{duration, grouped};
use crate::{CUSTOMERS, SEATS, Sale};

/// As wide as the hall has tens of seats, and half of that.
const COLUMNS: usize = 50;

pub(crate) fn progress(way: Way, served: u64, screen: &Screen) {
    let bar = Bar::new(screen.ink(), COLUMNS, CUSTOMERS).filled(served);
    screen.update(&format!("  {:<12}{bar}  {} served", way.name(), grouped(served)));
}

pub(crate) fn report(sales: &[Sale], screen: &Screen) -> String {
    let heads = ["succeeded", "claimed", "twice", "unsold", "gone", "sold out", "conflicts", "time"];
    let mut table = Table::new(iter::once(Column::left("")).chain(heads.map(Column::right)));
    let bar = Bar::new(screen.ink(), COLUMNS, SEATS.into());
    let mut bars = String::new();
    for (index, Sale { way, tally, findings, .. }) in sales.iter().enumerate() {
        // Above it who reads, then writes; below it the engine.
        if index > 0 && *way == Way::Pessimistic {
            table.rule();
        }
        let unsold = u64::from(SEATS) - findings.claimed;
        let bad = |number: u64| match number {
            0 => grouped(0),
            _ => screen.paint(&grouped(number), "1;31"),
        };
        table.row([
            way.name().to_owned(),
            grouped(tally.sold),
            grouped(findings.claimed),
            bad(findings.sold_twice),
            bad(unsold),
            bad(tally.gone),
            grouped(tally.sold_out),
            grouped(tally.conflicts),
            duration(tally.took),
        ]);
        let shares = [
            Share::good(findings.claimed - findings.sold_twice),
            Share::bad(findings.sold_twice),
            Share::rest(unsold),
        ];
        bars.push_str(&format!("  {:<12}{}\n", way.name(), bar.stacked(&shares)));
    }
    let [once, twice, never] = [Share::good(1), Share::bad(1), Share::rest(1)]
        .map(|share| Bar::new(screen.ink(), 1, 1).stacked(&[share]));
    format!(
        "\n{table}\n{bars}  {:<12}{}\n  seats: {once} sold once  {twice} sold twice  {never} left unsold",
        "",
        bar.scale(),
    )
}

pub(crate) fn title(window: Duration, screen: &Screen) -> String {
    let title = match window {
        Duration::ZERO => "ALL AT ONCE".to_owned(),
        _ => format!("WITHIN {}", duration(window)),
    };
    format!("\n{}", screen.bold(&title))
}

/// What the table cannot say in its heads.
pub(crate) const NOTES: &str = "\
Succeeded: customers who got a ticket. Claimed: seats with a name on them; the difference is people who will meet.
Gone: told that the seat is gone, although others were free. Conflicts: another commit came first, and the engine
decided again and told nobody; who is refused a seat that is gone met none. They all want the same seat first,
so its prices are asked for one after the other, unless one skips what is locked.";
