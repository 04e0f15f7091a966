//! [`Host`]: a host in its one canonical spelling, or nothing.
//!
//! Policy, SNI, certificates, resolver, dialler, pool and audit all use this one form, so two
//! of them can never read one input in two ways (invariant I1). What has two readings
//! (`0x7f.1`, `127.1`, a U-label, a zone id) is not a host.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A DNS name in lower case without a trailing dot (RFC 1123, underscore allowed), or an IP
/// literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address literal; IPv6 without brackets.
    Ip(IpAddr),
    /// A name: 1 to 253 bytes of lower-case A-labels.
    Name(Arc<str>),
}

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A character that no host name may have, non-ASCII included.
    #[error("a host may hold only ASCII letters, digits, `-`, `_` and dots")]
    Character,
    /// Empty, a label of 0 or more than 63 bytes, or more than 253 bytes in all.
    #[error("a host or one of its labels is empty or too long")]
    Length,
    /// The last label is a number, but the whole is not a plain dotted quad.
    #[error("a host that ends in a number must be a plain dotted IPv4 address")]
    Numeric,
    /// An IPv6 literal that does not parse, or carries a zone.
    #[error("an IPv6 literal must be plain, in brackets and without a zone")]
    Ipv6,
}

impl Host {
    /// Parses the host part of an authority: a name, an IPv4 address, or `[IPv6]`.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Ipv6)?;
            let ip: Ipv6Addr = inner.parse().map_err(|_| HostError::Ipv6)?;
            return Ok(Self::Ip(ip.into()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(HostError::Length);
        }
        let mut last = "";
        for label in text.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(HostError::Length);
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(HostError::Character);
            }
            last = label;
        }
        // The rule of the URL standard: what ends in a number is an IPv4 address to some reader.
        let hex = last.len() >= 2 && last.as_bytes()[..2].eq_ignore_ascii_case(b"0x");
        if hex || last.bytes().all(|b| b.is_ascii_digit()) {
            let ip: Ipv4Addr = text.parse().map_err(|_| HostError::Numeric)?;
            return Ok(Self::Ip(ip.into()));
        }
        Ok(Self::Name(text.to_ascii_lowercase().into()))
    }

    /// What [`fmt::Display`] writes; a name is at hand.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Ip(_) => self.to_string().into(),
            Self::Name(name) => Cow::Borrowed(name),
        }
    }

    /// The DNS name, where it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Ip(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

/// As in an authority: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling() {
        for text in ["GOOD.example", "good.EXAMPLE.", "good.example"] {
            assert_eq!(Host::parse(text).unwrap().to_string(), "good.example");
        }
        assert_eq!(Host::parse("[::1]").unwrap().to_string(), "[::1]");
        assert_eq!(Host::parse("127.0.0.1").unwrap(), Host::Ip(IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn what_has_two_readings_is_no_host() {
        for text in [
            "",
            ".",
            "a..b",
            "good.example..",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "1.2.3.4.5",
            "a.0x1",
            "good\u{3002}example",
            "g\u{ad}ood.example",
            "[good.example]",
            "[::1%25lo]",
            "::1",
            "%67ood",
            "a b",
            "a\0",
            "user@good",
            "good#x",
            "good/",
            "good:80",
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(254)).is_err());
        assert!(Host::parse(&format!("{}.example", "a".repeat(64))).is_err());
    }

    proptest! {
        #[test]
        fn canonical_form_is_idempotent(text in "[a-zA-Z0-9._\\-\\[\\]:]{0,40}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()).unwrap(), host);
            }
        }
    }
}
