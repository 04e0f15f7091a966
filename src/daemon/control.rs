//! What the command line can ask of the daemon, and what a reload does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::last_mints::LastMints;
use super::reload::Seen;
use super::state::StateDir;
use crate::admin::{AdminError, Control, OpenSession, OpenedSession, SessionKind};
use crate::audit::Event;
use crate::ca::{Opened, Rotation};
use crate::client::session::{Kind, MAX_SESSIONS, NewSession, Session};
use crate::client::watch::Processes;
use crate::config::{Config, PlaceholderKind, Trigger};
use crate::model::client::{Client, ClientKey};
use crate::model::clock::rfc3339_seconds;
use crate::model::id::SessionName;
use crate::model::placeholder::Placeholder;
use crate::model::reason::Reason;
use crate::proxy::Proxy;
use crate::proxy::live::Selector;

/// The admin socket's way to the daemon.
pub(super) struct Handle(pub(super) Arc<Daemon>);

impl std::ops::Deref for Handle {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

/// The running daemon.
pub(super) struct Daemon {
    pub(super) proxy: Arc<Proxy>,
    config: Mutex<Config>,
    pub(super) seen: Mutex<Seen>,
    /// All of our listeners, for the guard; those of the proxy first.
    pub(super) own: Vec<SocketAddr>,
    sockets: Vec<PathBuf>,
    metrics: Option<SocketAddr>,
    state: StateDir,
    processes: Processes,
    last_mints: Arc<LastMints>,
    started: Instant,
}

impl Daemon {
    pub(super) fn new(
        proxy: Arc<Proxy>,
        config: Config,
        own: Vec<SocketAddr>,
        metrics: Option<SocketAddr>,
        state: StateDir,
        last_mints: Arc<LastMints>,
        started: Instant,
    ) -> Self {
        Self {
            proxy,
            seen: Mutex::new(Seen::of(&config)),
            sockets: config.proxy.sockets.clone(),
            config: Mutex::new(config),
            own,
            metrics,
            state,
            processes: Processes::default(),
            last_mints,
            started,
        }
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The proxy's own listeners.
    pub(super) fn listeners(&self) -> Vec<SocketAddr> {
        self.own.iter().copied().filter(|own| Some(*own) != self.metrics).collect()
    }

    /// Its unix sockets, as in config.
    pub(super) fn sockets(&self) -> impl Iterator<Item = String> {
        self.sockets.iter().map(|path| format!("unix:{}", path.display()))
    }

    /// Where scrapers are answered.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    pub(super) fn last_mints(&self) -> &LastMints {
        &self.last_mints
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reloads where the caller read another config than the one that is running.
    fn take_up(&self, digest: Option<&str>) -> Result<(), AdminError> {
        let Some(digest) = digest else { return Ok(()) };
        if self.config().digest != digest {
            self.reload(Trigger::Asked);
        }
        if self.config().digest == digest {
            return Ok(());
        }
        Err(AdminError {
            status: 409,
            code: "config-not-reloaded",
            detail: "the config was edited, and the daemon could not take it up".into(),
            hint: "its log says why: daemon.log in the state directory".into(),
        })
    }

    /// Ends sessions whose time is over and forgets tokens that ended.
    pub(super) fn sweep(&self) {
        for session in self.proxy.gate.sessions().sweep() {
            self.ended(&session);
        }
        for name in self.processes.ended() {
            self.end(&name);
        }
        self.proxy.broker.sweep();
        // Not beside a reload, or what the new world has let in would be judged by the old one.
        if let Ok(_config) = self.config.try_lock() {
            let world = self.proxy.world.load();
            self.proxy.broker.keep_only(&world.minters);
            self.proxy.live.sweep(&self.proxy.judge(&world));
        }
    }

    /// Whether someone uses this daemon: a session of `run` or `env`, or a connection.
    pub(super) fn is_busy(&self) -> bool {
        let used = |session: &Arc<Session>| session.kind() != Kind::Preshared;
        self.proxy.connections.load(Relaxed) > 0
            || self.proxy.gate.sessions().list().iter().any(used)
    }

    pub(super) fn maintain_ca(&self) {
        match self.proxy.world.load().authority.maintain() {
            Ok(Opened::Existing) => {}
            Ok(opened) => {
                tracing::info!("local CA: {opened:?}");
                self.proxy.audit.event(Event::ca("maintained")).ok();
            }
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the local CA goes on as it is in memory")
            }
        }
    }

    pub(super) fn save_sessions(&self) {
        self.state.save(self.proxy.gate.sessions());
    }

    pub(super) fn ended(&self, session: &Session) {
        self.processes.untie(session.name());
        self.proxy.broker.end_client(&ClientKey::Session(session.name().clone()));
        let its = Selector::Session(session.name().clone());
        self.proxy.live.end(&its, Reason::SessionEnded);
        let client =
            Client { session: Some(session.name().clone()), user: session.user(), uid: None };
        self.proxy.audit.event(Event::session("ended", &client, None)).ok();
        if session.kind() == Kind::Env {
            self.save_sessions();
        }
    }

    fn end(&self, name: &SessionName) -> bool {
        match self.proxy.gate.sessions().end(name) {
            Some(session) => {
                self.ended(&session);
                true
            }
            None => false,
        }
    }

    fn placeholders(config: &Config) -> BTreeMap<String, String> {
        let variables = config.routes.iter().flat_map(|route| &route.value.env);
        variables
            .map(|(name, kind)| match kind {
                PlaceholderKind::Opaque => (name.clone(), Placeholder::opaque().to_string()),
            })
            .collect()
    }
}

impl Control for Handle {
    fn status(&self) -> Value {
        self.facts()
    }

    fn open_session(&self, open: OpenSession) -> Result<OpenedSession, AdminError> {
        self.take_up(open.config.as_deref())?;
        let Some(proxy) = self.listeners().first().map(|address| format!("http://{address}"))
        else {
            return Err(AdminError {
                status: 409,
                code: "no-proxy-address",
                detail:
                    "the daemon listens on unix sockets only, and proxy variables name an address"
                        .into(),
                hint: "add \"127.0.0.1:0\" to proxy.listen, and start the daemon again".into(),
            });
        };
        let sessions = self.proxy.gate.sessions();
        if sessions.len() >= MAX_SESSIONS {
            return Err(AdminError {
                status: 503,
                code: "too-many-sessions",
                detail: format!("{MAX_SESSIONS} sessions are open"),
                hint: "`valetkey status` lists them".into(),
            });
        }
        let kind = match open.kind {
            SessionKind::Env => Kind::Env,
            SessionKind::Run => Kind::Run,
        };
        let lifetime = open.lifetime_s.map(Duration::from_secs);
        let (session, secret) =
            sessions.open(NewSession { kind, user: open.user.map(Into::into), lifetime });
        if let Some(pid) = open.pid {
            self.processes.tie(session.name().clone(), pid);
        }
        if kind == Kind::Env {
            self.save_sessions();
        }
        let client =
            Client { session: Some(session.name().clone()), user: session.user(), uid: None };
        self.proxy.audit.event(Event::session("opened", &client, session.until())).ok();
        let config = self.config();
        let secrets = config.secret_variables();
        Ok(OpenedSession {
            name: session.name().to_string(),
            secret: secret.into_text(),
            proxy,
            placeholders: Daemon::placeholders(&config),
            until: session.until().map(rfc3339_seconds),
            routed_hosts: config.routes.iter().map(|route| route.value.host.clone()).collect(),
            missing_env: secrets
                .iter()
                .filter(|name| std::env::var_os(name).is_none())
                .cloned()
                .collect(),
            remove_env: secrets,
            pid: std::process::id(),
            parent: self.proxy.world.load().dialer.parent().map(ToString::to_string),
            ca_pem: self.proxy.world.load().authority.roots_pem(),
        })
    }

    fn end_session(&self, name: &str) -> Result<(), AdminError> {
        if self.end(&SessionName::new(name)) {
            return Ok(());
        }
        Err(AdminError {
            status: 404,
            code: "unknown-session",
            detail: "there is no such session".into(),
            hint: "`valetkey status` lists them".into(),
        })
    }

    fn ca(&self) -> Value {
        let description = self.proxy.world.load().authority.describe();
        serde_json::to_value(description).unwrap_or_default()
    }

    fn rotate_ca(&self, compromised: bool) -> Result<Value, AdminError> {
        let rotation = if compromised { Rotation::Compromised } else { Rotation::Planned };
        let world = self.proxy.world.load();
        world.authority.rotate(rotation).map_err(|error| AdminError {
            status: 500,
            code: error.code(),
            detail: error.to_string(),
            hint: error.hint().into(),
        })?;
        tracing::info!("local CA: rotated");
        self.proxy
            .audit
            .event(Event::ca(if compromised { "rotated, compromised" } else { "rotated" }))
            .ok();
        Ok(self.ca())
    }
}
