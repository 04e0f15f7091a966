//! [`Pseudonym`]: the name by which a daemon knows a CONNECT that it has carried before (`Via`, RFC
//! 9110 section 7.6.3).
//!
//! Two proxies that are each other's parent would hand a request round until their connections are
//! used up. Only parents see the name, it is drawn at each start, and nobody who has not seen it
//! can have us refuse their requests by it.

use std::sync::Arc;

use crate::model::id::random_text;

/// One daemon's, for as long as it runs.
#[derive(Clone, Debug)]
pub struct Pseudonym(Arc<str>);

impl Pseudonym {
    pub fn draw() -> Self {
        Self(format!("valetkey-{}", random_text()).into())
    }

    /// Whether what came with this `Via` was here before.
    pub fn is_in(&self, via: &[u8]) -> bool {
        memchr::memmem::find(via, self.0.as_bytes()).is_some()
    }

    /// The line that goes to a parent, behind the proxies that were there before us.
    pub(super) fn line(&self, before: Option<&str>) -> String {
        match before {
            Some(before) => format!("Via: {before}, 1.1 {}\r\n", self.0),
            None => format!("Via: 1.1 {}\r\n", self.0),
        }
    }
}

impl Default for Pseudonym {
    fn default() -> Self {
        Self::draw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_itself_wherever_it_stands() {
        let (ours, others) = (Pseudonym::draw(), Pseudonym::draw());
        let line = ours.line(Some("1.0 fred, 1.1 squid.example (squid/6)"));
        assert!(line.starts_with("Via: 1.0 fred, 1.1 squid.example (squid/6), 1.1 valetkey-"));
        assert!(ours.is_in(line.as_bytes()) && !others.is_in(line.as_bytes()));
        let line = others.line(Some(line.trim_start_matches("Via: ").trim_end()));
        assert!(ours.is_in(line.as_bytes()) && others.is_in(line.as_bytes()));
        assert!(!ours.is_in(b"") && !ours.is_in(b"1.1 valetkey-"));
    }
}
