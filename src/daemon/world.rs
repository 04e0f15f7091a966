//! From a config to a [`World`], at the start and at every reload. What a reload didn't change is
//! carried over, tokens included.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::error::Error;
use super::{parents, workers};
use crate::audit::{Audit, Event};
use crate::broker::Minters;
use crate::ca::{self, Authority, Opened};
use crate::client::session::{Preshared, Session, Sessions};
use crate::client::{Gate, Rules};
use crate::config::problem::Severity;
use crate::config::{Config, SecretSource, Unmatched};
use crate::limits::Rates;
use crate::mint;
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::secret::Secret;
use crate::net::client::Client;
use crate::net::dial::Dialer;
use crate::net::guard::Guard;
use crate::net::roots::Roots;
use crate::passage::Terms;
use crate::policy::Policy;
use crate::proxy::World;
use crate::store;
use crate::store::logins::Logins;
use crate::telemetry::metrics::Metrics;

/// The least that a pre-shared secret may have, in bytes.
const MIN_SESSION_SECRET: usize = 16;

/// What is running, as far as a reload carries it over.
pub(super) struct Current<'a> {
    pub(super) world: &'a World,
    pub(super) config: &'a Config,
    /// Whether the files that `[upstream]` names hold what they held.
    pub(super) alike: bool,
}

impl Current<'_> {
    /// Whether a credential mints as before: its own entry and how issuers are reached.
    pub(super) fn unchanged(&self, config: &Config, name: &CredentialName) -> bool {
        let entry = |config: &Config| {
            config.credentials.get(name).map(|c| format!("{:?} {:?}", c.grant, c.ttl))
        };
        let reached = |config: &Config| format!("{:?}", config.upstream);
        self.alike && entry(config) == entry(self.config) && reached(config) == reached(self.config)
    }
}

/// Builds a world. `before`: what is running, for a reload.
pub(super) fn build(
    config: &Config,
    own: &[SocketAddr],
    before: Option<Current<'_>>,
    clock: &Arc<dyn Clock>,
    audit: &Audit,
) -> Result<World, Error> {
    let (policy, warnings) = Policy::compile(config).map_err(Error::Policy)?;
    for warning in warnings.iter().filter(|p| p.severity == Severity::Warning) {
        tracing::warn!(
            line = warning.line,
            code = warning.code,
            hint = warning.hint,
            "{}",
            warning.message
        );
    }
    let authority = authority(config, &policy, clock, audit, before.is_some())?;
    let roots = Arc::new(Roots::load(&config.upstream.extra_roots, ca::is_ours)?);
    let guard = Guard::new(config.upstream.allow_private.clone(), own.to_vec());
    let parents = parents::build(&config.upstream, &roots, &guard)?;
    // The process has as many descriptors after a reload as before.
    let budget = match &before {
        Some(before) => Arc::clone(before.world.dialer.budget()),
        None => Arc::new(workers::Descriptors::split().budget()),
    };
    let dialer = Dialer::new(config.upstream.resolve.clone(), guard).through(parents);
    let dialer = dialer.within(budget);
    // What is under way through a parent must be known after a reload too.
    let dialer = match &before {
        Some(before) => dialer.known_as(before.world.dialer.pseudonym().clone()),
        None => dialer,
    };
    let dialer = Arc::new(dialer);
    let issuers = Arc::new(Client::new(Arc::clone(&dialer), &roots));
    let logins = match &before {
        Some(before) => Arc::clone(&before.world.logins),
        None => Arc::new(Logins::new(&config.logins)),
    };
    let minters: Minters = config
        .credentials
        .iter()
        .map(|(name, credential)| {
            let same = before.as_ref().filter(|before| before.unchanged(config, name));
            let kept = same.and_then(|before| before.world.terms.minters.get(name).cloned());
            let build = || mint::build(name, credential, &issuers, &logins, clock);
            (name.clone(), kept.unwrap_or_else(build))
        })
        .collect();
    let generation = before.map_or(0, |before| before.world.terms.generation + 1);
    let rules = Rules::from(&config.proxy);
    let rates = Rates::from(&config.limits);
    let terms = Terms { policy, rules, minters, rates, generation };
    Ok(World { terms, logins, authority, dialer, roots })
}

/// How issuers are reached, for a command that speaks to one itself.
pub fn issuers(config: &Config) -> Result<Arc<Client>, Error> {
    let roots = Roots::load(&config.upstream.extra_roots, ca::is_ours)?;
    let guard = Guard::new(config.upstream.allow_private.clone(), config.proxy.listen.clone());
    let parents = parents::build(&config.upstream, &roots, &guard)?;
    let dialer = Dialer::new(config.upstream.resolve.clone(), guard).through(parents);
    Ok(Arc::new(Client::new(Arc::new(dialer), &roots)))
}

/// The CA for all names that routes and `permit` name; what was made anew is said aloud.
fn authority(
    config: &Config,
    policy: &Policy,
    clock: &Arc<dyn Clock>,
    audit: &Audit,
    running: bool,
) -> Result<Arc<Authority>, Error> {
    let mut names: Vec<Arc<str>> =
        policy.routes().map(|route| Arc::from(route.host.subtree())).collect();
    names.extend(config.ca.permit.iter().map(|name| Arc::from(name.as_str())));
    names.sort();
    names.dedup();
    let open = if running { Authority::reopen } else { Authority::open };
    let (authority, opened) =
        open(&ca_dir(&config.state_dir), &config.ca, &names, Arc::clone(clock))?;
    let action = match &opened {
        Opened::Existing => return Ok(Arc::new(authority)),
        Opened::Created => "created",
        Opened::Expired => "expired and made anew",
        Opened::Outgrown { missing } => {
            tracing::warn!(
                hint = spare(missing.iter().map(|name| &**name), config),
                "routes outgrew the local CA ({}): one more root is in the bundles. Tools that have read theirs keep the hosts that they had",
                missing.join(", ")
            );
            "outgrown, one more made"
        }
        Opened::Prepared => "successor prepared",
        Opened::Rescoped => "made anew for another scope",
        Opened::Succeeded => "succeeded",
    };
    tracing::info!("local CA: {action}");
    audit.event(Event::ca(action))?;
    Ok(Arc::new(authority))
}

/// What to type so that the next new host needs no new root; nothing where no name of these can
/// have it so.
pub fn spare<'a>(hosts: impl IntoIterator<Item = &'a str>, config: &Config) -> Option<String> {
    let all = ca::sparing(hosts).into_iter().chain(config.ca.permit.iter().cloned());
    let all: BTreeSet<String> = all.collect();
    if all.len() == config.ca.permit.len() {
        return None;
    }
    let names: Vec<_> = all.iter().map(|name| format!("{name:?}")).collect();
    Some(format!("`permit = [{}]` under [ca] spares the next one", names.join(", ")))
}

/// `<state_dir>/ca`
pub(super) fn ca_dir(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("ca")
}

/// The pre-shared sessions of a config, their secrets read.
pub(super) struct SharedSessions(Vec<Preshared>);

impl SharedSessions {
    pub(super) fn read(config: &Config) -> Result<Self, Error> {
        let read = config.sessions.iter().map(|session| {
            Ok(Preshared {
                name: session.name.clone(),
                secret: secret(session.name.as_str(), &session.secret)?,
                routes: session.routes.clone(),
                uid: session.uid,
            })
        });
        read.collect::<Result<_, _>>().map(Self)
    }

    /// Ends those that are no longer the same; before the new policy holds, which is not for them.
    pub(super) fn withdraw(&self, sessions: &Sessions) -> Vec<Arc<Session>> {
        sessions.keep_preshared(|live| self.0.iter().any(|shared| live.is(shared)))
    }

    /// Puts them in, but for those that were revoked; after the new policy holds, for the old one
    /// did not know them.
    pub(super) fn share(&self, gate: &Gate) {
        let revoked =
            |shared: &&Preshared| gate.revoked().has_session(&shared.name, &shared.secret.sha256());
        for shared in self.0.iter().filter(|shared| !revoked(shared)) {
            gate.sessions().preshare(shared);
        }
    }
}

fn secret(session: &str, source: &SecretSource) -> Result<Secret, Error> {
    let secret = store::read(source)
        .map_err(|source| Error::SessionSecret { session: session.to_owned(), source })?;
    if secret.len() < MIN_SESSION_SECRET {
        return Err(Error::SessionSecretShort { session: session.to_owned() });
    }
    Ok(secret)
}

/// What is counted from now on: by these routes and credentials.
pub(super) fn count(config: &Config, metrics: &Metrics) {
    let routes = config.routes.iter().map(|route| &route.value.name);
    metrics.loaded(routes, config.credentials.keys());
}

/// As in config, for `status`.
pub(super) fn unmatched(policy: &Policy) -> &'static str {
    match policy.unmatched() {
        Unmatched::Deny => "deny",
        Unmatched::Tunnel => "tunnel",
    }
}
