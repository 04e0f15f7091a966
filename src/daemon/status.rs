//! The facts of `valetkey status`: what holds, what is held, how it fares; never a value.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::control::Daemon;
use super::{logins, observe, world};
use crate::ca::Role;
use crate::config::{Config, Grant};
use crate::model::clock::rfc3339_seconds;
use crate::model::id::CredentialName;
use crate::proxy::World;

impl Daemon {
    /// All of it.
    pub(super) fn facts(&self) -> Value {
        // First, and with nothing held: a keyring may take its time.
        let config = self.config().clone();
        let mut logins = logins::facts(
            &config,
            &self.proxy().world.load_full().logins,
            self.proxy().passage.clock.now().wall,
        );
        for login in &mut logins {
            let credential = login["credential"].as_str().map(CredentialName::new);
            login["step_up"] = credential.and_then(|name| self.proxy().step_ups.of(&name)).into();
        }
        let world = self.proxy().world.load();
        let health = self.proxy().passage.audit.health();
        let metrics = self.metrics();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "state": if self.is_stopping() { "stopping" } else { "running" },
            "config": config.path,
            "listen": self.began.listen,
            "metrics": metrics.map(|address| address.to_string()),
            "unmatched": world::unmatched(&world.terms.policy),
            "policy": world.terms.policy.hash(),
            "generation": world.terms.generation,
            "routes": routes(&config),
            "credentials": self.credentials(&config),
            "logins": logins,
            "tokens": self.tokens(),
            "sessions": self.session_list(),
            "revoked": self.revoked_facts(),
            "connections": self.proxy().connections.load(Relaxed),
            "requests": self.proxy().requests.load(Relaxed),
            "audit": {
                "path": self.proxy().passage.audit.path(),
                "failing": health.failing,
                "since": health.since.map(rfc3339_seconds),
                "lost": health.lost,
            },
            "restart": self.restart(&config),
            "ca_ends": rfc3339_seconds(world.authority.ends()),
            "ca_roots": world.authority.describe().roots.len(),
            "ca_hint": outgrown(&world, &config),
            "uptime_s": self.uptime().as_secs(),
        })
    }

    /// What was changed and takes effect at a start only, and what to type for that.
    fn restart(&self, config: &Config) -> Value {
        let outdated = self.began.outdated_by(config);
        if outdated.is_empty() {
            return Value::Null;
        }
        json!({ "changed": outdated, "command": self.restart_command() })
    }

    fn credentials(&self, config: &Config) -> Vec<Value> {
        let remaining =
            observe::remaining(&self.proxy().passage.broker, &*self.proxy().passage.clock);
        let describe = |(name, credential): (_, &crate::config::Credential)| {
            let last = self.last_mints().of(name);
            let last = last.as_ref();
            let error = last.and_then(|mint| mint.error.map(|code| (code, mint)));
            json!({
                "name": name,
                "grant": credential.grant.name(),
                "standing": matches!(credential.grant, Grant::StaticKey(_)).then_some(true),
                "last_mint": last.map(|mint| json!({
                    "code": mint.error.unwrap_or("ok"),
                    "time": rfc3339_seconds(mint.at),
                })),
                "last_error": error
                    .map(|(code, mint)| json!({
                        "code": code, "time": rfc3339_seconds(mint.at), "issuer": mint.said,
                    })),
                "remaining_s": remaining.get(name).map(Duration::as_secs),
            })
        };
        config.credentials.iter().map(describe).collect()
    }

    fn tokens(&self) -> Vec<Value> {
        let now = self.proxy().passage.clock.now().wall;
        let since = |time: SystemTime| now.duration_since(time).unwrap_or_default().as_secs();
        let until = |time: SystemTime| time.duration_since(now).unwrap_or_default().as_secs();
        (self.proxy().passage.broker.status().iter())
            .map(|slot| {
                let token = slot.token.as_ref();
                json!({
                    "credential": slot.key.credential,
                    "client": slot.key.client.to_string(),
                    "fingerprint": token.map(|token| token.fingerprint.to_string()),
                    "expires": token.map(|token| rfc3339_seconds(token.expires)),
                    "age_s": token.map(|token| since(token.minted)),
                    "remaining_s": token.map(|token| until(token.expires)),
                    "last_error": slot.last_error.map(|(code, at)| {
                        json!({ "code": code, "time": rfc3339_seconds(at) })
                    }),
                })
            })
            .collect()
    }
}

/// What would have spared the roots that routes have needed since the first one.
fn outgrown(world: &World, config: &Config) -> Option<String> {
    let roots = world.authority.describe().roots;
    let signing = roots.iter().filter(|root| root.role == Role::Current).count();
    let hosts = config.routes.iter().map(|route| route.value.host.as_str());
    if signing > 1 { world::spare(hosts, config) } else { None }
}

fn routes(config: &Config) -> Vec<Value> {
    (config.routes.iter())
        .map(|route| {
            json!({
                "name": route.value.name,
                "host": route.value.host,
                "port": route.value.port,
                "credential": route.value.credential,
                "deny": route.value.deny,
            })
        })
        .collect()
}
