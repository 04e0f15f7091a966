//! What is measured: an API that the user names, behind the user's own daemon, or an API and a
//! daemon of our own where none is named.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use super::road::{Road, Way};
use super::target::{self, BenchTarget};
use crate::admin::wire::SessionKind;
use crate::ca;
use crate::cli::args::{Bench, Purpose};
use crate::cli::context;
use crate::cli::demo::{pki, world::World};
use crate::cli::environment::Environment;
use crate::cli::failure::{Failure, chain};
use crate::cli::join::Stay;
use crate::cli::session;
use crate::model::reason::Reason;
use crate::net::roots::Roots;

/// Longer than any bench: no mint falls into it but the first.
const TOKEN_LIFE_S: u64 = 3600;

/// Both roads to one place.
pub(super) struct Scene {
    pub(super) place: Arc<BenchTarget>,
    pub(super) direct: Arc<Road>,
    pub(super) proxied: Arc<Road>,
    parts: Parts,
}

/// What is to be ended.
enum Parts {
    Own(Box<World>),
    Users(Box<session::ToolSession>),
}

impl Scene {
    /// An API, an issuer and a daemon of our own, on loopback.
    pub(super) async fn built_in() -> Result<Self, Failure> {
        let world = World::start(TOKEN_LIFE_S).await?;
        let place = BenchTarget::parse(&format!("https://{}/v1/orders", pki::HOST))?;
        let roots = read(&world.api_ca)?;
        let token = world.issuer.mint().unwrap_or_default();
        let mut direct = headers(&place)?;
        direct.insert(header::AUTHORIZATION, value(&format!("Bearer {token}"))?);
        let mut proxied = headers(&place)?;
        proxied.insert("x-api-key", value(&world.placeholder()?)?);
        Ok(Self {
            direct: Arc::new(Road {
                way: Way::Direct(vec![world.api.address]),
                tls: full_handshakes(&pki::client(&roots)?),
                headers: direct,
            }),
            proxied: Arc::new(through(&world.session.environment, proxied)?),
            place: Arc::new(place),
            parts: Parts::Own(Box::new(world)),
        })
    }

    /// The user's URL, config and daemon, started where none runs.
    pub(super) async fn of_user(
        url: &str,
        args: &Bench,
        explicit: Option<&Path>,
    ) -> Result<Self, Failure> {
        let place = BenchTarget::parse(url)?;
        let config = context::config(explicit)?;
        let addresses = place.addresses(&config)?;
        target::may_ask(&place, &addresses, args.yes_remote, args.most())?;
        let roots = Roots::load(&config.upstream.extra_roots, ca::is_ours)
            .map_err(|error| Failure::usage(error.code(), chain(&error), error.hint()))?;
        let tls = roots.single_use_tls().ready().await;
        let tls = tls.map_err(|error| {
            let reason = Reason::RootsUnread;
            Failure::failed(reason.code(), error.to_string(), reason.hint())
        })?;
        let open =
            session::begin(&config, Stay::WhileUsed, SessionKind::Run, &Purpose::default()).await?;
        open.say_warnings();
        Ok(Self {
            direct: Arc::new(Road { way: Way::Direct(addresses), tls, headers: headers(&place)? }),
            proxied: Arc::new(through(&open.environment, headers(&place)?)?),
            place: Arc::new(place),
            parts: Parts::Users(Box::new(open)),
        })
    }

    /// Ends the session, and the daemon where it was ours.
    pub(super) async fn end(self) -> Result<(), Failure> {
        match self.parts {
            Parts::Own(world) => world.end().await,
            Parts::Users(mut open) => open.close().await,
        }
    }
}

/// The road that a tool takes in this environment.
fn through(environment: &Environment, headers: HeaderMap) -> Result<Road, Failure> {
    let variable = |name: &str| {
        let value = environment.set.get(name);
        value.and_then(|value| value.to_str()).ok_or_else(|| {
            Failure::failed(
                "bench-broken-off",
                format!("the session's environment has no {name}"),
                "this is a mistake of ours: please report it",
            )
        })
    };
    let roots = read(Path::new(variable("SSL_CERT_FILE")?))?;
    Ok(Road {
        way: Road::proxied(variable("HTTPS_PROXY")?),
        tls: full_handshakes(&pki::client(&roots)?),
        headers,
    })
}

/// Without resumption: what is cold is to be cold.
fn full_handshakes(config: &Arc<ClientConfig>) -> TlsConnector {
    let mut config = ClientConfig::clone(config);
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

fn headers(place: &BenchTarget) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, value(&place.host_field())?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    // Some APIs refuse a request without it.
    headers.insert(header::USER_AGENT, HeaderValue::from_static("valetkey-bench"));
    Ok(headers)
}

fn value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|error| {
        Failure::failed(
            "bench-broken-off",
            chain(&error),
            "this is a mistake of ours: please report it",
        )
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::failed(
            "bench-broken-off",
            format!("cannot read {}: {}", path.display(), chain(&error)),
            "check the permissions of the state directory",
        )
    })
}
