//! Why a layout was refused.

use std::fmt;

use smol_str::SmolStr;

use super::Layout;

/// Why a [`Layout`] could not be built. Nothing was built; mend the description and try again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// There are no seats.
    Empty,
    /// A label or the name of a row, section or category is empty.
    EmptyName {
        /// What was to be named.
        what: &'static str,
    },
    /// A label or the name of a row, section or category has more than [`Layout::MAX_LABEL_BYTES`].
    NameTooLong {
        /// What was to be named.
        what: &'static str,
        /// How the name begins.
        start: SmolStr,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Two seats have the same label.
    DuplicateLabel {
        /// The label.
        label: SmolStr,
    },
    /// Two categories have the same name.
    DuplicateCategory {
        /// The name.
        name: SmolStr,
    },
    /// A row names a category that was not described before it.
    UnknownCategory {
        /// The name.
        name: SmolStr,
    },
    /// A row has no seats.
    EmptyRow {
        /// The row's name.
        name: SmolStr,
    },
    /// More than [`Layout::MAX_SEATS`] seats.
    TooManySeats,
    /// A seat's number is above [`Layout::MAX_NUMBER`].
    NumberTooLarge,
    /// A category's price is above [`Layout::MAX_PRICE`].
    PriceTooLarge {
        /// The category's name.
        name: SmolStr,
    },
    /// A line of a layout file is not of the form that [`Layout::parse`] describes.
    Syntax {
        /// What was expected.
        expected: &'static str,
    },
    /// Stored data that no layout serializes to.
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// One of the above, in a layout file.
    AtLine {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        cause: Box<LayoutError>,
    },
}

impl LayoutError {
    /// Refuses a name that is empty or too long.
    pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Self> {
        match name.len() {
            0 => Err(Self::EmptyName { what }),
            bytes if bytes > Layout::MAX_LABEL_BYTES => {
                Err(Self::NameTooLong { what, start: start_of(name), bytes })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn at_line(self, line: usize) -> Self {
        Self::AtLine { line, cause: Box::new(self) }
    }
}

/// Enough of an over-long name to find it by: an error must not carry megabytes.
pub(super) fn start_of(name: &str) -> SmolStr {
    SmolStr::new(name.get(..name.floor_char_boundary(Layout::MAX_LABEL_BYTES)).unwrap_or_default())
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a layout needs at least one seat"),
            Self::EmptyName { what } => write!(f, "the name of a {what} is empty"),
            Self::NameTooLong { what, start, bytes } => write!(
                f,
                "the name of a {what} has {bytes} bytes, it may have {}; it begins with \"{start}\"",
                Layout::MAX_LABEL_BYTES
            ),
            Self::DuplicateLabel { label } => write!(f, "two seats have the label \"{label}\""),
            Self::DuplicateCategory { name } => write!(f, "two categories have the name \"{name}\""),
            Self::UnknownCategory { name } => {
                write!(f, "unknown category \"{name}\"; describe it before its first row")
            }
            Self::EmptyRow { name } => write!(f, "row \"{name}\" has no seats"),
            Self::TooManySeats => write!(f, "more than {} seats", Layout::MAX_SEATS),
            Self::NumberTooLarge => write!(f, "a seat's number is above {}", Layout::MAX_NUMBER),
            Self::PriceTooLarge { name } => {
                write!(f, "the price of category \"{name}\" is above {}", Layout::MAX_PRICE)
            }
            Self::Syntax { expected } => write!(f, "expected {expected}"),
            Self::Malformed { what } => write!(f, "malformed layout: {what}"),
            Self::AtLine { line, cause } => write!(f, "line {line}: {cause}"),
        }
    }
}

impl std::error::Error for LayoutError {}
