//! What opened a session, and what follows from that.

use serde::{Deserialize, Serialize};

/// What opened a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `valetkey env`: outlives the daemon.
    Env,
    /// `valetkey session open`: outlives the daemon.
    Open,
    /// `[[sessions]]` of the config.
    Preshared,
    /// `valetkey run`: ends with its command.
    #[default]
    Run,
}

impl Kind {
    /// Whether it lives on when the daemon is started again.
    pub fn outlives_the_daemon(self) -> bool {
        matches!(self, Self::Env | Self::Open)
    }

    /// As it is written, in the audit as well.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Open => "open",
            Self::Preshared => "preshared",
            Self::Run => "run",
        }
    }

    /// What its name begins with.
    pub(super) fn prefix(self) -> &'static str {
        if self == Self::Preshared { "pre" } else { self.as_str() }
    }
}
