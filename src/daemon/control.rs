//! What the command line can ask of the daemon, and what a reload does.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::last_mints::LastMints;
use super::seen::SeenConfig;
use super::state::StateDir;
use crate::admin::wire::{
    AdminError, CountedSession, DaemonStatus, Ended, ListedSession, Login, OpenSession,
    OpenedSession, Revoke, Rotated, Who,
};
use crate::admin::{Caller, Control, Hold};
use crate::audit::Event;
use crate::broker::SlotKey;
use crate::ca::{Description, Opened, Rotation};
use crate::client::session::{Kind, Session};
use crate::client::watch::Processes;
use crate::config::Config;
use crate::config::index::Whereabouts;
use crate::local::process;
use crate::model::clock::rfc3339_seconds;
use crate::model::lock::lock;
use crate::proxy::{Proxy, Stop, World};

/// The admin socket's way to the daemon.
pub(super) struct Handle(pub(super) Arc<Daemon>);

impl std::ops::Deref for Handle {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

pub(super) struct Daemon {
    pub(super) proxy: Arc<Proxy>,
    config: Mutex<Config>,
    pub(super) seen: Mutex<SeenConfig>,
    /// All of our listeners, for the guard; those of the proxy first.
    pub(super) own: Vec<SocketAddr>,
    /// How many of them are the proxy's own, that a client can be told of.
    listening: usize,
    /// What it began with, and where it is found.
    pub(super) began: Whereabouts,
    metrics: Option<SocketAddr>,
    pub(super) state: StateDir,
    pub(super) processes: Processes,
    /// As it was started: asked where nothing may wait for a reload.
    who: Who,
    /// Whether the sessions on disk are not those that there are.
    pub(super) unsaved: AtomicBool,
    last_mints: Arc<LastMints>,
    started: Instant,
    /// Somebody has logged in or out.
    pub(super) logins_changed: Notify,
    /// Somebody wants it to end.
    pub(super) stop_asked: Notify,
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
        let processes = Processes::default();
        state.restore_processes(&processes);
        let listening = config.proxy.listen.len();
        let sockets = config.proxy.sockets.iter().map(|path| format!("unix:{}", path.display()));
        let began = Whereabouts {
            pid: std::process::id(),
            began: process::began(std::process::id()).unwrap_or_default(),
            since: rfc3339_seconds(proxy.passage.clock.now().wall),
            listen: own.iter().take(listening).map(ToString::to_string).chain(sockets).collect(),
            ..Whereabouts::of(&config)
        };
        Self {
            proxy,
            began,
            seen: Mutex::new(SeenConfig::of(&config)),
            listening,
            who: Who {
                config: config.named.clone(),
                path: config.path.clone(),
                pid: std::process::id(),
            },
            config: Mutex::new(config),
            own,
            metrics,
            state,
            processes,
            unsaved: AtomicBool::new(false),
            last_mints,
            started,
            logins_changed: Notify::new(),
            stop_asked: Notify::new(),
        }
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    pub(super) fn listeners(&self) -> Vec<SocketAddr> {
        self.own.iter().copied().take(self.listening).collect()
    }

    /// Writes down where it is, for whoever manages it without its config.
    pub(super) fn enter(&self, ends_idle: bool) {
        let entry = Whereabouts { ends_idle, ..self.began.clone() };
        if let Err(error) = entry.write() {
            tracing::warn!(%error, "the index of daemons cannot be written: `ps` does not show this one");
        }
    }

    /// Writes down that it is gone, as long as nothing else has been written: nobody is to look for
    /// it.
    pub(super) fn leave(&self) {
        let known = Whereabouts::find(&self.who.config);
        let Some(entry) = known.filter(|entry| entry.pid == std::process::id()) else { return };
        if let Err(error) = (Whereabouts { pid: 0, began: 0, ..entry }).write() {
            tracing::debug!(%error, "the index of daemons cannot be written");
        }
    }

    /// Whether it takes no new connections any more.
    pub(super) fn is_stopping(&self) -> bool {
        *self.proxy.stop.borrow() != Stop::No
    }

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
        lock(&self.config)
    }

    /// Reloads where the caller read another config than the one that is running.
    pub(super) fn take_up(&self, digest: Option<&str>) -> Result<(), AdminError> {
        let Some(digest) = digest else { return Ok(()) };
        if self.config().digest == digest {
            return Ok(());
        }
        self.reload(Some(digest)).map_err(|refused| AdminError {
            status: 409,
            code: "config-not-reloaded".into(),
            detail: format!(
                "the daemon runs another config and did not take this one up: {}",
                refused.message
            ),
            hint: "its log says more: daemon.log in the state directory".into(),
        })
    }

    /// Ends sessions whose time is over and forgets tokens that ended.
    pub(super) fn sweep(&self) {
        for session in self.proxy.passage.gate.sessions().sweep() {
            self.ended(&session, "ended");
        }
        for name in self.processes.ended() {
            self.end(&name);
        }
        self.save_sessions_again();
        self.proxy.passage.sweep();
        // Not beside a reload, or what the new world has let in would be judged by the old one.
        if let Ok(_config) = self.config.try_lock() {
            let world = self.proxy.world.load();
            self.keep_only(&world);
            self.proxy.live.sweep(&self.proxy.judge(&world));
        }
    }

    /// Whose tokens the broker holds from now on: those of this world's routes.
    pub(super) fn keep_only(&self, world: &World) {
        let asked = |key: &SlotKey| world.terms.policy.asks(&key.credential, &key.ask);
        self.proxy.passage.broker.keep_only(&world.terms.minters, asked);
    }

    /// Whether someone uses this daemon: a session of `run` or `env`, or a connection.
    pub(super) fn is_busy(&self) -> bool {
        let used = |session: &Arc<Session>| session.kind() != Kind::Preshared;
        self.proxy.connections.load(Relaxed) > 0
            || self.proxy.passage.gate.sessions().list().iter().any(used)
    }

    pub(super) fn maintain_ca(&self) {
        match self.proxy.world.load().authority.maintain() {
            Ok(Opened::Existing) => {}
            Ok(opened) => {
                tracing::info!("local CA: {opened:?}");
                self.proxy.passage.audit.event(Event::ca("maintained")).ok();
            }
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the local CA goes on as it is in memory")
            }
        }
    }
}

impl Control for Handle {
    fn status(&self) -> DaemonStatus {
        self.facts()
    }

    fn who(&self) -> Who {
        self.who.clone()
    }

    fn sessions(&self) -> Vec<ListedSession> {
        self.session_list()
    }

    fn session(&self, name: &str) -> Result<CountedSession, AdminError> {
        self.session_facts(name)
    }

    fn hold(&self, caller: Caller) -> Option<Hold> {
        Daemon::hold(self, caller)
    }

    fn open_session(&self, open: OpenSession, caller: Caller) -> Result<OpenedSession, AdminError> {
        self.open(open, caller)
    }

    fn end_session(&self, name: &str) -> Result<(), AdminError> {
        self.end_by_name(name)
    }

    fn revoke(&self, revoke: Revoke) -> Result<Ended, AdminError> {
        Daemon::revoke(self, &revoke)
    }

    fn stop(&self) {
        tracing::info!("somebody asked it to stop");
        // Kept for whoever is not waiting yet.
        self.stop_asked.notify_one();
    }

    fn login(&self, login: Login) {
        self.proxy.step_ups.forget(&login.credential);
        self.proxy.passage.revoke(&login.credential);
        // A full disk stops injection at the decision; that somebody logs in harms nobody.
        self.proxy.passage.audit.event(login.event()).ok();
        self.logins_changed.notify_one();
    }

    fn rotated(&self, rotated: Rotated) {
        self.proxy.passage.revoke(&rotated.credential);
        // As for a login.
        self.proxy.passage.audit.event(rotated.event()).ok();
    }

    fn ca(&self) -> Description {
        self.proxy.world.load().authority.describe()
    }

    fn rotate_ca(&self, compromised: bool) -> Result<Description, AdminError> {
        let rotation = if compromised { Rotation::Compromised } else { Rotation::Planned };
        let world = self.proxy.world.load();
        world.authority.rotate(rotation).map_err(|error| AdminError {
            status: 500,
            code: error.code().into(),
            detail: error.to_string(),
            hint: error.hint().into(),
        })?;
        tracing::info!("local CA: rotated");
        self.proxy
            .passage
            .audit
            .event(Event::ca(if compromised { "rotated, compromised" } else { "rotated" }))
            .ok();
        Ok(self.ca())
    }
}
