//! What is asked for: an https URL, where it really is, and whether it may be asked so often.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};

use http::Uri;

use crate::cli::failure::{Failure, chain};
use crate::config::Config;
use crate::model::target::Target;

pub(super) struct BenchTarget {
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: Uri,
}

impl BenchTarget {
    /// An https URL without userinfo.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::usage(
                "bench-url",
                format!("{text} is no URL to measure: {why}"),
                "as in https://api.example.com/v1/orders",
            )
        };
        let uri: Uri = text.parse().map_err(|error| wrong(&chain(&error)))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("tokens go over https only"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user in it"));
        }
        let target = Target::parse(authority.as_str(), Some(443)).map_err(|e| wrong(&chain(&e)))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| wrong("its path cannot be sent"))?;
        let host = target.host.to_string().trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: target.port, path })
    }

    /// As CONNECT and the config's pins write it.
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// As `Host` writes it.
    pub(super) fn host_field(&self) -> String {
        let authority = self.authority();
        authority.strip_suffix(":443").map_or_else(|| authority.clone(), str::to_owned)
    }

    /// Where it is: pinned by the config, else as the system resolves it.
    pub(super) fn addresses(&self, config: &Config) -> Result<Vec<SocketAddr>, Failure> {
        let pin = Target::parse(&self.authority(), None).ok();
        if let Some(pin) = pin.and_then(|target| config.upstream.resolve.get(&target)) {
            return Ok(vec![*pin]);
        }
        let found = (self.host.as_str(), self.port).to_socket_addrs().map(Vec::from_iter);
        match found {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            other => Err(Failure::failed(
                "bench-unreachable",
                format!(
                    "{} cannot be resolved: {}",
                    self.host,
                    other.err().map_or_else(|| "it has no address".to_owned(), |e| chain(&e))
                ),
                "the bench compares with the direct way: the name must resolve on this machine",
            )),
        }
    }
}

impl fmt::Display for BenchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.host_field(), self.path)
    }
}

/// Other people's machines are asked only where the user said so.
pub(super) fn may_ask(
    place: &BenchTarget,
    addresses: &[SocketAddr],
    yes_remote: bool,
    requests: u64,
) -> Result<(), Failure> {
    if yes_remote || addresses.iter().all(|address| address.ip().is_loopback()) {
        return Ok(());
    }
    Err(Failure::usage(
        "bench-remote",
        format!("{} is not on this machine, and would get up to {requests} requests", place.host),
        "where that is welcome (rate limits, cost), say --yes-remote; without URL an API of our own is measured",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_https_urls_alone() {
        let place = BenchTarget::parse("https://API.example/v1?x=1").unwrap();
        assert_eq!(place.to_string(), "https://api.example/v1?x=1");
        assert_eq!(place.authority(), "api.example:443");
        let place = BenchTarget::parse("https://[::1]:8443").unwrap();
        assert_eq!((place.authority().as_str(), place.host.as_str()), ("[::1]:8443", "::1"));
        for text in ["http://api.example/", "api.example", "https://a:b@api.example/", "ftp://x/"] {
            assert_eq!(BenchTarget::parse(text).err().unwrap().code, "bench-url", "{text}");
        }
    }

    #[test]
    fn other_machines_are_asked_only_with_a_word() {
        let place = BenchTarget::parse("https://api.example/").unwrap();
        let at = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        assert!(may_ask(&place, &at("127.0.0.1:1"), false, 9).is_ok());
        assert!(may_ask(&place, &at("[::1]:1"), false, 9).is_ok());
        let mixed = [at("127.0.0.1:1"), at("192.0.2.1:1")].concat();
        for addresses in [at("192.0.2.1:1"), at("10.0.0.1:1"), mixed] {
            assert_eq!(may_ask(&place, &addresses, false, 9).unwrap_err().code, "bench-remote");
            assert!(may_ask(&place, &addresses, true, 9).is_ok());
        }
    }
}
