//! The layout file: a line for each category, section and row.

use super::builder::LayoutBuilder;
use super::{Layout, LayoutError};

const KEYWORD: &str = "`category`, `section` or `row` at the start of a line";
const CATEGORY: &str = "`category NAME PRICE`, a one-word name and a whole number of minor units";
const SECTION: &str = "`section NAME` with a one-word name, or `section` alone to end the last one";
const ROW: &str = "`row NAME CATEGORY 1-12 | 13-24`: one-word names, then blocks of seat numbers";

pub(super) fn parse(text: &str) -> Result<Layout, LayoutError> {
    let mut builder = LayoutBuilder::new(true);
    // The line of each row, for a label that turns out to be a duplicate when all rows are known.
    let mut lines = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split_once('#').map_or(content, |(content, _comment)| content);
        read_line(&mut builder, content).map_err(|error| error.at_line(line))?;
        if builder.rows() > lines.len() {
            lines.push(line);
        }
    }
    builder.finish().map_err(|(error, row)| match row.and_then(|row| lines.get(row as usize)) {
        Some(&line) => error.at_line(line),
        None => error,
    })
}

fn read_line(builder: &mut LayoutBuilder, line: &str) -> Result<(), LayoutError> {
    let mut rest = line;
    match word(&mut rest) {
        "" => Ok(()),
        "category" => {
            let name = word(&mut rest);
            let price = word(&mut rest);
            let digits = !price.is_empty() && price.bytes().all(|digit| digit.is_ascii_digit());
            if !digits || !rest.trim().is_empty() {
                return Err(LayoutError::Syntax { expected: CATEGORY });
            }
            // What does not fit is above the limit, and the builder says so.
            builder.add_category(name, price.parse().unwrap_or(u64::MAX))
        }
        "section" => {
            let name = word(&mut rest);
            if !rest.trim().is_empty() {
                return Err(LayoutError::Syntax { expected: SECTION });
            }
            if name.is_empty() {
                builder.end_section();
                return Ok(());
            }
            builder.add_section(name)
        }
        "row" => {
            let name = word(&mut rest);
            let category = word(&mut rest);
            if rest.trim().is_empty() {
                return Err(LayoutError::Syntax { expected: ROW });
            }
            let blocks = rest.split('|').map(block).collect::<Result<Vec<_>, _>>()?;
            builder.add_row(name, category, blocks)
        }
        _ => Err(LayoutError::Syntax { expected: KEYWORD }),
    }
}

/// Takes the next word off the front of `rest`; empty at the end of the line.
fn word<'a>(rest: &mut &'a str) -> &'a str {
    let line = rest.trim_start();
    let (word, after) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    *rest = after;
    word
}

fn block(text: &str) -> Result<(u32, u32), LayoutError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((number(first.trim())?, number(last.trim())?))
}

fn number(text: &str) -> Result<u32, LayoutError> {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(LayoutError::Syntax { expected: ROW });
    }
    text.parse().map_err(|_| LayoutError::NumberTooLarge)
}
