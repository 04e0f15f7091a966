//! [`Client`]: who is asking, once it has been established.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::SetOnce;

use super::id::SessionName;

/// An admitted client. Built by `client::` only, after proxy credentials or socket owner were
/// checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The session whose credentials came with the connection.
    pub session: Option<SessionName>,
    /// The owner of the client's socket, where it is a process of this machine.
    pub uid: Option<u32>,
    /// The person: the login name of `uid`, or the session's user.
    pub user: Option<Arc<str>>,
    /// Its process, once that is found.
    pub process: Found,
}

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// The path of its program; `None`: the system does not say.
    pub exe: Option<Box<str>>,
    /// Its command line, word by word.
    pub command: Vec<Box<str>>,
    /// The process that started it; `None`: the system does not say.
    pub parent: Option<Parent>,
}

/// The process that started another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub pid: u32,
    /// The path of its program; `None`: the system does not say.
    pub exe: Option<Box<str>>,
}

/// The process of a connection: looked for beside it, and found later or never.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    process: SetOnce<Arc<Process>>,
    asked: AtomicBool,
    told: AtomicBool,
}

impl Found {
    /// The process, where it is known by now.
    pub fn get(&self) -> Option<&Process> {
        self.0.process.get().map(|process| &**process)
    }

    /// As soon as it is found, which may be never.
    pub async fn wait(&self) {
        self.0.process.wait().await;
    }

    /// Once. Connections of one process share it.
    pub fn set(&self, process: Arc<Process>) {
        // Looked for once, so found once.
        self.0.process.set(process).ok();
    }

    /// Whether it is the same search.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it is to be looked for: yes to the first who asks.
    pub fn claim(&self) -> bool {
        !self.0.asked.swap(true, Ordering::Relaxed)
    }

    /// Whether all of it is to be written down: yes to the first who asks, and its number from then
    /// on.
    pub fn tell(&self) -> bool {
        self.get().is_some() && !self.0.told.swap(true, Ordering::Relaxed)
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Found {}

/// What pools, caches and single flights are keyed by (invariant I7): two requests with equal
/// keys come from one identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// `client_auth = []`: everybody is one.
    Anyone,
    /// Whoever has the credentials of this session.
    Session(SessionName),
    /// One user of this machine without a session.
    Uid(u32),
}

/// As in `clients` of a route.
impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Session(name) => write!(f, "session:{name}"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
        }
    }
}

impl Client {
    /// Whether it is this person: by login name, or as `uid:N` where the uid has none.
    pub fn is_user(&self, name: &str) -> bool {
        match (&self.user, self.uid) {
            (Some(user), _) => **user == *name,
            (None, Some(uid)) => name.strip_prefix("uid:") == Some(uid.to_string().as_str()),
            (None, None) => false,
        }
    }

    /// The identity that keys everything shared.
    pub fn key(&self) -> ClientKey {
        match (&self.session, self.uid) {
            (Some(session), _) => ClientKey::Session(session.clone()),
            (None, Some(uid)) => ClientKey::Uid(uid),
            (None, None) => ClientKey::Anyone,
        }
    }
}
