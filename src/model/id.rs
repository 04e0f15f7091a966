//! Names that are handed out: requests, sessions, credentials, routes.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// One request's name, sortable by time; in the audit, in answers and in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Ulid);

impl RequestId {
    pub fn new() -> Self {
        Self(Ulid::generate())
    }

    /// Its text, written into this.
    pub fn write(self, text: &mut [u8; ulid::ULID_LEN]) -> &str {
        self.0.array_to_str(text)
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes the text as it is; config and session code check its characters.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The key of a `[credentials.NAME]` table.
    CredentialName
}
name! {
    /// The `name` of a `[[routes]]` entry.
    RouteName
}
name! {
    /// A session's public name: never its secret.
    SessionName
}
name! {
    /// The hash of one policy snapshot: `sha256:` and 16 hex digits.
    PolicyHash
}

/// 32 random bytes, base64url without padding: 43 characters.
pub fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes())
}

/// 32 random bytes from the crypto library's generator.
pub fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Fails only where the machine has no source of randomness at all: nothing can go on then.
    #[allow(clippy::expect_used)]
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has a random source");
    bytes
}
