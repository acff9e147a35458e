//! The seat map: the stands around the pitch from above, several dozen seats to a character.

use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

use boxoffice::layout::{Row, SeatIndex};

use crate::desk::Seats;
use crate::stadium::Stadium;
use crate::support::ink::Ink;

/// Rows in a tier of the layout file, and where the tier lies between the pitch and the outer wall.
const LOWER: (f64, f64, f64) = (36.0, 0.0, 0.44);
const UPPER: (f64, f64, f64) = (50.0, 0.59, 1.0);
/// Clockwise, as the seats of a row are numbered.
const SIDES: [&str; 8] =
    ["North", "NorthEast", "East", "SouthEast", "South", "SouthWest", "West", "NorthWest"];

/// How many seats somebody has, and how many more than one have.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) taken: u64,
    pub(crate) shared: u64,
}

pub(crate) struct Map {
    columns: usize,
    pitch: Pitch,
    cells: Vec<Cell>,
    categories: Vec<String>,
    ink: Ink,
}

/// The lines and columns of the grass.
struct Pitch {
    lines: Range<usize>,
    columns: Range<usize>,
}

/// One character of the map.
#[derive(Clone, Default)]
struct Cell {
    seats: Vec<SeatIndex>,
    category: usize,
}

/// Where things are, in lines from the centre; a column is half as wide as a line is high.
struct Bowl {
    /// Half the length of the straight part of the long and of the short sides.
    long: f64,
    short: f64,
    /// From the front row's corner to the front row, and from there to the outer wall.
    inner: f64,
    depth: f64,
}

impl Map {
    pub(crate) fn new(stadium: &Stadium, columns: usize, lines: usize, ink: Ink) -> Self {
        let (width, height) = (columns as f64 / 2.0, lines as f64);
        let (inner, depth) = (0.02 * height, 0.33 * height);
        let half = |length: f64| length / 2.0 - inner - depth;
        let bowl = Bowl { long: half(width), short: half(height), inner, depth };
        let mut cells = vec![Cell::default(); columns * lines];
        let categories = stadium.whole.categories();
        let blocks: Vec<_> = stadium.whole.rows().collect();
        // Seats spread over their row, across its aisles.
        for row in blocks.chunk_by(|one, next| (one.section(), one.name()) == (next.section(), next.name())) {
            let seats: Vec<_> = row.iter().flat_map(Row::seats).collect();
            let Some(head) = row.first() else { continue };
            let category = categories.iter().position(|one| one == head.category()).unwrap_or_default();
            for (index, seat) in (0..).zip(&seats) {
                let along = (f64::from(index) + 0.5) / seats.len() as f64;
                let Some((x, y)) = bowl.place(head.section(), head.name(), along) else { continue };
                let column = (columns as f64 / 2.0 + x * 2.0).clamp(0.0, columns as f64 - 1.0) as usize;
                let line = (height / 2.0 + y).clamp(0.0, height - 1.0) as usize;
                if let Some(cell) = cells.get_mut(line * columns + column) {
                    cell.category = category;
                    if seat.0 < stadium.layout.len() {
                        cell.seats.push(*seat);
                    }
                }
            }
        }
        let categories = categories.iter().map(|one| one.name.to_string()).collect();
        let within = |all: usize, half: f64| {
            let margin = (all as f64 / 2.0 - half).ceil() as usize;
            margin..all - margin
        };
        let pitch = Pitch { lines: within(lines, bowl.short), columns: within(columns, 2.0 * bowl.long) };
        Self { columns, pitch, cells, categories, ink }
    }

    pub(crate) fn count(&self, seats: &impl Seats) -> Count {
        let mut all = Count::default();
        for cell in &self.cells {
            let count = cell.count(seats);
            all.taken += count.taken;
            all.shared += count.shared;
        }
        all
    }

    /// The map, with a scoreboard on the pitch.
    pub(crate) fn draw(&self, seats: &impl Seats, board: &[String]) -> Vec<String> {
        let Pitch { lines, columns } = &self.pitch;
        let first = lines.start + lines.len().saturating_sub(board.len()) / 2;
        let rows = self.cells.chunks(self.columns).enumerate();
        rows.map(|(line, cells)| {
            let stands = |cells: &[Cell]| -> String {
                cells.iter().map(|cell| self.draw_cell(cell, cell.count(seats))).collect()
            };
            if !lines.contains(&line) {
                return stands(cells);
            }
            let text = line.checked_sub(first).and_then(|index| board.get(index));
            let grass = format!("{:^1$}", text.map_or("", String::as_str), columns.len());
            let style = if grass.contains("TWICE") { "1;97;41" } else { "1;97;42" };
            let (west, rest) = cells.split_at(columns.start);
            let east = rest.get(columns.len()..).unwrap_or_default();
            stands(west) + &self.ink.paint(&grass, style) + &stands(east)
        })
        .collect()
    }

    fn draw_cell(&self, cell: &Cell, count: Count) -> String {
        if cell.seats.is_empty() {
            return " ".into();
        }
        if count.shared > 0 {
            return self.ink.paint("X", "1;31");
        }
        let shades = shades(self.ink);
        // The first for empty, the last for full, the others in between.
        let level = match count.taken as usize {
            0 => 0,
            taken if taken == cell.seats.len() => shades.len() - 1,
            taken => 1 + taken * (shades.len() - 2) / cell.seats.len(),
        };
        self.ink.paint(shades.get(level).copied().unwrap_or("?"), hue(cell.category))
    }

    /// What the characters and colours mean.
    pub(crate) fn legend(&self) -> String {
        let shades = shades(self.ink);
        let mut legend = format!("  empty {} full", shades.concat());
        if self.ink == Ink::Colours {
            for (index, name) in self.categories.iter().enumerate() {
                legend.push_str(&format!("  {}", self.ink.paint(name, hue(index))));
            }
        }
        legend + "  " + &self.ink.paint("X", "1;31") + " seats sold twice"
    }
}

impl Cell {
    fn count(&self, seats: &impl Seats) -> Count {
        let mut count = Count::default();
        for seat in &self.seats {
            let holders = seats.holders(*seat);
            count.taken += u64::from(holders > 0);
            count.shared += u64::from(holders > 1);
        }
        count
    }
}

impl Bowl {
    /// The place of a seat: its section and row, and how far along the row it is, from 0 to 1.
    fn place(&self, section: Option<&str>, row: &str, along: f64) -> Option<(f64, f64)> {
        let (side, tier) = section?.split_once('-')?;
        let (rows, front, back) = if tier == "Lower" { LOWER } else { UPPER };
        let row: f64 = row.parse().ok()?;
        let from_corner = self.inner + self.depth * (front + (back - front) * (row - 0.5) / rows);
        // Each side looks like the northern one, and each corner like the north-eastern, once the
        // stadium is turned by a number of quarters.
        let side = SIDES.iter().position(|name| *name == side)?;
        let quarters = side / 2;
        let (long, short) =
            if quarters.is_multiple_of(2) { (self.long, self.short) } else { (self.short, self.long) };
        let (x, y) = if side.is_multiple_of(2) {
            (long * (2.0 * along - 1.0), -short - from_corner)
        } else {
            let (sine, cosine) = (along * FRAC_PI_2).sin_cos();
            (long + from_corner * sine, -short - from_corner * cosine)
        };
        Some((0..quarters).fold((x, y), |(x, y), _| (-y, x)))
    }
}

/// From empty to full.
fn shades(ink: Ink) -> [&'static str; 5] {
    match ink {
        Ink::Ascii => [".", ":", "+", "*", "#"],
        Ink::Shades | Ink::Colours => ["·", "░", "▒", "▓", "█"],
    }
}

/// A colour for each category; red is left for seats that were sold twice.
fn hue(category: usize) -> &'static str {
    ["35", "33", "37", "36", "32"].get(category).copied().unwrap_or("34")
}
