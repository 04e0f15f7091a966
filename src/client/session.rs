//! Sessions: one authenticated use of the proxy, with an end.
//!
//! A session's secret is 256 random bits (or what a pre-shared file holds); only its SHA-256 is
//! kept, in memory and, for `env` sessions that outlive the daemon, on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{constant_time, digest};
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::issued::Issued;
use crate::model::clock::{Clock, Deadline, Moment};
use crate::model::id::{self, RouteName, SessionName};
use crate::model::placeholder::Mark;
use crate::model::secret::Secret;

mod kind;
mod saved;

pub use kind::Kind;

/// Live sessions at most; opening one more refuses.
pub const MAX_SESSIONS: usize = 10_000;

/// What a new session is made from.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    pub kind: Kind,
    /// Who it is for; `None`: nobody says.
    pub user: Option<Arc<str>>,
    /// How long it lives at most; `None`: until it is ended.
    pub lifetime: Option<Duration>,
    /// What it is for, in its opener's words.
    pub reason: Option<Arc<str>>,
    /// The directory that it was opened in.
    pub project: Option<Arc<str>>,
    /// The process that it ends with.
    pub pid: Option<u32>,
    /// The user of this machine that it is bound to; `None`: whoever has its secret.
    pub uid: Option<u32>,
    /// Routes it is limited to; `None`: all.
    pub routes: Option<Vec<RouteName>>,
    /// The placeholders that were made for it.
    pub placeholders: Vec<Binding>,
}

/// A session of the config, its secret read.
#[derive(Debug)]
pub struct Preshared {
    /// The user part of Basic.
    pub name: SessionName,
    /// The password part of Basic.
    pub secret: Secret,
    /// Routes it may use; `None`: all.
    pub routes: Option<Vec<RouteName>>,
    /// The user of this machine that it is bound to.
    pub uid: Option<u32>,
}

/// A placeholder, and the routes that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// What it is told by.
    pub mark: Mark,
    /// The names of the routes that the placeholder is for.
    pub routes: Arc<[RouteName]>,
}

#[derive(Debug)]
pub struct Session {
    name: SessionName,
    kind: Kind,
    user: Option<Arc<str>>,
    reason: Option<Arc<str>>,
    project: Option<Arc<str>>,
    secret: [u8; 32],
    pid: Option<u32>,
    uid: Option<u32>,
    routes: Option<Vec<RouteName>>,
    placeholders: Vec<Binding>,
    began: Moment,
    end: Option<Deadline>,
    ended: watch::Sender<bool>,
    admitted: AtomicU64,
    /// What [`Sessions::unnamed`] was when it began.
    unnamed_before: u64,
}

impl Session {
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Who it is for; `None`: nobody says.
    pub fn user(&self) -> Option<Arc<str>> {
        self.user.clone()
    }

    /// What it is for, in its opener's words.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The directory that it was opened in.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// How long ago it was opened; a session of the config: how long ago that was taken up. By the
    /// clock that counts more.
    pub fn age(&self, now: Moment) -> Duration {
        let wall = now.wall.duration_since(self.began.wall).unwrap_or_default();
        wall.max(now.mono.saturating_duration_since(self.began.mono))
    }

    /// The process that it ends with.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The user of this machine that it is bound to.
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Whether a peer may use it that has its secret: where the kernel names the peer it must be
    /// the user that the session is bound to, or root, who could take its place anyway. `here`: a
    /// peer without a name is a user of this machine that nobody knows, and not one of another.
    pub fn serves(&self, peer: Option<u32>, here: bool) -> bool {
        match (self.uid, peer) {
            (None, _) => true,
            (Some(bound), Some(peer)) => peer == bound || peer == 0,
            (Some(_), None) => !here,
        }
    }

    /// The SHA-256 of its secret: the secret itself is not kept.
    pub fn secret_sha256(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Routes it is limited to; `None`: all.
    pub fn routes(&self) -> Option<&[RouteName]> {
        self.routes.as_deref()
    }

    /// Its end as a calendar writes it; `None`: with its command, or never.
    pub fn until(&self) -> Option<SystemTime> {
        self.end.map(|end| end.wall())
    }

    /// How often somebody came in its name and got in.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    /// Somebody has come in its name.
    pub(super) fn count(&self) {
        self.admitted.fetch_add(1, Relaxed);
    }

    /// Whether it is just this one.
    pub fn is(&self, shared: &Preshared) -> bool {
        self.name == shared.name
            && self.secret == shared.secret.sha256()
            && self.routes == shared.routes
            && self.uid == shared.uid
    }

    /// Whether it is over, by word or by time.
    pub fn has_ended(&self, now: Moment) -> bool {
        *self.ended.borrow() || self.end.is_some_and(|end| end.passed(now))
    }

    /// Resolves when it is over by word; `Sessions::sweep` turns time into word.
    pub async fn ended(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

pub struct Sessions {
    live: DashMap<SessionName, Arc<Session>>,
    /// Whose each bound placeholder is.
    placeholders: DashMap<Mark, SessionName>,
    issued: Issued,
    /// How often somebody came without a session, or with none that is live.
    unnamed: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

impl Sessions {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (issued, unnamed) = (Issued::default(), AtomicU64::default());
        Self { live: DashMap::new(), placeholders: DashMap::new(), issued, unnamed, clock }
    }

    /// Opens one with a random secret, which only the caller gets.
    pub fn open(&self, new: NewSession) -> (Arc<Session>, Secret) {
        let secret = Secret::random();
        let name = SessionName::new(format!("{}-{}", new.kind.prefix(), &id::random_text()[..10]));
        let session = Arc::new(Session {
            name: name.clone(),
            kind: new.kind,
            user: new.user,
            reason: new.reason,
            project: new.project,
            secret: secret.sha256(),
            pid: new.pid,
            uid: new.uid,
            routes: new.routes,
            placeholders: new.placeholders,
            began: self.clock.now(),
            end: new.lifetime.map(|life| Deadline::after(self.clock.now(), life)),
            ended: watch::Sender::new(false),
            admitted: AtomicU64::default(),
            unnamed_before: self.unnamed.load(Relaxed),
        });
        self.issued.note(name.as_str(), &session.secret);
        self.insert(Arc::clone(&session));
        (session, secret)
    }

    fn insert(&self, session: Arc<Session>) {
        let name = session.name.clone();
        for binding in &session.placeholders {
            self.placeholders.insert(binding.mark, name.clone());
        }
        self.live.insert(name, session);
    }

    /// The live session that a placeholder was made for, and the routes. It is looked up by its
    /// hash: what time that takes says nothing of the placeholder.
    pub fn by_placeholder(
        &self,
        mark: &Mark,
        now: Moment,
    ) -> Option<(Arc<Session>, Arc<[RouteName]>)> {
        let name = self.placeholders.get(mark)?.clone();
        let session = Arc::clone(&*self.live.get(&name)?);
        let equal = |binding: &&Binding| {
            constant_time::verify_slices_are_equal(&binding.mark, mark).is_ok()
        };
        let routes = Arc::clone(&session.placeholders.iter().find(equal)?.routes);
        (!session.has_ended(now)).then_some((session, routes))
    }

    /// Puts a pre-shared session in, or replaces the one of this name where anything about it
    /// changed.
    pub fn preshare(&self, shared: &Preshared) {
        if self.live.get(&shared.name).is_some_and(|old| old.is(shared)) {
            return;
        }
        let session = Session {
            name: shared.name.clone(),
            kind: Kind::Preshared,
            user: None,
            reason: None,
            project: None,
            secret: shared.secret.sha256(),
            pid: None,
            uid: shared.uid,
            routes: shared.routes.clone(),
            placeholders: Vec::new(),
            began: self.clock.now(),
            end: None,
            ended: watch::Sender::new(false),
            admitted: AtomicU64::default(),
            unnamed_before: self.unnamed.load(Relaxed),
        };
        if let Some(old) = self.live.insert(shared.name.clone(), Arc::new(session)) {
            old.ended.send_replace(true);
        }
    }

    /// Ends the pre-shared sessions that are not to be kept; gives them back.
    pub fn keep_preshared(&self, keep: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let gone: Vec<_> = self
            .live
            .iter()
            .filter(|s| s.kind == Kind::Preshared && !keep(s))
            .map(|s| s.name.clone())
            .collect();
        gone.iter().filter_map(|name| self.end(name)).collect()
    }

    /// The live session of this name, if the secret is its own. The time taken does not tell which
    /// was wrong.
    pub fn check(&self, name: &str, secret: &[u8], now: Moment) -> Option<Arc<Session>> {
        let found = self.live.get(&SessionName::new(name)).map(|session| Arc::clone(&session));
        let stored = found.as_ref().map_or([0; 32], |session| session.secret);
        let equal = constant_time::verify_slices_are_equal(&stored, &hash(secret)).is_ok();
        found.filter(|session| equal && !session.has_ended(now))
    }

    /// Whether this daemon, or one before it, has opened just this one: then it has ended where
    /// [`Self::check`] finds none.
    pub fn was_opened(&self, name: &str, secret: &[u8]) -> bool {
        self.issued.has(name, &hash(secret))
    }

    /// Ends one: whoever waits on it learns at once. Whether it was live.
    pub fn end(&self, name: &SessionName) -> Option<Arc<Session>> {
        let (_, session) = self.live.remove(name)?;
        for binding in &session.placeholders {
            self.placeholders.remove(&binding.mark);
        }
        session.ended.send_replace(true);
        Some(session)
    }

    /// Ends those whose time is over; gives them back.
    pub fn sweep(&self) -> Vec<Arc<Session>> {
        let now = self.clock.now();
        let over: Vec<_> =
            self.live.iter().filter(|s| s.has_ended(now)).map(|s| s.name.clone()).collect();
        over.iter().filter_map(|name| self.end(name)).collect()
    }

    /// How often somebody came without a live session since this one began: it may have been a tool
    /// of its own.
    pub fn unnamed_since(&self, session: &Session) -> u64 {
        self.unnamed.load(Relaxed).saturating_sub(session.unnamed_before)
    }

    /// Somebody has come without a live session.
    pub(super) fn count_unnamed(&self) {
        self.unnamed.fetch_add(1, Relaxed);
    }

    /// The live one of this name.
    pub fn find(&self, name: &SessionName) -> Option<Arc<Session>> {
        self.live.get(name).map(|session| Arc::clone(&session))
    }

    /// Whether one of this name is live.
    pub fn is_live(&self, name: &SessionName) -> bool {
        self.live.contains_key(name)
    }

    /// All live ones, in no particular order.
    pub fn list(&self) -> Vec<Arc<Session>> {
        self.live.iter().map(|session| Arc::clone(&session)).collect()
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

fn hash(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::SystemClock;

    #[test]
    fn env_sessions_survive_a_restart_and_their_secret_is_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.json");
        let sessions = Sessions::new(Arc::new(SystemClock));
        let hour = Some(Duration::from_secs(3600));
        let only = Some(vec![RouteName::new("orders")]);
        let (env, secret) = sessions.open(NewSession {
            kind: Kind::Env,
            lifetime: hour,
            reason: Some("why".into()),
            routes: only.clone(),
            ..NewSession::default()
        });
        sessions.open(NewSession { lifetime: hour, ..NewSession::default() });
        sessions.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(std::str::from_utf8(secret.expose()).unwrap()));
        let later = Sessions::new(Arc::new(SystemClock));
        later.restore(&path).unwrap();
        assert_eq!(later.len(), 1);
        let found = later.check(env.name().as_str(), secret.expose(), SystemClock.now()).unwrap();
        assert_eq!((found.routes(), found.reason()), (only.as_deref(), Some("why")));
    }

    #[test]
    fn time_ends_a_session() {
        let sessions = Sessions::new(Arc::new(SystemClock));
        let (session, secret) =
            sessions.open(NewSession { lifetime: Some(Duration::ZERO), ..NewSession::default() });
        assert!(
            sessions.check(session.name().as_str(), secret.expose(), SystemClock.now()).is_none()
        );
        assert_eq!(sessions.sweep().len(), 1);
        assert!(sessions.is_empty());
    }
}
