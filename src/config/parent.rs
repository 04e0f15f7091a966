//! [`Parent`]: the proxy above us, as config names it.

use super::SecretSource;
use crate::model::host::Host;
use crate::model::target::{Origin, Scheme, Target};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Where it listens; `https`: TLS to the proxy itself.
    pub origin: Origin,
    /// What it admits us by.
    pub login: Option<Login>,
}

/// Basic credentials (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// May not hold a colon or a control character.
    pub user: String,
    pub password: SecretSource,
}

/// Why a text is not a proxy's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No host, or an odd port.
    #[error("names no valid host and port")]
    Authority,
    /// More than scheme, host and port.
    #[error("has a path, a query or a fragment")]
    Path,
    /// The scheme is neither http nor https.
    #[error("must be an http or https URL")]
    Scheme,
}

/// A proxy's URL taken apart: where it is, and the raw `user:password`, if there is one.
pub fn parse_url(text: &str) -> Result<(Origin, Option<&str>), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(UrlError::Scheme),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, authority) = match rest.rsplit_once('@') {
        Some((login, authority)) => (Some(login), authority),
        None => (None, rest),
    };
    if authority.contains(['/', '?', '#']) {
        return Err(UrlError::Path);
    }
    let target = Target::parse(authority, Some(scheme.default_port()));
    let target = target.map_err(|_| UrlError::Authority)?;
    Ok((Origin { scheme, target }, login))
}

/// Whether the name or literal means this machine, whoever resolves it (RFC 6761).
pub fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Ip(ip) => ip.to_canonical().is_loopback(),
        Host::Name(name) => &**name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, Option<&str>), UrlError> {
        parse_url(text).map(|(origin, login)| {
            (format!("{}://{}", origin.scheme.as_str(), origin.target), login)
        })
    }

    #[test]
    fn takes_urls_apart() {
        for (text, at, login) in [
            ("http://proxy.example:3128", "http://proxy.example:3128", None),
            ("http://proxy.example:3128/", "http://proxy.example:3128", None),
            ("HTTPS://Proxy.example", "https://proxy.example:443", None),
            ("http://u:p@proxy.example", "http://proxy.example:80", Some("u:p")),
            ("http://u:p@x@proxy.example", "http://proxy.example:80", Some("u:p@x")),
            ("http://[::1]:3128", "http://[::1]:3128", None),
        ] {
            assert_eq!(parsed(text), Ok((at.to_owned(), login)), "{text}");
        }
        for text in
            ["", "proxy:3128", "socks5://p:1", "http://", "http://p:0", "http://p/x", "http://p?x"]
        {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
