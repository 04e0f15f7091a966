//! [`Decision`]: what became of a request, in one word; the same in audit records and metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Deny,
    Inject,
    Pass,
    Tunnel,
}

impl Decision {
    /// All of them, in the order of their numbers.
    pub const ALL: [Decision; 4] = [Self::Deny, Self::Inject, Self::Pass, Self::Tunnel];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Inject => "inject",
            Self::Pass => "pass",
            Self::Tunnel => "tunnel",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_stand_at_their_number() {
        for (number, decision) in Decision::ALL.iter().enumerate() {
            assert_eq!(*decision as usize, number);
            let word = serde_json::to_value(decision).unwrap();
            assert_eq!(word, decision.as_str(), "one word everywhere");
        }
    }
}
