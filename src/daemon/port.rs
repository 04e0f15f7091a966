//! The port of a config that names none: that of last time, else the usual one, else any that is
//! free.
//!
//! Whoever evaluated `valetkey env` holds the address that the daemon had then. So it is
//! remembered, in the state directory, with the sessions that were given another one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::listeners::{self, Listeners};
use crate::config::Config;
use crate::config::index::Whereabouts;
use crate::config::parent::is_loopback;
use crate::model::id::SessionName;

/// Where clients were told to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// All that are not named below.
    pub(super) address: SocketAddr,
    /// Live sessions that were given another address, when that was the daemon's.
    #[serde(default)]
    pub(super) elsewhere: BTreeMap<SessionName, SocketAddr>,
}

impl Remembered {
    /// What the next daemon is to know, that listens at `address` and finds these sessions.
    pub(super) fn next(
        before: Option<&Self>,
        address: SocketAddr,
        sessions: impl Iterator<Item = SessionName>,
    ) -> Self {
        let given = |name: &SessionName| {
            before.map(|before| *before.elsewhere.get(name).unwrap_or(&before.address))
        };
        let elsewhere = sessions.filter_map(|name| given(&name).map(|given| (name, given)));
        Self { address, elsewhere: elsewhere.filter(|(_, given)| *given != address).collect() }
    }
}

/// Binds it, and says so where it is not that of last time.
pub(super) fn bind(config: &Config, before: Option<&Remembered>) -> Result<Listeners, Error> {
    let Some(usual) = config.proxy.listen.first() else { return listeners::bind(&[]) };
    let at = |port: u16| SocketAddr::new(usual.ip(), port);
    let last = before.map(|before| at(before.address.port()));
    let usual_is_free = last != Some(*usual) && !is_anothers(usual, config);
    let wanted = last.into_iter().chain(usual_is_free.then_some(*usual));
    let had = wanted.filter(|address| !is_spoken_for(address, config)).find_map(|address| {
        match listeners::bind(&[address]) {
            Ok(listeners) => Some((listeners, Some(address))),
            Err(error) => {
                tracing::debug!(code = error.code(), "{address} is not to be had");
                None
            }
        }
    });
    let (listeners, address) = match had {
        Some(had) => had,
        None => (listeners::bind(&[at(0)])?, None),
    };
    if let Some(last) = last
        && address != Some(last)
    {
        tracing::warn!(
            code = "port-taken",
            hint = "shells that evaluated `valetkey env` before hold the old one: evaluate it there again",
            "{last} is not to be had by now: another port is taken"
        );
    }
    Ok(listeners)
}

/// By the same config, for something else.
fn is_spoken_for(address: &SocketAddr, config: &Config) -> bool {
    let parent = config.upstream.parent.as_ref().map(|parent| &parent.origin.target);
    let is_parents =
        parent.is_some_and(|parent| parent.port == address.port() && is_loopback(&parent.host));
    let mut named = config.proxy.transparent.iter().chain(&config.admin.metrics);
    is_parents || named.any(|named| named.port() == address.port())
}

/// Whether another config of this user's had it last, be its daemon there or not: its shells hold
/// it.
fn is_anothers(address: &SocketAddr, config: &Config) -> bool {
    let own = config.by_name(&config.state_dir);
    let others = Whereabouts::all();
    let mut others = others.iter().filter(|other| other.state_dir != own && other.config.exists());
    others.any(|other| other.listen.iter().any(|listen| listen.parse() == Ok(*address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(keys: &str) -> Config {
        let text = format!("config_version = 1\n{keys}");
        parse("/c/valetkey.toml".as_ref(), text.as_bytes(), "/s".into()).unwrap().0
    }

    fn remembered(port: u16) -> Remembered {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Remembered { address, elsewhere: BTreeMap::new() }
    }

    /// Of this machine, at this moment.
    fn free() -> SocketAddr {
        listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().addresses().unwrap()[0]
    }

    #[test]
    fn the_port_of_last_time_comes_first_and_one_that_is_taken_is_not_insisted_on() {
        let port = |config: &Config, before: u16| {
            bind(config, Some(&remembered(before))).unwrap().addresses().unwrap()[0].port()
        };
        let last = free();
        assert_eq!(port(&config(""), last.port()), last.port());
        for keys in [
            format!("[admin]\nmetrics = \"127.0.0.1:{}\"", last.port()),
            format!("[proxy]\ntransparent = \"127.0.0.1:{}\"", last.port()),
            format!("[upstream]\nparent = {{ url = \"http://localhost:{}\" }}", last.port()),
        ] {
            assert_ne!(port(&config(&keys), last.port()), last.port(), "{keys}");
        }
        let taken = listeners::bind(&[last]).unwrap();
        assert_ne!(port(&config(""), last.port()), last.port());
        drop(taken);
        // As root everything may be bound: any other port that is not to be had is the same.
        assert!(port(&config(""), 0) > 0);
    }

    #[test]
    fn who_holds_another_address_is_known_until_it_is_the_same_again() {
        let names =
            |names: &[&str]| names.iter().map(|name| SessionName::new(*name)).collect::<Vec<_>>();
        let next = |before: &Remembered, port: u16, live: &[&str]| {
            Remembered::next(Some(before), remembered(port).address, names(live).into_iter())
        };
        let held = |known: &Remembered| {
            let each = known.elsewhere.iter().map(|(name, at)| format!("{name}:{}", at.port()));
            each.collect::<Vec<_>>().join(" ")
        };
        let first = Remembered::next(None, remembered(1).address, names(&["old"]).into_iter());
        assert_eq!(held(&first), "", "nobody knows what an earlier version gave out");
        let second = next(&first, 2, &["a", "b"]);
        assert_eq!(held(&second), "a:1 b:1");
        let third = next(&second, 3, &["b", "c"]);
        assert_eq!(held(&third), "b:1 c:2");
        assert_eq!(held(&next(&third, 1, &["b", "c"])), "c:2");
        assert_eq!(held(&next(&third, 3, &["b", "c"])), "b:1 c:2");
    }
}
