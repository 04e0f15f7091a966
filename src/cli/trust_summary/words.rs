//! How a line of the summary is worded.

use std::fmt::Display;

/// A word of a command line, in quotes where one could not see where it ends.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\".contains(c);
    let is_plain = !text.is_empty() && text.chars().all(|c| plain(c) || c.is_alphanumeric());
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}

/// What a credential is minted from, and where that goes.
pub(super) struct Spent {
    pub(super) at: Vec<String>,
    pub(super) secrets: Vec<String>,
}

impl Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.at.iter().try_for_each(|at| write!(f, " at {at}"))?;
        if self.secrets.is_empty() {
            return Ok(());
        }
        write!(f, ", spends {}", self.secrets.join(", "))
    }
}
