//! What one table says of another: sessions that routes serve, addresses that are taken twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::config::parent::is_loopback;
use crate::config::problem::{Located, Problems};
use crate::config::{ClientSelector, Config, Proxy, wording};
use crate::model::host::Host;
use crate::model::target::Target;

pub(super) fn check(config: &Config, problems: &mut Problems) {
    clients(config, problems);
    addresses(config, problems);
}

/// Whether the parent proxy is this one, as far as that shows without a resolver and before a port
/// is taken: the daemon, which knows its listeners, looks again.
pub fn parent_is_us(config: &Config) -> bool {
    let parent = config.upstream.parent.as_ref();
    parent.is_some_and(|parent| is_us(&parent.origin.target, &config.proxy))
}

/// Sessions of `run`, `env` and `session open` have names that nobody knows before.
fn clients(config: &Config, problems: &mut Problems) {
    let all = || config.sessions.iter().map(|session| session.name.as_str());
    for Located { value: route, line } in &config.routes {
        for selector in route.clients.iter().flatten() {
            let ClientSelector::Session(name) = selector else { continue };
            if all().any(|session| session == name.as_str()) {
                continue;
            }
            let message = format!("`clients` names a session that there is not: `session:{name}`");
            let meant = wording::meant(name.as_str(), all());
            let hint = format!("{meant}add it to [[sessions]] or correct the name");
            problems.error(*line, "unknown-session", message, hint);
        }
    }
}

/// The second to listen there would fail. Port 0 is another one each time, and who names none gets
/// a free one.
fn addresses(config: &Config, problems: &mut Problems) {
    let proxy = &config.proxy;
    let named = proxy.listen.iter().filter(|_| !proxy.any_port);
    let all = (named.map(|address| ("proxy.listen", address)))
        .chain(proxy.transparent.iter().map(|address| ("proxy.transparent", address)))
        .chain(config.admin.metrics.iter().map(|address| ("admin.metrics", address)));
    let mut seen = BTreeSet::new();
    for (key, address) in all.filter(|(_, address)| address.port() != 0) {
        if !seen.insert(*address) {
            let message = format!("`{key}` names an address that is taken already: `{address}`");
            problems.error(0, "address-twice", message, "name another port");
        }
    }
}

fn is_us(parent: &Target, proxy: &Proxy) -> bool {
    let here = |listen: &SocketAddr| match &parent.host {
        Host::Ip(ip) => listen.ip() == *ip || (listen.ip().is_unspecified() && ip.is_loopback()),
        Host::Name(_) => {
            is_loopback(&parent.host) && (listen.ip().is_loopback() || listen.ip().is_unspecified())
        }
    };
    // A free port is never the parent's.
    !proxy.any_port
        && proxy.listen.iter().any(|listen| listen.port() == parent.port && here(listen))
}
