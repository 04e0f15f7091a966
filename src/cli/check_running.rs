//! What of a config meets what runs here: its own daemon, which keeps what it began with, those of
//! this user's other configs, which have their ports, and whoever else has one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::admin_client::AdminClient;
use super::context;
use super::failure::chain;
use crate::admin::wire::DaemonStatus;
use crate::config::index::Whereabouts;
use crate::config::problem::{Problem, Problems};
use crate::config::{Config, at_start, load};
use crate::daemon;

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::of(&config.path);
    problems.place(Arc::clone(&config.places));
    let known = Whereabouts::all();
    let (own, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|entry| {
        entry.config == config.named || entry.state_dir == config.by_name(&config.state_dir)
    });
    for entry in own.iter().filter(|entry| entry.config == config.named && is_running(entry)) {
        for key in entry.outdated_by(config) {
            let message = format!(
                "`{key}` takes effect at a start, and the daemon that runs (process {}) began with another",
                entry.pid
            );
            let hint = format!("valetkey restart{}", daemon::config_flag(config));
            problems.warn(0, "restart-needed", message, hint);
        }
    }
    let mut are_known = false;
    for entry in &others {
        are_known |= meets(entry, config, &mut problems);
    }
    let runs = status(&config.admin.socket).is_some() || own.iter().any(is_running);
    if !runs && !are_known {
        refused(config, &mut problems);
    }
    problems.into_sorted()
}

/// What a start would be refused at this moment, by whoever has it.
fn refused(config: &Config, problems: &mut Problems) {
    let listen = if config.proxy.any_port { &[][..] } else { &config.proxy.listen };
    let metrics = config.admin.metrics.as_slice();
    for (key, addresses) in [
        (at_start::LISTEN, listen),
        ("proxy.transparent", &config.proxy.transparent),
        ("admin.metrics", metrics),
    ] {
        if let Err(error) = daemon::can_listen(addresses) {
            let message = format!("`{key}`: {}", chain(&error));
            problems.error(0, error.code(), message, error.hint());
        }
    }
}

/// What both a config and another's daemon, or the next one of it, listen on. Whether that is said
/// as an error.
fn meets(other: &Whereabouts, config: &Config, problems: &mut Problems) -> bool {
    let named: Vec<_> = named(config);
    if named.is_empty() {
        return false;
    }
    let mut is_refused = false;
    let is_running = is_running(other);
    let theirs = if is_running { other.listen.clone() } else { next(other) };
    for (key, address) in named.iter().filter(|(_, own)| theirs.iter().any(|one| is_same(own, one)))
    {
        let (whose, hint) =
            (other.config.display(), "name another port, or none: then a free one is taken");
        if is_running {
            let message = format!(
                "`{key}`: the daemon of another config of yours listens on {address}: {whose}"
            );
            problems.error(0, "port-of-another-config", message, hint);
            is_refused = true;
        } else {
            let message = format!(
                "`{key}`: another config of yours listens on {address} too, when it runs: {whose}"
            );
            problems.warn(0, "port-of-another-config", message, hint);
        }
    }
    is_refused
}

/// Where a config says that it listens, by key.
fn named(config: &Config) -> Vec<(&'static str, String)> {
    let listen = at_start::listen(config).into_iter().map(|one| (at_start::LISTEN, one));
    let transparent = config.proxy.transparent.iter().map(|one| ("proxy.transparent", one));
    let metrics = config.admin.metrics.iter().map(|one| ("admin.metrics", one));
    listen.chain(transparent.chain(metrics).map(|(key, one)| (key, one.to_string()))).collect()
}

/// What the next daemon of a config will insist on.
fn next(other: &Whereabouts) -> Vec<String> {
    match load(Some(&other.config)) {
        Ok((config, _)) => named(&config).into_iter().map(|(_, address)| address).collect(),
        Err(_) if other.config.exists() => other.listen.clone(),
        Err(_) => Vec::new(),
    }
}

/// The entry may be one of a daemon that is gone, and its socket that of the next one.
fn is_running(entry: &Whereabouts) -> bool {
    status(&entry.socket).is_some_and(|status| status.pid == entry.pid)
}

/// What a daemon says that answers there.
fn status(socket: &Path) -> Option<DaemonStatus> {
    context::runtime()
        .ok()?
        .block_on(async { AdminClient::connect(socket).await.ok()?.get("/v1/status").await.ok() })
}

/// Whether the second to listen would be refused.
fn is_same(one: &str, other: &str) -> bool {
    match (one.parse::<SocketAddr>(), other.parse::<SocketAddr>()) {
        (Ok(one), Ok(other)) => {
            let all = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() != 0 && one.port() == other.port() && (all || one.ip() == other.ip())
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_addresses_are_one() {
        for (one, other, same) in [
            ("127.0.0.1:8383", "127.0.0.1:8383", true),
            ("127.0.0.1:8383", "127.0.0.1:8384", false),
            ("127.0.0.1:8383", "0.0.0.0:8383", true),
            ("[::]:8383", "127.0.0.1:8383", true),
            ("127.0.0.1:8383", "127.0.0.2:8383", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/p", "unix:/p", true),
            ("unix:/p", "127.0.0.1:1", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} {other}");
        }
    }
}
