//! The single tables: sessions, ca, upstream, audit, admin, credentials.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::Check;
use super::proxy::check_socket_path;
use crate::config::problem::{Located, Problems};
use crate::config::wording::{meant, named};
use crate::config::{Admin, Audit, Ca, Network, PresharedSession, Route, Upstream, file};
use crate::model::host::Host;
use crate::model::id::{RouteName, SessionName};
use crate::model::target::Target;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Check<'_> {
    pub(super) fn check_sessions(
        &self,
        list: Vec<(file::SessionTable, usize)>,
        routes: &[Located<Route>],
        problems: &mut Problems,
    ) -> Vec<PresharedSession> {
        let mut names = BTreeSet::new();
        let mut sessions = Vec::new();
        for (session, line) in list {
            self.name(session.name.get_ref(), self.line(&session.name), "session", problems);
            if !names.insert(session.name.get_ref().clone()) {
                problems.error(line, "duplicate-name", "two sessions have this name", "rename one");
            }
            let allowed = session.routes.map(|names| {
                let line = self.line(&names);
                let names: Vec<_> = names.into_inner().into_iter().map(RouteName::new).collect();
                for name in names.iter().filter(|n| !routes.iter().any(|r| r.value.name == **n)) {
                    let message = format!("`routes` names one that there is not: `{name}`");
                    let all = routes.iter().map(|route| route.value.name.as_str());
                    let hint =
                        format!("{}add the route or correct the name", meant(name.as_str(), all));
                    problems.error(line, "unknown-route", message, hint);
                }
                names
            });
            let Some(secret) = self.secret(session.secret, line, problems) else { continue };
            sessions.push(PresharedSession {
                name: SessionName::new(session.name.into_inner()),
                secret,
                routes: allowed,
                uid: session.uid,
                line,
            });
        }
        sessions
    }

    pub(super) fn check_ca(&self, table: file::CaTable, problems: &mut Problems) -> Ca {
        let mut permit = Vec::new();
        for name in table.permit {
            let line = self.line(&name);
            match Host::parse(name.get_ref()) {
                Ok(Host::Name(name)) if is_registry(&name) => {
                    let message = format!("`permit` names a whole registry of names: `{name}`");
                    let hint = "whoever gets the CA's key could be any site below it: name the domains that are meant";
                    problems.error(line, "permit-public-suffix", message, hint);
                }
                Ok(Host::Name(name)) => permit.push(name.to_string()),
                _ => problems.error(
                    line,
                    "bad-host",
                    format!("`permit` takes DNS names{}", named(name.get_ref())),
                    "for example \"example.com\"",
                ),
            }
        }
        let lifetime = self.duration(table.lifetime, 30 * DAY, 3600, problems);
        let leaf_lifetime = self.duration(table.leaf_lifetime, DAY, 60, problems);
        let unconstrained = table.scope == Some(file::CaScope::Any);
        if unconstrained {
            let hint = "whoever gets its key can impersonate any site to you; prefer the default and `permit`";
            problems.warn(
                0,
                "ca-unconstrained",
                "`ca.scope` is \"any\": the CA may sign any name",
                hint,
            );
        }
        let leaf_lifetime = leaf_lifetime.min(lifetime);
        let publish = table.publish.map(|path| self.beside_config(path));
        Ca { unconstrained, permit, lifetime, leaf_lifetime, publish }
    }

    /// A duration of at least `least` seconds and at most ten years.
    pub(super) fn duration(
        &self,
        value: Option<Spanned<String>>,
        default: Duration,
        least: u64,
        problems: &mut Problems,
    ) -> Duration {
        let Some(value) = value else { return default };
        let line = self.line(&value);
        parse_duration(value.get_ref(), least).unwrap_or_else(|message| {
            let message = format!("{message}{}", named(value.get_ref()));
            problems.error(line, "bad-duration", message, "for example \"5m\", \"24h\" or \"30d\"");
            default
        })
    }

    pub(super) fn check_upstream(
        &self,
        table: file::UpstreamTable,
        problems: &mut Problems,
    ) -> Upstream {
        let mut upstream = Upstream::default();
        for path in table.extra_roots {
            upstream.extra_roots.push(self.held(self.beside_config(path)));
        }
        for text in table.allow_private {
            let line = self.line(&text);
            match Network::parse(text.get_ref()) {
                Some(network) => upstream.allow_private.push(network),
                None => problems.error(
                    line,
                    "bad-network",
                    format!("`allow_private` takes CIDR networks{}", named(text.get_ref())),
                    "for example \"10.20.0.0/16\"",
                ),
            }
        }
        for (name, address) in table.resolve {
            let line = self.line(&name);
            let target =
                Target::parse(name.get_ref(), None).ok().filter(|t| t.host.name().is_some());
            let pair = format!("{} = {}", name.get_ref(), address.get_ref());
            let address = address.get_ref().parse::<SocketAddr>();
            let (Some(target), Ok(address)) = (target, address) else {
                let hint = "for example \"api.orders.example:443\" = \"127.0.0.1:9443\"";
                problems.error(
                    line,
                    "bad-resolve",
                    format!("`resolve` takes \"NAME:PORT\" = \"IP:PORT\"{}", named(&pair)),
                    hint,
                );
                continue;
            };
            let message =
                format!("{target} is pinned to {address}, exempt from the guard and from DNS");
            problems.warn(
                line,
                "pinned-name",
                message,
                "take the entry out once it is no longer needed",
            );
            upstream.resolve.insert(target, address);
        }
        upstream.parent = table.parent.and_then(|parent| self.check_parent(parent, problems));
        upstream.no_proxy = self.check_no_proxy(table.no_proxy, problems);
        upstream
    }

    pub(super) fn check_audit(&self, table: file::AuditTable, problems: &mut Problems) -> Audit {
        let path = table.path.unwrap_or_else(|| PathBuf::from("audit.jsonl"));
        let mut max_size = 64 * 1024 * 1024;
        if let Some(text) = table.max_size {
            match text.get_ref().parse::<bytesize::ByteSize>() {
                Ok(size) if size.as_u64() >= 64 * 1024 => max_size = size.as_u64(),
                _ => problems.error(
                    self.line(&text),
                    "bad-size",
                    format!("`max_size` takes a size of at least 64KiB{}", named(text.get_ref())),
                    "for example \"64MiB\"",
                ),
            }
        }
        let mut keep = 16;
        if let Some(value) = table.keep {
            keep = *value.get_ref();
            if !(1..=10_000).contains(&keep) {
                problems.error(
                    self.line(&value),
                    "bad-number",
                    format!("`keep` must be from 1 to 10000: `{keep}`"),
                    "for example 16",
                );
            }
        }
        let continue_on_failure = table.on_failure == Some(file::OnFailure::Continue);
        if continue_on_failure {
            let hint =
                "requests will get tokens without a record while the disk is full; prefer \"deny\"";
            problems.warn(0, "audit-optional", "`audit.on_failure` is \"continue\"", hint);
        }
        Audit { path: self.state_dir.join(path), continue_on_failure, max_size, keep }
    }

    pub(super) fn check_admin(&self, table: file::AdminTable, problems: &mut Problems) -> Admin {
        let socket =
            self.state_dir.join(table.socket.unwrap_or_else(|| PathBuf::from("admin.sock")));
        let hint = "set a shorter VALETKEY_STATE_DIR or admin.socket";
        check_socket_path(&socket, 0, hint, problems);
        let metrics = table.metrics.and_then(|value| self.metrics(&value, problems));
        Admin { socket, metrics }
    }

    fn metrics(&self, value: &Spanned<String>, problems: &mut Problems) -> Option<SocketAddr> {
        let line = self.line(value);
        let Ok(address) = value.get_ref().parse::<SocketAddr>() else {
            let hint = "for example \"127.0.0.1:9383\"; port 0 takes a free one";
            let message = format!("`metrics` takes IP:PORT{}", named(value.get_ref()));
            problems.error(line, "bad-address", message, hint);
            return None;
        };
        if !address.ip().is_loopback() {
            let hint = "nobody is asked who they are there, and names of routes and credentials can be read; prefer 127.0.0.1";
            let message = "`admin.metrics` is reachable from other machines";
            problems.warn(line, "metrics-beyond-loopback", message, hint);
        }
        Some(address)
    }
}

/// `com`, `co.uk`: a suffix below which anybody can have a name, by the public suffix list. A name
/// of one label that the list does not know (`internal`, `localhost`) is somebody's own.
fn is_registry(name: &str) -> bool {
    psl2::lookup(name).is_some_and(|found| found.is_known() && found.is_public_suffix())
}

pub(super) fn parse_duration(text: &str, least: u64) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|_| "this is not a duration".to_owned())?;
    if !(Duration::from_secs(least)..=3650 * DAY).contains(&duration) {
        return Err(format!("a duration here is at least {least} seconds and at most ten years"));
    }
    Ok(duration)
}
