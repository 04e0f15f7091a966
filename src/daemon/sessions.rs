//! Sessions as the command line opens, lists and ends them, and what goes with one that ends.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;

use super::control::Daemon;
use crate::admin::wire::{
    AdminError, CountedSession, ListedSession, OpenSession, OpenedSession, SessionKind,
    SessionStatus,
};
use crate::admin::{Caller, Hold, STOPPING};
use crate::audit::Event;
use crate::client::session::{Binding, Kind, MAX_SESSIONS, NewSession, Session};
use crate::config::Config;
use crate::local::process;
use crate::local::uid::Uid;
use crate::model::client::{Client, ClientKey};
use crate::model::clock::rfc3339_seconds;
use crate::model::id::{RouteName, SessionName};
use crate::model::placeholder::Placeholder;
use crate::model::reason::Reason;
use crate::proxy::live::Selector;

/// A person's name, a reason or a path may be this long, in bytes.
const MAX_TEXT: usize = 1024;

impl Daemon {
    /// Opens one, and says what a tool needs to use it.
    pub(super) fn open(
        &self,
        mut open: OpenSession,
        caller: Caller,
    ) -> Result<OpenedSession, AdminError> {
        if self.is_stopping() {
            return Err(AdminError {
                status: 503,
                code: STOPPING.into(),
                detail: "the daemon is stopping, and takes no new connections".into(),
                hint: "try again: the next one starts when it has ended".into(),
            });
        }
        // The process that it ends with, and that its own processes are told by, is the one that
        // asks: no other's number is taken on its word. Where the kernel has none for us, the
        // session ends by word or by time.
        open.pid = open.pid.and(caller.pid);
        self.take_up(open.config.as_deref())?;
        let Some(proxy) = self.listeners().first().map(|address| format!("http://{address}"))
        else {
            return Err(AdminError {
                status: 409,
                code: "no-proxy-address".into(),
                detail:
                    "the daemon listens on unix sockets only, and proxy variables name an address"
                        .into(),
                hint: "add \"127.0.0.1:0\" to proxy.listen, and start the daemon again".into(),
            });
        };
        let mut new = self.wanted(open.clone())?;
        let placeholders = placeholders(&self.config(), &mut new);
        let sessions = self.proxy.passage.gate.sessions();
        if sessions.len() >= MAX_SESSIONS {
            return Err(AdminError {
                status: 503,
                code: "too-many-sessions".into(),
                detail: format!("{MAX_SESSIONS} sessions are open"),
                hint: "`valetkey session list` shows them".into(),
            });
        }
        let (session, secret) = sessions.open(new);
        // A revocation in between has not seen it, but is seen by it.
        if let Err(error) = self.admits_user(session.user().as_deref()) {
            sessions.end(session.name());
            return Err(error);
        }
        if let Some(pid) = open.pid {
            self.processes.tie(session.name().clone(), pid);
            // The next daemon holds it as well, however this one ends.
            if let Err(error) = self.state.save_processes(&self.processes) {
                tracing::warn!(%error, "the next daemon will not know what runs in this session");
            }
        }
        if session.kind().outlives_the_daemon() {
            self.save_sessions().ok();
        }
        if let Err(error) = sessions.save_issued(&self.config().state_dir.join("sessions.json")) {
            tracing::warn!(%error, "the next daemon will not know this session when it has ended");
        }
        let client = client(&session);
        let event = opened(&session, &client);
        let event = match &open.by {
            Some(by) => event.with("by", by.as_str()),
            None => event,
        };
        self.proxy.passage.audit.event(event).ok();
        let config = self.config();
        let secrets = config.secret_variables();
        let world = self.proxy.world.load();
        Ok(OpenedSession {
            name: session.name().to_string(),
            secret: secret.into_text(),
            proxy,
            placeholders,
            until: session.until().map(rfc3339_seconds),
            routed_hosts: config.routes.iter().map(|route| route.value.host.clone()).collect(),
            missing_env: secrets
                .iter()
                .filter(|name| std::env::var_os(name).is_none())
                .cloned()
                .collect(),
            remove_env: secrets,
            pid: std::process::id(),
            parent: world.dialer.parent().map(ToString::to_string),
            ca_pem: world.authority.roots_pem(),
        })
    }

    /// What keeps this process from opening or revoking anything: it comes from one that a session
    /// was opened for.
    pub(super) fn hold(&self, caller: Caller) -> Option<Hold> {
        let tied = self.processes.living();
        if tied.is_empty() {
            return None;
        }
        let Some(above) = caller.pid.and_then(process::ancestors) else {
            return Some(Hold::Unknown);
        };
        // The nearest one: sessions stand in each other.
        let session = |pid: &u32| tied.iter().find(|(_, tied)| tied == pid).map(|(name, _)| name);
        above.iter().find_map(session).cloned().map(Hold::Inside)
    }

    /// What is asked for, checked.
    fn wanted(&self, open: OpenSession) -> Result<NewSession, AdminError> {
        self.admits_user(open.user.as_deref())?;
        for text in [&open.user, &open.by, &open.reason, &open.project].into_iter().flatten() {
            if text.len() > MAX_TEXT {
                return Err(AdminError {
                    status: 400,
                    code: "text-too-long".into(),
                    detail: format!(
                        "a user, a reason and a directory have {MAX_TEXT} bytes at most"
                    ),
                    hint: "say it in fewer words".into(),
                });
            }
        }
        let routes =
            open.only.map(|names| names.into_iter().map(RouteName::new).collect::<Vec<_>>());
        let config = self.config();
        let known =
            |name: &&RouteName| config.routes.iter().any(|route| route.value.name == **name);
        if let Some(name) = routes.iter().flatten().find(|name| !known(name)) {
            return Err(AdminError {
                status: 400,
                code: "unknown-route".into(),
                detail: format!("there is no route `{name}`"),
                hint: "`valetkey status` lists them".into(),
            });
        }
        Ok(NewSession {
            kind: match open.kind {
                SessionKind::Env => Kind::Env,
                SessionKind::Open => Kind::Open,
                SessionKind::Run => Kind::Run,
            },
            user: open.user.map(Into::into),
            lifetime: open.lifetime_s.map(Duration::from_secs),
            reason: open.reason.map(Into::into),
            project: open.project.map(Into::into),
            routes,
            pid: open.pid,
            uid: open.uid.or(Uid::own().map(Uid::raw)),
            placeholders: Vec::new(),
        })
    }

    fn admits_user(&self, user: Option<&str>) -> Result<(), AdminError> {
        let client = Client { user: user.map(Into::into), ..Client::default() };
        if !self.proxy.passage.gate.revoked().has_client(&client) {
            return Ok(());
        }
        Err(AdminError {
            status: 403,
            code: Reason::ClientRevoked.code().into(),
            detail: Reason::ClientRevoked.detail().into(),
            hint: Reason::ClientRevoked.hint().into(),
        })
    }

    /// Ends one by its name. Where that cannot be written down, the next daemon would have it
    /// again.
    pub(super) fn end_by_name(&self, name: &str) -> Result<(), AdminError> {
        if !self.end(&SessionName::new(name)) {
            return Err(unknown_session());
        }
        if !self.unsaved.load(Relaxed) {
            return Ok(());
        }
        Err(AdminError {
            status: 500,
            code: "session-end-not-saved".into(),
            detail: format!(
                "session {name} has ended in this daemon, but that could not be written down, and the next one would have it again"
            ),
            hint: "make room in the state directory or mend its permissions: it is written down as soon as it can be".into(),
        })
    }

    pub(super) fn end(&self, name: &SessionName) -> bool {
        match self.proxy.passage.gate.sessions().end(name) {
            Some(session) => {
                self.ended(&session, "ended");
                true
            }
            None => false,
        }
    }

    /// What follows the end of a session: its tokens go and are revoked, what it has under way is
    /// cut. `how`: `ended`, `revoked`. How many tokens and requests there were.
    pub(super) fn ended(&self, session: &Session, how: &str) -> (usize, usize) {
        self.processes.untie(session.name());
        let tokens = self.proxy.passage.end_client(&ClientKey::Session(session.name().clone()));
        let its = Selector::Session(session.name().clone());
        let requests = self.proxy.live.end(&its, Reason::SessionEnded);
        self.proxy.passage.audit.event(Event::session(how, &client(session), None)).ok();
        if session.kind().outlives_the_daemon() {
            self.save_sessions().ok();
        }
        (tokens, requests)
    }

    pub(super) fn save_sessions(&self) -> io::Result<()> {
        let saved = self.state.save(self.proxy.passage.gate.sessions());
        let known = self.unsaved.swap(saved.is_err(), Relaxed);
        if let Err(error) = &saved
            && !known
        {
            tracing::warn!(%error, "sessions cannot be saved; the next daemon has them as they were");
        }
        saved
    }

    /// Tries again what a full disk has prevented.
    pub(super) fn save_sessions_again(&self) {
        if self.unsaved.load(Relaxed) && self.save_sessions().is_ok() {
            tracing::info!("sessions are saved again");
        }
    }

    /// For `session list` and `status`, oldest name first.
    pub(super) fn session_list(&self) -> Vec<ListedSession> {
        let mut list = self.proxy.passage.gate.sessions().list();
        list.sort_by(|a, b| a.name().cmp(b.name()));
        let with_address = |session: &Arc<Session>| ListedSession {
            session: seen(session),
            holds_address: self.state.elsewhere(session.name()).map(|address| address.to_string()),
        };
        list.iter().map(with_address).collect()
    }

    /// One of them, with how often something came in its name, and in nobody's, since it began.
    pub(super) fn session_facts(&self, name: &str) -> Result<CountedSession, AdminError> {
        let sessions = self.proxy.passage.gate.sessions();
        let session = sessions.find(&SessionName::new(name)).ok_or_else(unknown_session)?;
        Ok(CountedSession {
            session: seen(&session),
            admitted: session.admitted(),
            unnamed: sessions.unnamed_since(&session),
        })
    }
}

pub(super) fn unknown_session() -> AdminError {
    AdminError {
        status: 404,
        code: "unknown-session".into(),
        detail: "there is no such session".into(),
        hint: "`valetkey session list` shows them".into(),
    }
}

/// What of a session may be seen.
fn seen(session: &Session) -> SessionStatus {
    let routes = session.routes();
    SessionStatus {
        name: session.name().to_string(),
        kind: session.kind().as_str().to_owned(),
        user: session.user().as_deref().map(str::to_owned),
        reason: session.reason().map(str::to_owned),
        project: session.project().map(str::to_owned),
        routes: routes.map(|names| names.iter().map(ToString::to_string).collect()),
        uid: session.uid(),
        until: session.until().map(rfc3339_seconds),
    }
}

fn client(session: &Session) -> Client {
    Client { session: Some(session.name().clone()), user: session.user(), ..Client::default() }
}

/// The record of a new session: what it is for, and what it may do.
fn opened<'a>(session: &Session, client: &'a Client) -> Event<'a> {
    let mut event = Event::session("opened", client, session.until());
    event = event.with("kind", json!(session.kind()));
    for (key, text) in [("reason", session.reason()), ("project", session.project())] {
        if let Some(text) = text {
            event = event.with(key, text);
        }
    }
    match session.routes() {
        Some(routes) => event.with("routes", json!(routes)),
        None => event,
    }
}

/// One for each variable of the routes that the session may use; each is bound to the routes that
/// name it.
fn placeholders(config: &Config, new: &mut NewSession) -> BTreeMap<String, String> {
    let allowed = |name: &RouteName| new.routes.as_ref().is_none_or(|only| only.contains(name));
    let mut variables = BTreeMap::<_, (_, Vec<RouteName>)>::new();
    for route in config.routes.iter().map(|route| &route.value).filter(|r| allowed(&r.name)) {
        for (variable, kind) in &route.env {
            variables.entry(variable).or_insert((*kind, Vec::new())).1.push(route.name.clone());
        }
    }
    let mut given = BTreeMap::new();
    for (variable, (kind, routes)) in variables {
        let (placeholder, mark) = Placeholder::bound(kind);
        new.placeholders.extend(mark.map(|mark| Binding { mark, routes: routes.into() }));
        given.insert(variable.clone(), placeholder.to_string());
    }
    given
}
