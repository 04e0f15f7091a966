//! Floor 3: who is asking.
//!
//! A connection is admitted by the proxy credentials of a live session, or, where none are sent, by
//! the owner of its socket. Credentials, when sent, decide: wrong ones are refused whatever the
//! uid.

pub mod attribution;
pub mod disk;
mod issued;
pub mod peer;
mod platform;
pub mod revoked;
pub mod session;
mod throttle;
pub mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config;
use crate::local::peer::{self as kernel, canonical};
use crate::local::uid::Uid;
use crate::model::client::{Client, ClientKey, Found};
use crate::model::clock::Moment;
use crate::model::id::{CredentialName, RouteName};
use crate::model::placeholder::Mark;
use crate::model::reason::Reason;
use peer::Users;
use revoked::Revoked;
use session::{Session, Sessions};
use throttle::Throttle;

/// Decides who gets in. Shared by all connections; rebuilt parts swap with the config.
#[derive(Debug)]
pub struct Gate {
    sessions: Arc<Sessions>,
    revoked: Arc<Revoked>,
    users: Users,
    throttle: Throttle,
    /// `None`: our own user cannot be told from others here.
    own_uid: Option<u32>,
}

/// Who may get in, from config.
#[derive(Clone, Debug)]
pub struct Rules {
    auth_session: bool,
    auth_uid: bool,
    allow_uids: Vec<u32>,
}

impl From<&config::Proxy> for Rules {
    fn from(proxy: &config::Proxy) -> Self {
        Self {
            auth_session: proxy.auth_session,
            auth_uid: proxy.auth_uid,
            allow_uids: proxy.allow_uids.clone(),
        }
    }
}

/// A client that got in.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub client: Arc<Client>,
    /// Its session, which may end while the connection is open.
    pub session: Option<Arc<Session>>,
    /// Whether the guard treats it as one of another user (private networks are refused).
    pub foreign: bool,
    /// Whether it is on this machine for sure.
    pub here: bool,
}

/// The other end of a connection, as far as the kernel tells.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The user that owns its socket; `None`: the kernel does not tell.
    pub uid: Option<u32>,
    /// What its process is found by.
    pub end: Option<End>,
    /// The process, once it is found.
    pub found: Found,
    /// Whether it is on this machine for sure. One that has no name all the same is no user that we
    /// know.
    pub here: bool,
}

/// What a process is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The socket that it holds.
    Inode(u64),
    /// Its own number, as when it connected.
    Process(u32),
}

impl Peer {
    fn at(peer: SocketAddr, local: SocketAddr) -> Self {
        match kernel::owner_of(peer, local) {
            Some(owner) => Self {
                uid: owner.uid.map(Uid::raw),
                end: Some(End::Inode(owner.inode)),
                found: Found::default(),
                here: true,
            },
            None => Self { here: kernel::is_here(peer, local), ..Self::default() },
        }
    }

    /// Whoever connected a unix socket (`SO_PEERCRED`, unix(7)).
    pub fn of_unix(uid: u32, pid: Option<u32>) -> Self {
        let uid = Uid::known(uid).map(Uid::raw);
        Self { uid, end: pid.map(End::Process), found: Found::default(), here: true }
    }
}

impl From<Option<u32>> for Peer {
    fn from(uid: Option<u32>) -> Self {
        Self { uid, ..Self::default() }
    }
}

impl Gate {
    /// A gate to these sessions, where nobody is revoked yet.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self::heeding(sessions, Arc::default())
    }

    /// A gate to these sessions, closed to whom is revoked.
    pub fn heeding(sessions: Arc<Sessions>, revoked: Arc<Revoked>) -> Self {
        Self {
            sessions,
            revoked,
            users: Users::read(),
            throttle: Throttle::default(),
            own_uid: Uid::own().map(Uid::raw),
        }
    }

    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    pub fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// Whether somebody without a session is this person.
    pub fn is_user(&self, key: &ClientKey, name: &str) -> bool {
        let ClientKey::Uid(uid) = *key else { return false };
        let user = self.users.name(uid);
        Client { uid: Some(uid), user, ..Client::default() }.is_user(name)
    }

    /// Whether anybody of this name is known here: a user of this machine, or whoever has opened a
    /// session.
    pub fn knows_user(&self, name: &str) -> bool {
        let opened = || self.sessions.list();
        self.users.has(name) || opened().iter().any(|s| s.user().as_deref() == Some(name))
    }

    /// The name that somebody may have meant who is not known.
    pub fn nearest_user(&self, name: &str) -> Option<String> {
        let opened: Vec<_> = self.sessions.list().iter().filter_map(|s| s.user()).collect();
        self.users.nearest(name, opened.iter().map(|name| &**name)).map(str::to_owned)
    }

    /// Why nothing may be minted for this client and credential any more, if so. Asked when a
    /// token's slot is made: what was admitted before may have come too late.
    pub fn bars(&self, key: &ClientKey, credential: &CredentialName) -> Option<Reason> {
        if self.revoked.has_credential(credential) {
            return Some(Reason::CredentialRevoked);
        }
        let (session, uid) = match key {
            ClientKey::Anyone => (None, None),
            ClientKey::Session(name) if !self.sessions.is_live(name) => {
                return Some(Reason::SessionEnded);
            }
            ClientKey::Session(name) => (Some(name.clone()), None),
            ClientKey::Uid(uid) => (None, Some(*uid)),
        };
        let user = uid.and_then(|uid| self.users.name(uid));
        let client = Client { session, uid, user, ..Client::default() };
        self.revoked.has_client(&client).then_some(Reason::ClientRevoked)
    }

    /// The owner of the peer's socket, where the peer is a process of this machine.
    pub fn uid_of(&self, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        self.peer_of(peer, local).uid
    }

    /// The same, and what its process is found by.
    pub fn peer_of(&self, peer: SocketAddr, local: SocketAddr) -> Peer {
        // Asked of every peer: one on this machine may come by any of its addresses. As the
        // client's socket has them, which is of the family that it connected by.
        let [peer, local] = [peer, local].map(canonical);
        Peer::at(peer, local)
    }

    /// The owner of the socket at `peer` that was to reach `original`, where it is one of this
    /// machine's (and network namespace's): as good as a loopback peer.
    pub fn peer_of_redirected(&self, peer: SocketAddr, original: SocketAddr) -> Peer {
        Peer::at(canonical(peer), canonical(original))
    }

    /// Judges a connection by its `Proxy-Authorization` value, if any, and its socket's owner. That
    /// somebody came is counted, refused or not.
    pub fn admit(
        &self,
        rules: &Rules,
        sent: Option<&[u8]>,
        peer: impl Into<Peer>,
        now: Moment,
    ) -> Result<Admitted, Reason> {
        let admitted = self.judge(rules, sent, peer.into(), now);
        match admitted.as_ref().ok().and_then(|admitted| admitted.session.as_ref()) {
            Some(session) => session.count(),
            None => self.sessions.count_unnamed(),
        }
        admitted
    }

    fn judge(
        &self,
        rules: &Rules,
        sent: Option<&[u8]>,
        peer: Peer,
        now: Moment,
    ) -> Result<Admitted, Reason> {
        let Peer { uid, found: process, here, .. } = peer;
        let user = uid.and_then(|uid| self.users.name(uid));
        let client =
            |session, user| Arc::new(Client { session, uid, user, process: process.clone() });
        let foreign = uid.is_none() || uid != self.own_uid;
        if !rules.auth_session && !rules.auth_uid {
            return Ok(Admitted { client: client(None, user), session: None, foreign, here });
        }
        if let Some(sent) = sent {
            let sent = if rules.auth_session { Basic::parse(sent) } else { None };
            let found = sent.as_ref().and_then(|sent| sent.session(&self.sessions, now));
            let Some(session) = found else {
                let ended = sent.is_some_and(|sent| sent.was_session(&self.sessions));
                // Whoever knows the secret of a session that has ended guesses nothing. Where the
                // next one would be refused as well, that is what he is told.
                let reason = match ended {
                    true if self.revoked.has_client(&client(None, user)) => Reason::ClientRevoked,
                    true => Reason::ProxyAuthEnded,
                    false => self.throttle.failure(uid, now),
                };
                return Err(reason);
            };
            if !session.serves(uid, here) {
                return Err(Reason::SessionOfAnotherUser);
            }
            let user = session.user().or(user);
            let client = client(Some(session.name().clone()), user);
            return Ok(Admitted { client, session: Some(session), foreign, here });
        }
        if rules.auth_uid && self.admits_uid(rules, uid) {
            return Ok(Admitted { client: client(None, user), session: None, foreign, here });
        }
        Err(Reason::ProxyAuthRequired)
    }

    /// Who sent a bound placeholder, and the routes it is for. It is worth something to its own
    /// session alone; whoever has none is this session from then on.
    pub fn by_placeholder(
        &self,
        rules: &Rules,
        admitted: &Admitted,
        mark: &Mark,
        now: Moment,
    ) -> Result<(Admitted, Arc<[RouteName]>), Reason> {
        let found = self.sessions.by_placeholder(mark, now);
        let (session, routes) = found.ok_or(Reason::PlaceholderRefused)?;
        if !session.serves(admitted.client.uid, admitted.here) {
            return Err(Reason::PlaceholderRefused);
        }
        match &admitted.session {
            Some(own) if Arc::ptr_eq(own, &session) => Ok((admitted.clone(), routes)),
            None if rules.auth_session || !rules.auth_uid => {
                let uid = admitted.client.uid;
                let user = session.user().or_else(|| admitted.client.user.clone());
                let process = admitted.client.process.clone();
                let client = Client { session: Some(session.name().clone()), uid, user, process };
                let Admitted { foreign, here, .. } = *admitted;
                let client = Arc::new(client);
                Ok((Admitted { client, session: Some(session), foreign, here }, routes))
            }
            Some(_) | None => Err(Reason::PlaceholderRefused),
        }
    }

    /// Why a client that was admitted may go no further, if so.
    pub fn objection(&self, rules: &Rules, admitted: &Admitted, now: Moment) -> Option<Reason> {
        if self.revoked.has_client(&admitted.client) {
            return Some(Reason::ClientRevoked);
        }
        (!self.still_admits(rules, admitted, now)).then_some(Reason::SessionEnded)
    }

    /// Whether a client that was admitted would still be: its session lives, or the rules still let
    /// its uid in.
    fn still_admits(&self, rules: &Rules, admitted: &Admitted, now: Moment) -> bool {
        let open = !rules.auth_session && !rules.auth_uid;
        match &admitted.session {
            Some(session) => (rules.auth_session || open) && !session.has_ended(now),
            None => open || (rules.auth_uid && self.admits_uid(rules, admitted.client.uid)),
        }
    }

    fn admits_uid(&self, rules: &Rules, uid: Option<u32>) -> bool {
        uid.is_some_and(|uid| self.own_uid == Some(uid) || rules.allow_uids.contains(&uid))
    }
}

/// Credentials as they were sent: `Basic base64(NAME:SECRET)`. Nothing tells an unknown name from a
/// wrong secret.
struct Basic {
    pair: Zeroizing<Vec<u8>>,
    colon: usize,
}

impl Basic {
    fn parse(sent: &[u8]) -> Option<Self> {
        let (scheme, rest) = sent.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let pair = Zeroizing::new(STANDARD.decode(rest.trim_ascii()).ok()?);
        let colon = pair.iter().position(|b| *b == b':')?;
        std::str::from_utf8(&pair[..colon]).is_ok().then_some(Self { pair, colon })
    }

    fn name(&self) -> &str {
        std::str::from_utf8(&self.pair[..self.colon]).unwrap_or_default()
    }

    fn secret(&self) -> &[u8] {
        &self.pair[self.colon + 1..]
    }

    /// The live session that they are of.
    fn session(&self, sessions: &Sessions, now: Moment) -> Option<Arc<Session>> {
        sessions.check(self.name(), self.secret(), now)
    }

    /// Whether they are of one that was opened here once.
    fn was_session(&self, sessions: &Sessions) -> bool {
        sessions.was_opened(self.name(), self.secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::{Clock as _, SystemClock};
    use revoked::Subject;
    use session::NewSession;

    fn gate() -> Gate {
        Gate::new(Arc::new(Sessions::new(Arc::new(SystemClock))))
    }

    fn rules(session: bool, uid: bool) -> Rules {
        Rules { auth_session: session, auth_uid: uid, allow_uids: vec![4242] }
    }

    fn own() -> Option<u32> {
        Some(rustix::process::geteuid().as_raw())
    }

    fn basic(name: &str, secret: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))).into_bytes()
    }

    #[test]
    fn credentials_decide_when_sent() {
        let gate = gate();
        let now = SystemClock.now();
        let (session, secret) = gate.sessions().open(NewSession::default());
        let name = session.name().as_str().to_owned();
        let secret = String::from_utf8(secret.expose().to_vec()).unwrap();
        let own = own();
        let both = rules(true, true);
        let admitted = gate.admit(&both, Some(&basic(&name, &secret)), Some(7), now).unwrap();
        assert_eq!(admitted.client.session.as_ref(), Some(session.name()));
        for wrong in [
            basic(&name, "x"),
            basic("x", &secret),
            b"Basic !".to_vec(),
            b"Bearer x".to_vec(),
            b"".to_vec(),
        ] {
            assert_eq!(
                gate.admit(&both, Some(&wrong), own, now).unwrap_err(),
                Reason::ProxyAuthFailed
            );
        }
        let counted = || (session.admitted(), gate.sessions().unnamed_since(&session));
        assert_eq!(counted(), (1, 5), "what came is counted, in its name or in nobody's");
        let (later, _) = gate.sessions().open(NewSession::default());
        assert_eq!((later.admitted(), gate.sessions().unnamed_since(&later)), (0, 0));
        gate.sessions().end(session.name());
        assert_eq!(
            gate.admit(&both, Some(&basic(&name, &secret)), own, now).unwrap_err(),
            Reason::ProxyAuthEnded
        );
    }

    #[test]
    fn an_ended_session_is_told_so_and_counts_as_no_guess() {
        let gate = gate();
        let (now, own, both) = (SystemClock.now(), own(), rules(true, true));
        let opened: Vec<_> = (0..3).map(|_| gate.sessions().open(NewSession::default())).collect();
        let sent: Vec<_> = opened
            .iter()
            .map(|(session, secret)| {
                gate.sessions().end(session.name());
                basic(session.name().as_str(), std::str::from_utf8(secret.expose()).unwrap())
            })
            .collect();
        let admit = |sent: &[u8]| gate.admit(&both, Some(sent), own, now).unwrap_err();
        for _ in 0..100 {
            for sent in &sent {
                assert_eq!(admit(sent), Reason::ProxyAuthEnded);
            }
        }
        // Whoever has the name of one alone guesses, and pays for it.
        let guess = basic(opened[0].0.name().as_str(), "x");
        let answers: Vec<_> = (0..21).map(|_| admit(&guess)).collect();
        assert_eq!(answers[0], Reason::ProxyAuthFailed);
        assert_eq!(answers[20], Reason::ProxyAuthThrottled);
        assert_eq!(admit(&sent[0]), Reason::ProxyAuthEnded);
        // Another session would not help whom everybody's revocation holds.
        gate.revoked().add(&Subject::All, String::new());
        assert_eq!(admit(&sent[0]), Reason::ClientRevoked);
        gate.revoked().remove(&Subject::All);
        assert_eq!(admit(&sent[0]), Reason::ProxyAuthEnded);
    }

    #[test]
    fn uid_admits_without_credentials() {
        let gate = gate();
        let now = SystemClock.now();
        let own = own();
        assert!(gate.admit(&rules(true, true), None, own, now).is_ok());
        assert!(gate.admit(&rules(true, true), None, Some(4242), now).unwrap().foreign);
        for (rules, uid) in
            [(rules(true, true), Some(77)), (rules(true, true), None), (rules(true, false), own)]
        {
            assert_eq!(gate.admit(&rules, None, uid, now).unwrap_err(), Reason::ProxyAuthRequired);
        }
        assert!(gate.admit(&rules(false, false), Some(b"anything"), None, now).is_ok());
    }

    #[test]
    fn guessing_is_throttled_per_peer() {
        let gate = gate();
        let now = SystemClock.now();
        let mut answers = (0..1000).map(|_| {
            gate.admit(&rules(true, true), Some(b"Basic eDp5"), Some(9), now).unwrap_err()
        });
        assert_eq!(answers.next(), Some(Reason::ProxyAuthFailed));
        assert_eq!(answers.reduce(|_, last| last), Some(Reason::ProxyAuthThrottled));
        let other = gate.admit(&rules(true, true), Some(b"Basic eDp5"), Some(10), now).unwrap_err();
        assert_eq!(other, Reason::ProxyAuthFailed);
    }
}
