//! Bars: how much of a whole, as a length, with a scale to read it by.

use super::ink::Ink;
use super::text::grouped;

/// Bars of one width and one whole, to stand below each other.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    ink: Ink,
    columns: usize,
    whole: u64,
}

/// A part of a stacked bar.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) amount: u64,
    /// What it is drawn with where there are only letters.
    pub(crate) letter: char,
    /// What it is drawn with on a terminal, and in which style.
    pub(crate) block: char,
    pub(crate) style: &'static str,
}

impl Share {
    /// What was to happen.
    pub(crate) fn good(amount: u64) -> Self {
        Self { amount, letter: '#', block: '█', style: "32" }
    }

    /// What was not.
    pub(crate) fn bad(amount: u64) -> Self {
        Self { amount, letter: 'X', block: '▓', style: "1;31" }
    }

    /// What has not happened.
    pub(crate) fn rest(amount: u64) -> Self {
        Self { amount, letter: '.', block: '░', style: "90" }
    }
}

impl Bar {
    pub(crate) fn new(ink: Ink, columns: usize, whole: u64) -> Self {
        Self { ink, columns, whole: whole.max(1) }
    }

    /// So much of the whole, and the rest.
    pub(crate) fn filled(&self, amount: u64) -> String {
        self.stacked(&[Share::good(amount), Share::rest(self.whole.saturating_sub(amount))])
    }

    /// Several parts after each other. What is there is seen: a part that is not 0 has at least one
    /// column, which its neighbours give up. What exceeds the whole is cut off.
    pub(crate) fn stacked(&self, shares: &[Share]) -> String {
        let mut text = String::from("[");
        let (mut sum, mut drawn) = (0_u64, 0);
        // Columns that the parts after this one need to be seen at all.
        let mut waiting = shares.iter().filter(|share| share.amount > 0).count();
        for share in shares.iter().filter(|share| share.amount > 0) {
            waiting -= 1;
            sum = sum.saturating_add(share.amount).min(self.whole);
            let end = (u128::from(sum) * self.columns as u128 / u128::from(self.whole)) as usize;
            let end = end.max(drawn + 1).min(self.columns.saturating_sub(waiting)).max(drawn);
            let mark = if self.ink == Ink::Ascii { share.letter } else { share.block };
            let part: String = std::iter::repeat_n(mark, end - drawn).collect();
            text.push_str(&self.ink.paint(&part, share.style));
            drawn = end;
        }
        text.push_str(&" ".repeat(self.columns.saturating_sub(drawn)));
        text.push(']');
        text
    }

    /// The line to stand below the bars: nothing, half and the whole, at their places.
    pub(crate) fn scale(&self) -> String {
        let (half, whole) = (grouped(self.whole / 2), grouped(self.whole));
        let columns = self.columns + 1;
        let left = format!("{:<1$}", "0", (columns / 2).saturating_sub(half.len() / 2));
        format!("{left}{half}{whole:>0$}", (columns + 1).saturating_sub(left.len() + half.len()))
    }
}
