//! [`NoProxy`]: which targets are dialled directly although there is a parent proxy.
//!
//! The spellings are those that tools share: a name (and the names below it), `.suffix` and
//! `*.suffix` (only the names below it), an address, a network, any of the first four with `:port`,
//! and `*`. Addresses are compared with what was asked for: a name is not resolved for this.

use std::net::IpAddr;

use super::Network;
use crate::model::host::Host;
use crate::model::target::Target;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// Names that end in `.` and this.
    Below(String),
    /// This name and those below it.
    Name(String),
    Network(Network),
}

impl NoProxy {
    /// A list as in `NO_PROXY`: separated by commas or blanks. What is no entry is left out.
    pub fn of_variable(text: &str) -> Self {
        let mut list = Self::default();
        for entry in text.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
            list.add(entry);
        }
        list
    }

    /// Takes one more entry; `false`: it is none.
    pub fn add(&mut self, text: &str) -> bool {
        let entry = parse(text.trim());
        let is_one = entry.is_some();
        self.0.extend(entry);
        is_one
    }

    /// All entries of another list as well.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether the target is dialled directly.
    pub fn covers(&self, target: &Target) -> bool {
        self.0.iter().any(|entry| {
            entry.port.is_none_or(|port| port == target.port) && entry.hosts.holds(&target.host)
        })
    }
}

impl Hosts {
    fn holds(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Below(suffix), Host::Name(name)) => is_below(name, suffix),
            (Self::Name(own), Host::Name(name)) => **own == **name || is_below(name, own),
            (Self::Network(network), Host::Ip(ip)) => network.holds(*ip),
            (Self::Below(_) | Self::Name(_), Host::Ip(_)) | (Self::Network(_), Host::Name(_)) => {
                false
            }
        }
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|head| head.ends_with('.'))
}

fn parse(text: &str) -> Option<Exception> {
    if text == "*" {
        return Some(Exception { hosts: Hosts::All, port: None });
    }
    if let Some(network) = Network::parse(text) {
        return Some(Exception { hosts: Hosts::Network(network), port: None });
    }
    // A bare IPv6 address, as Go and curl take it in NO_PROXY.
    if let Ok(ip @ IpAddr::V6(_)) = text.parse() {
        return Some(Exception { hosts: Hosts::Network(Network::exactly(ip)), port: None });
    }
    let (below, text) = match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (host, port) = match Target::parse(text, None) {
        Ok(target) => (target.host, Some(target.port)),
        Err(_) => (Host::parse(text).ok()?, None),
    };
    let hosts = match host {
        Host::Name(name) if below => Hosts::Below(name.to_string()),
        Host::Name(name) => Hosts::Name(name.to_string()),
        Host::Ip(_) if below => return None,
        Host::Ip(ip) => Hosts::Network(Network::exactly(ip)),
    };
    Some(Exception { hosts, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &str, target: &str) -> bool {
        NoProxy::of_variable(list).covers(&Target::parse(target, None).unwrap())
    }

    #[test]
    fn each_spelling_means_what_tools_mean_by_it() {
        for (list, inside, outside) in [
            ("*", &["a.example:443", "8.8.8.8:1", "[::1]:1"][..], &[][..]),
            (
                "corp.example",
                &["corp.example:443", "a.b.corp.example:80"],
                &["xcorp.example:443", "example:443", "corp.example.org:443"],
            ),
            ("CORP.example.", &["corp.example:443"], &["corp:443"]),
            (".corp.example", &["a.corp.example:443"], &["corp.example:443", "xcorp.example:1"]),
            ("*.corp.example", &["a.corp.example:443"], &["corp.example:443"]),
            (
                "corp.example:8443",
                &["corp.example:8443", "a.corp.example:8443"],
                &["corp.example:443"],
            ),
            (".corp.example:8443", &["a.corp.example:8443"], &["a.corp.example:443"]),
            ("10.1.2.3", &["10.1.2.3:443"], &["10.1.2.4:443", "a.example:443"]),
            ("10.1.2.3:80", &["10.1.2.3:80"], &["10.1.2.3:443"]),
            ("10.0.0.0/8", &["10.255.1.1:443"], &["11.0.0.1:443"]),
            ("::1", &["[::1]:443"], &["[::2]:443", "127.0.0.1:443"]),
            ("[fd00::1]:8443", &["[fd00::1]:8443"], &["[fd00::1]:443"]),
            ("fd00::/8", &["[fd12::1]:443"], &["[fe80::1]:443"]),
            ("a.example, b.example\tc.example", &["b.example:1", "c.example:1"], &["d.example:1"]),
            ("", &[], &["a.example:443"]),
        ] {
            for target in inside {
                assert!(covers(list, target), "{list} holds {target}");
            }
            for target in outside {
                assert!(!covers(list, target), "{list} does not hold {target}");
            }
        }
    }

    #[test]
    fn what_is_no_entry_covers_nothing() {
        for text in
            ["http://a.example", "a b", "10.0.0.0/33", ".10.0.0.1", "*a.example", "a..b", "a:0"]
        {
            assert!(!NoProxy::default().add(text), "{text}");
        }
        assert!(!covers("http://a.example,10.0.0.0/99", "a.example:443"));
    }
}
