//! The same decisions inside a hudsucker 0.25 proxy (cargo feature `hudsucker`).
//!
//! [`Parts`] are policy, broker, audit and CA of one config; [`Handler`] is hudsucker's
//! `HttpHandler` over them, [`Leaves`] its `CertificateAuthority`, [`Connector`] its way upstream.
//! `examples/hudsucker.rs` puts them together. It is for those who have a hudsucker proxy already,
//! and a baseline in the benches.
//!
//! # What holds
//!
//! Admission, and all that [`crate::passage`] does: CONNECT and inner authority are one name (421
//! otherwise), policy and rates on every request, placeholders that choose a route, one mint for
//! all who wait, no token without its audit record, owned slots emptied, every live token of the
//! client and host masked in an answer, its body and trailers included, cookies and `alt-svc` taken
//! out of it. The guard and TLS verification towards upstreams.
//!
//! # What it cannot enforce
//!
//! hudsucker decides these by itself, before or after anything of ours is asked:
//!
//! - A tunnel to a routed host whose first bytes are no TLS record, or whose ClientHello comes in pieces of
//!   less than two bytes, is copied to the host as it is, past every handler (I2: no token goes in, but nothing is judged).
//! - An SNI that differs from CONNECT is not refused: the leaf is for the SNI. Requests inside are still held to CONNECT's name.
//! - Ambiguous framing that hyper resolves by itself is not seen (I3); fields are re-serialised, so nothing is smuggled on.
//! - Upstream connections are pooled by origin alone, not by client and credential (I7).
//! - A 401 is not tried again, and no nonce of DPoP is heeded. The audit counts the answer's bytes, not the request's;
//!   `[limits] body` holds where a request says its length.
//! - Nothing has a timeout, no bound on connections, an ended session ends at its next request (I8, I11).
//! - hudsucker dials opaque tunnels itself, past the guard: so hosts that no route names are refused here,
//!   whatever `unmatched` says. Upgrades are refused, WebSockets too: it answers them before the upstream does.
//! - `upstream.parent` is refused when the parts are opened, and a parent of the environment is not gone through.
//! - It has no reload: a changed config needs new parts and a new proxy.

mod answer;
mod connector;
mod handler;
mod recorded;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ::hudsucker::certificate_authority::CertificateAuthority;
use http::uri::Authority as UriAuthority;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::runtime::Handle;

use crate::audit::{Audit, AuditError, Event};
use crate::broker::{Broker, Minters};
use crate::ca::{self, Alpn, Authority, CaError};
use crate::client::session::Sessions;
use crate::client::{Gate, Rules};
use crate::config::Config;
use crate::config::problem::Problem;
use crate::limits::Rates;
use crate::mint;
use crate::model::clock::{Clock, SystemClock};
use crate::model::target::Target;
use crate::net::client::Client;
use crate::net::dial::Dialer;
use crate::net::guard::Guard;
use crate::net::roots::{Roots, RootsError};
use crate::passage::{Passage, Terms};
use crate::policy::Policy;
use crate::store::logins::Logins;

pub use connector::{ConnectError, Connector, Stream};
pub use handler::Handler;

/// Everything that a config decides.
pub struct Parts {
    passage: Passage,
    terms: Terms,
    authority: Arc<Authority>,
    dialer: Dialer,
    roots: Roots,
}

/// Why there are no parts.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The audit cannot be opened, or another process holds it.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The CA cannot be opened or made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A parent proxy is configured, which the adapter does not go through: it would dial past it.
    #[error(
        "`upstream.parent` has no effect inside hudsucker: take it out, or run `valetkey serve`"
    )]
    Parent,
    /// Routes contradict each other.
    #[error("the routes have {} problems", .0.len())]
    Policy(Vec<Problem>),
    /// The roots for upstreams cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// No TLS of ours can be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl OpenError {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Audit(error) => error.code(),
            Self::Ca(error) => error.code(),
            Self::Parent => "adapter-parent",
            Self::Policy(_) => "config-invalid",
            Self::Roots(error) => error.code(),
            Self::Tls(_) => "tls-unavailable",
        }
    }
}

impl Parts {
    /// Opens the state of a config; `own`: where the proxy listens. Pre-shared sessions of the
    /// config are not read: clients are admitted by their uid. Must be called inside a runtime, on
    /// which mints will run.
    pub fn open(config: &Config, own: &[SocketAddr]) -> Result<Arc<Self>, OpenError> {
        if config.upstream.parent.is_some() {
            return Err(OpenError::Parent);
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let policy = Policy::compile(config).map_err(OpenError::Policy)?.0;
        let (audit, _) = Audit::open(&config.audit, &config.state_dir, Arc::clone(&clock))?;
        let audit = Arc::new(audit);
        let mut names: Vec<Arc<str>> =
            policy.routes().map(|route| Arc::from(route.host.subtree())).collect();
        names.extend(config.ca.permit.iter().map(|name| Arc::from(name.as_str())));
        names.sort();
        names.dedup();
        let ca = ca_dir(&config.state_dir);
        let (authority, _) = Authority::open(&ca, &config.ca, &names, Arc::clone(&clock))?;
        let roots = Roots::load(&config.upstream.extra_roots, ca::is_ours)?;
        let guard = Guard::new(config.upstream.allow_private.clone(), own.to_vec());
        let dialer = Dialer::new(config.upstream.resolve.clone(), guard.clone());
        let issuers = Dialer::new(config.upstream.resolve.clone(), guard);
        let issuers = Arc::new(Client::new(Arc::new(issuers), &roots));
        let logins = Arc::new(Logins::new(&config.logins));
        let minters: Minters = (config.credentials.iter())
            .map(|(name, credential)| {
                (name.clone(), mint::build(name, credential, &issuers, &logins, &clock))
            })
            .collect();
        let recorded = Arc::clone(&audit);
        let on_mint = Arc::new(move |report: &crate::broker::MintReport<'_>| {
            let credential = &report.key.credential;
            let event = match report.result {
                Ok(token) => Event::minted(credential, token),
                Err(error) => Event::mint_failed(credential, error.reason()),
            };
            // A full disk stops injection at the decision; the mint itself harms nobody.
            recorded.event(event).ok();
        });
        let broker = Broker::new(Arc::clone(&clock), Handle::current(), on_mint);
        audit.event(Event::config("loaded", Some(policy.hash())))?;
        let gate = Arc::new(Gate::new(Arc::new(Sessions::new(Arc::clone(&clock)))));
        Ok(Arc::new(Self {
            passage: Passage::new(gate, Arc::new(broker), audit, clock, String::new()),
            terms: Terms {
                policy,
                rules: Rules::from(&config.proxy),
                minters,
                rates: Rates::from(&config.limits),
                generation: 0,
            },
            authority: Arc::new(authority),
            dialer,
            roots,
        }))
    }

    /// PEM of the roots that clients have to trust.
    pub fn roots_pem(&self) -> String {
        self.authority.roots_pem()
    }

    /// Writes what is pending in the audit and renews its head; to be called about twice a second.
    /// It syncs the disk: from a thread that may block.
    pub fn flush(&self) -> Result<(), AuditError> {
        self.passage.sweep();
        self.passage.audit.flush()
    }
}

fn ca_dir(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("ca")
}

/// hudsucker's `CertificateAuthority`: our leaves, within our constraints. It may not refuse, so a
/// name outside them gets a TLS configuration without a certificate, and the handshake fails.
pub struct Leaves {
    authority: Arc<Authority>,
    none: Arc<ServerConfig>,
}

impl Leaves {
    /// Those of these parts.
    pub fn new(parts: &Parts) -> Result<Self, OpenError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let none = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        Ok(Self { authority: Arc::clone(&parts.authority), none: Arc::new(none) })
    }
}

impl CertificateAuthority for Leaves {
    async fn gen_server_config(&self, authority: &UriAuthority) -> Arc<ServerConfig> {
        let target = Target::parse(authority.as_str(), Some(443)).ok();
        let name = target.as_ref().and_then(|target| target.host.name());
        let config = name.map(|name| self.authority.server_config(name, Alpn::Both));
        match config {
            Some(Ok(config)) => config,
            Some(Err(error)) => {
                tracing::warn!(%authority, code = error.code(), "no leaf: {error}");
                Arc::clone(&self.none)
            }
            None => Arc::clone(&self.none),
        }
    }
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
