//! How things are drawn: plain letters, finer characters, or colours as well.

/// Chosen once, by where the output goes. What is not known by colour alone: every use has a letter too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Letters, for files and pipes.
    Ascii,
    /// Block characters, on a terminal without colours.
    Shades,
    /// Block characters and colours.
    Colours,
}

impl Ink {
    /// The text in a style of the terminal, such as `1` for bold or `1;31` for bold and red.
    pub(crate) fn paint(self, text: &str, style: &str) -> String {
        match self {
            Self::Colours => format!("\x1b[{style}m{text}\x1b[0m"),
            Self::Ascii | Self::Shades => text.to_owned(),
        }
    }
}
