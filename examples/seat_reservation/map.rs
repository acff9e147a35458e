//! The seats as they are: a box for each, with its label and who has it. What has changed is marked.

use std::collections::BTreeMap;

use boxoffice::Handle;

use crate::hall::{Hall, Town};
use crate::support::Failure;
use crate::support::text::pad;

/// Remembers what was drawn, to mark what is new.
#[derive(Default)]
pub(crate) struct Map {
    drawn: BTreeMap<String, String>,
}

impl Map {
    pub(crate) fn draw(&mut self, town: &Town<'_>, halls: &Handle<Hall>, id: &str) -> Result<(), Failure> {
        let view = halls.read(id)?;
        let layout = view.layout().ok_or("the hall has no layout")?;
        let (mut labels, mut holders) = (String::from("  |"), String::from("  |"));
        for (seat, holder) in view.seats() {
            let label = format!("{id} {}", layout.label(seat).unwrap_or_default());
            let name = holder.map_or("free", |holder| holder.as_str());
            let is_new = self.drawn.get(&label).is_some_and(|before| before != name);
            let mark = if is_new { "*" } else { " " };
            let style = if holder.is_some() { "1;33" } else { "32" };
            labels.push_str(&format!("{:^9}|", layout.label(seat).unwrap_or_default()));
            holders.push_str(&format!("{mark}{}|", town.screen.paint(&pad(&format!(" {name}"), 8), style)));
            self.drawn.insert(label, name.to_owned());
        }
        let edge = format!("  +{}", "---------+".repeat(layout.len() as usize));
        town.screen.say(&format!("\n  {id}\n{edge}\n{labels}\n{holders}\n{edge}"));
        Ok(())
    }
}
