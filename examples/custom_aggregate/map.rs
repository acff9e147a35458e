//! The garage from above: a line for each level, a character for each bay.

use crate::state::{Bay, GarageState};
use crate::support::ink::Ink;
use crate::support::screen::Screen;

pub(crate) fn draw(state: &GarageState, screen: &Screen) -> Vec<String> {
    let Some(plan) = state.plan.as_deref() else { return Vec::new() };
    // Free and taken: for everybody, and for the disabled.
    let [free, taken, kept, used] = match screen.ink() {
        Ink::Ascii => [".", "#", "o", "@"],
        Ink::Shades | Ink::Colours => ["·", "█", "○", "◉"],
    };
    let mut lines = Vec::new();
    for level in 0..plan.levels {
        let mut line = format!("  level {level:<3}");
        let mut cars = 0;
        for bay in plan.bays_of(level).map(Bay) {
            let is_taken = state.stay(bay).is_some();
            cars += u32::from(is_taken);
            let (mark, style) = match (plan.is_for_disabled(bay), is_taken) {
                (false, false) => (free, "90"),
                (false, true) => (taken, "33"),
                (true, false) => (kept, "34"),
                (true, true) => (used, "1;34"),
            };
            line.push_str(&screen.paint(mark, style));
        }
        lines.push(format!("{line}  {cars:>2} of {}", plan.bays));
    }
    lines.push(format!("  {free} free  {taken} taken  {kept} {used} for the disabled: free, taken"));
    lines
}
