//! The facts of `valetkey status`: what holds, what is held, how it fares; never a value.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::control::Daemon;
use super::{logins, observe, world};
use crate::admin::wire::{
    AuditStatus, CodeAt, CredentialStatus, DaemonStatus, DistrustStatus, MintError, RestartNeeded,
    RouteStatus, TokenStatus,
};
use crate::ca::Role;
use crate::config::{Config, Grant};
use crate::model::clock::rfc3339_seconds;
use crate::model::id::CredentialName;
use crate::proxy::{Distrust, World};

impl Daemon {
    pub(super) fn facts(&self) -> DaemonStatus {
        // First, and with nothing held: a keyring may take its time.
        let config = self.config().clone();
        let mut logins = logins::facts(
            &config,
            &self.proxy().world.load_full().logins,
            self.proxy().passage.clock.now().wall,
        );
        for login in &mut logins {
            login.step_up =
                self.proxy().step_ups.of(&CredentialName::new(login.credential.as_str()));
        }
        let world = self.proxy().world.load();
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            state: if self.is_stopping() { "stopping" } else { "running" }.into(),
            config: config.path.clone(),
            listen: self.began.listen.clone(),
            metrics: self.metrics().map(|address| address.to_string()),
            unmatched: world::unmatched(&world.terms.policy).into(),
            policy: world.terms.policy.hash().to_string(),
            generation: world.terms.generation,
            routes: routes(&config),
            credentials: self.credentials(&config),
            logins,
            tokens: self.tokens(),
            sessions: self.session_list(),
            revoked: self.revoked_facts(),
            distrust: self.proxy().handshakes.distrust().into_iter().map(distrust).collect(),
            connections: self.proxy().connections.load(Relaxed),
            requests: self.proxy().requests.load(Relaxed),
            audit: self.audit_facts(),
            restart: self.restart(&config),
            ca_ends: rfc3339_seconds(world.authority.ends()),
            ca_roots: world.authority.describe().roots.len(),
            ca_hint: outgrown(&world, &config),
            uptime_s: self.uptime().as_secs(),
        }
    }

    fn audit_facts(&self) -> AuditStatus {
        let health = self.proxy().passage.audit.health();
        AuditStatus {
            path: self.proxy().passage.audit.path().to_owned(),
            failing: health.failing,
            since: health.since.map(rfc3339_seconds),
            lost: health.lost,
        }
    }

    /// What was changed and takes effect at a start only, and what to type for that.
    fn restart(&self, config: &Config) -> Option<RestartNeeded> {
        let changed = self.began.outdated_by(config);
        let command = || self.restart_command();
        (!changed.is_empty()).then(|| RestartNeeded { changed, command: command() })
    }

    fn credentials(&self, config: &Config) -> Vec<CredentialStatus> {
        let remaining =
            observe::remaining(&self.proxy().passage.broker, &*self.proxy().passage.clock);
        let describe = |(name, credential): (_, &crate::config::Credential)| {
            let last = self.last_mints().of(name);
            let last = last.as_ref();
            let error = last.and_then(|mint| mint.error.map(|code| (code, mint)));
            CredentialStatus {
                name: name.to_string(),
                grant: credential.grant.name().into(),
                standing: matches!(credential.grant, Grant::StaticKey(_)).then_some(true),
                last_mint: last.map(|mint| code_at(mint.error.unwrap_or("ok"), mint.at)),
                last_error: error.map(|(code, mint)| MintError {
                    code: code.into(),
                    time: rfc3339_seconds(mint.at),
                    issuer: mint.said.as_deref().map(str::to_owned),
                }),
                remaining_s: remaining.get(name).map(Duration::as_secs),
            }
        };
        config.credentials.iter().map(describe).collect()
    }

    fn tokens(&self) -> Vec<TokenStatus> {
        let now = self.proxy().passage.clock.now().wall;
        let since = |time: SystemTime| now.duration_since(time).unwrap_or_default().as_secs();
        let until = |time: SystemTime| time.duration_since(now).unwrap_or_default().as_secs();
        let describe = |slot: &crate::broker::SlotStatus| {
            let token = slot.token.as_ref();
            TokenStatus {
                credential: slot.key.credential.to_string(),
                client: slot.key.client.to_string(),
                fingerprint: token.map(|token| token.fingerprint.to_string()),
                expires: token.map(|token| rfc3339_seconds(token.expires)),
                age_s: token.map(|token| since(token.minted)),
                remaining_s: token.map(|token| until(token.expires)),
                last_error: slot.last_error.map(|(code, at)| code_at(code, at)),
            }
        };
        self.proxy().passage.broker.status().iter().map(describe).collect()
    }
}

fn distrust(of: Distrust) -> DistrustStatus {
    DistrustStatus {
        exe: of.exe,
        times: of.times,
        host: of.host.to_string(),
        last: rfc3339_seconds(of.at),
        ends_others: of.ends_others,
    }
}

fn code_at(code: &str, at: SystemTime) -> CodeAt {
    CodeAt { code: code.into(), time: rfc3339_seconds(at) }
}

/// What would have spared the roots that routes have needed since the first one.
fn outgrown(world: &World, config: &Config) -> Option<String> {
    let roots = world.authority.describe().roots;
    let signing = roots.iter().filter(|root| root.role == Role::Current).count();
    let hosts = config.routes.iter().map(|route| route.value.host.as_str());
    if signing > 1 { world::spare(hosts, config) } else { None }
}

fn routes(config: &Config) -> Vec<RouteStatus> {
    let describe = |route: &crate::config::Route| RouteStatus {
        name: route.name.to_string(),
        host: route.host.clone(),
        port: route.port,
        credential: route.credential.as_ref().map(ToString::to_string),
        deny: route.deny,
    };
    config.routes.iter().map(|route| describe(&route.value)).collect()
}
