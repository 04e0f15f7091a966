//! [`Placeholder`]: the worthless value that a tool is given where its API key would be.
//!
//! Recognisable by its prefix wherever it turns up, so that one never goes upstream.

use std::fmt;

use super::id::random_text;

/// What every opaque placeholder starts with.
pub const PREFIX: &str = "vk-placeholder-";

/// A placeholder of the `opaque` kind: the prefix and 43 random characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder(String);

impl Placeholder {
    /// A new one, unlike any other.
    pub fn opaque() -> Self {
        Self(format!("{PREFIX}{}", random_text()))
    }

    /// Whether a value holds one of ours anywhere, raw.
    pub fn found_in(value: &[u8]) -> bool {
        memchr::memmem::find(value, PREFIX.as_bytes()).is_some()
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
