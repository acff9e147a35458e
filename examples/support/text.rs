//! Numbers, durations and widths as people read them.

use std::time::Duration;

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

/// An amount in cents: `0.05`, `1,234.50`.
pub(crate) fn money(cents: u64) -> String {
    format!("{}.{:02}", grouped(cents / 100), cents % 100)
}

/// In milliseconds, to compare with others: `0.4 ms`, `1234.5 ms`.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// In the unit that suits it: `0 s`, `350 us`, `4.2 ms`, `350 ms`, `1.5 s`, `10 s`.
pub(crate) fn duration(time: Duration) -> String {
    let (value, unit) = match time.as_micros() {
        0 => return "0 s".into(),
        1..1_000 => (time.as_micros() as f64, "us"),
        1_000..999_500 => (time.as_secs_f64() * 1e3, "ms"),
        _ => (time.as_secs_f64(), "s"),
    };
    let decimals = usize::from(value < 10.0);
    let text = format!("{value:.decimals$}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// How many columns the text takes on a terminal: colours take none.
pub(crate) fn width(text: &str) -> usize {
    let mut in_style = false;
    let seen = text.chars().filter(|&letter| {
        let starts = letter == '\x1b';
        let counts = !in_style && !starts;
        in_style = starts || (in_style && letter != 'm');
        counts
    });
    seen.count()
}

/// The text, filled up with blanks to so many columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}
