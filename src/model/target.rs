//! [`Target`]: what a client asked for; [`Origin`]: what is really dialled.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use super::host::{Host, HostError};

/// Host and port of a CONNECT or of an absolute-form URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    pub host: Host,
    pub port: u16,
}

/// Why a text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The host part is none.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The port is missing where one is needed, zero, signed, padded or above 65535.
    #[error("a port must be a plain number from 1 to 65535")]
    Port,
}

impl Target {
    /// Parses an authority (RFC 3986 section 3.2) that has no userinfo. Without `default_port`
    /// the port must be there, as in CONNECT (RFC 9110 section 9.3.6).
    pub fn parse(authority: &str, default_port: Option<u16>) -> Result<Self, TargetError> {
        let bracket = authority.rfind(']').map_or(0, |i| i + 1);
        let (host, port) = match authority[bracket..].find(':') {
            Some(colon) => {
                let (host, rest) = authority.split_at(bracket + colon);
                (host, parse_port(&rest[1..])?)
            }
            None => (authority, default_port.ok_or(TargetError::Port)?),
        };
        Ok(Self { host: Host::parse(host)?, port })
    }
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    let plain =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if !plain {
        return Err(TargetError::Port);
    }
    text.parse().map_err(|_| TargetError::Port)
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP; no token ever goes there.
    Http,
    /// Over TLS, the certificate verified.
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The scheme, host and port that are really dialled and, for `https`, verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Decides whether TLS is spoken.
    pub scheme: Scheme,
    pub target: Target,
}

impl Origin {
    /// `https://host:port`.
    pub fn https(target: Target) -> Self {
        Self { scheme: Scheme::Https, target }
    }

    /// The `Host` field or `:authority`: the port only where it isn't the scheme's own, because
    /// signatures over the field break otherwise.
    pub fn authority(&self) -> Cow<'_, str> {
        if self.target.port == self.scheme.default_port() {
            self.target.host.text()
        } else {
            self.target.to_string().into()
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_authorities() {
        let parse = |text| Target::parse(text, None).map(|t| t.to_string());
        assert_eq!(parse("Good.example.:443").unwrap(), "good.example:443");
        assert_eq!(parse("[::1]:8443").unwrap(), "[::1]:8443");
        for text in [
            "good.example",
            "good:80:443",
            "good:",
            "good:+1",
            "good:0443",
            "good:0",
            "good:65536",
            "u@good:1",
            ":443",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(Target::parse("good", Some(443)).unwrap().port, 443);
    }

    #[test]
    fn authority_drops_the_default_port() {
        let origin = Origin::https(Target::parse("good:443", None).unwrap());
        assert_eq!(origin.authority(), "good");
        let origin = Origin::https(Target::parse("good:8443", None).unwrap());
        assert_eq!(origin.to_string(), "https://good:8443");
    }
}
