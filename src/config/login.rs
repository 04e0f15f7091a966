//! The grants in which a person logs in, and where their logins are kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{LoginProtection, Oauth, SecretSource};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logins {
    /// The directory; configs that name the same one share their logins.
    pub dir: PathBuf,
    pub protection: LoginProtection,
}

/// `grant = "refresh-token"` (RFC 6749 section 6)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub oauth: Oauth,
    /// The first one; those that come after it are kept with the logins.
    pub first: SecretSource,
}

/// `grant = "device"` (RFC 8628)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub oauth: Oauth,
    /// Where codes are asked for; `None`: as the issuer's document says.
    pub url: Option<http::Uri>,
    /// Origins (`https://host[:port]`) that a person may be sent to, beside those of the issuer.
    pub verification: Vec<String>,
    /// Further parameters of the request for codes, none of them secret.
    pub params: BTreeMap<String, String>,
}

/// `grant = "authorization-code"` (RFC 6749 section 4.1 with RFC 7636, for native programs
/// RFC 8252)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCode {
    pub oauth: Oauth,
    /// Where the person logs in; `None`: as the issuer's document says.
    pub url: Option<http::Uri>,
    /// Where the browser comes back to.
    pub redirect: Redirect,
    /// Further parameters of the authorization request, none of them secret.
    pub params: BTreeMap<String, String>,
}

/// A place on this machine that a browser is sent back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `127.0.0.1`, `[::1]` or `localhost`.
    pub host: String,
    /// The port; `None`: a free one each time.
    pub port: Option<u16>,
    pub path: String,
}
