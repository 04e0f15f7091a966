//! What was revoked and stays so, whatever restarts: persons, credentials, pre-shared sessions,
//! everybody.
//!
//! A request pays one pointer load for asking. Other sessions need no entry: they are gone when
//! they have ended.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::disk;
use crate::model::client::Client;
use crate::model::hex::hex;
use crate::model::id::{CredentialName, SessionName};
use crate::model::lock::lock;

/// Entries at most, of all kinds together.
pub const MAX_ENTRIES: usize = 10_000;

/// Who or what is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    All,
    Credential(CredentialName),
    /// A pre-shared session while it has this secret (its SHA-256): a new one makes it another
    /// session.
    Session(SessionName, [u8; 32]),
    /// A person by login name, or `uid:N` where a uid has none.
    User(Arc<str>),
}

/// All of it, each with the time since when, RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// Since when everything is revoked, in RFC 3339; `None`: it is not.
    pub all: Option<String>,
    /// Since when, in RFC 3339, by the credential's name.
    pub credentials: BTreeMap<CredentialName, String>,
    /// Pre-shared sessions by their names.
    pub sessions: BTreeMap<SessionName, RevokedSession>,
    /// Since when, in RFC 3339, by the user's name.
    pub users: BTreeMap<Arc<str>, String>,
}

/// A pre-shared session that was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedSession {
    secret_sha256: String,
    /// Since when it is revoked, in RFC 3339.
    pub since: String,
}

impl Lists {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        let all = usize::from(self.all.is_some());
        all + self.credentials.len() + self.sessions.len() + self.users.len()
    }
}

/// The lists, and their file's reader and writer.
#[derive(Debug, Default)]
pub struct Revoked {
    lists: ArcSwap<Lists>,
    changing: Mutex<()>,
}

impl Revoked {
    /// As an earlier daemon saved it; a missing file is no error, a broken one is: what was revoked
    /// must not come back because a file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lists = match disk::read(path)? {
            Some(text) => serde_json::from_slice(&text)?,
            None => Lists::default(),
        };
        Ok(Self { lists: ArcSwap::from_pointee(lists), changing: Mutex::default() })
    }

    /// Writes it to `path`, by rename, mode 0600.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let _one = lock(&self.changing);
        disk::replace(path, &**self.lists.load())
    }

    /// All that is revoked now.
    pub fn lists(&self) -> Arc<Lists> {
        self.lists.load_full()
    }

    /// Revokes; holds from the return on. `false`: there are [`MAX_ENTRIES`] already.
    pub fn add(&self, subject: &Subject, since: String) -> bool {
        self.change(|lists| {
            match subject {
                Subject::All => drop(lists.all.get_or_insert(since)),
                Subject::Credential(name) => {
                    lists.credentials.entry(name.clone()).or_insert(since);
                }
                Subject::Session(name, secret) => {
                    let entry = RevokedSession { secret_sha256: hex(secret), since };
                    lists.sessions.insert(name.clone(), entry);
                }
                Subject::User(name) => {
                    lists.users.entry(Arc::clone(name)).or_insert(since);
                }
            }
            lists.len() <= MAX_ENTRIES
        })
    }

    /// Takes a revocation back; whether there was one.
    pub fn remove(&self, subject: &Subject) -> bool {
        self.change(|lists| match subject {
            Subject::All => lists.all.take().is_some(),
            Subject::Credential(name) => lists.credentials.remove(name).is_some(),
            Subject::Session(name, _) => lists.sessions.remove(name).is_some(),
            Subject::User(name) => lists.users.remove(name).is_some(),
        })
    }

    /// Whether this client is, as a person or with everybody.
    pub fn has_client(&self, client: &Client) -> bool {
        let lists = self.lists.load();
        lists.all.is_some() || lists.users.keys().any(|name| client.is_user(name))
    }

    /// Whether this credential is, by its name.
    pub fn has_credential(&self, name: &CredentialName) -> bool {
        self.lists.load().credentials.contains_key(name)
    }

    /// Whether a pre-shared session is, with just this secret.
    pub fn has_session(&self, name: &SessionName, secret_sha256: &[u8; 32]) -> bool {
        let lists = self.lists.load();
        lists.sessions.get(name).is_some_and(|entry| entry.secret_sha256 == hex(secret_sha256))
    }

    /// What `change` makes of the lists, where it says that it should hold.
    fn change(&self, change: impl FnOnce(&mut Lists) -> bool) -> bool {
        let _one = lock(&self.changing);
        let mut lists = Lists::clone(&self.lists.load());
        let holds = change(&mut lists);
        if holds {
            self.lists.store(Arc::new(lists));
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> String {
        "2026-01-01T00:00:00Z".to_owned()
    }

    fn client(user: Option<&str>, uid: u32) -> Client {
        Client { uid: Some(uid), user: user.map(Into::into), ..Client::default() }
    }

    #[test]
    fn holds_what_it_was_told_and_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked.json");
        let revoked = Revoked::read(&path).unwrap();
        assert!(revoked.lists().is_empty());
        let (orders, ci) = (CredentialName::new("orders"), SessionName::new("ci"));
        for subject in [
            Subject::Credential(orders.clone()),
            Subject::Session(ci.clone(), [7; 32]),
            Subject::User("ann".into()),
            Subject::User("uid:77".into()),
        ] {
            assert!(revoked.add(&subject, now()));
        }
        revoked.save(&path).unwrap();
        let revoked = Revoked::read(&path).unwrap();
        assert!(revoked.has_credential(&orders));
        assert!(!revoked.has_credential(&CredentialName::new("other")));
        assert!(revoked.has_session(&ci, &[7; 32]));
        assert!(!revoked.has_session(&ci, &[8; 32]), "a new secret is a new session");
        assert!(revoked.has_client(&client(Some("ann"), 1)));
        assert!(revoked.has_client(&client(None, 77)));
        assert!(!revoked.has_client(&client(Some("bob"), 77)), "who has a name goes by it");
        assert!(revoked.remove(&Subject::User("ann".into())));
        assert!(!revoked.remove(&Subject::User("ann".into())));
        assert!(!revoked.has_client(&client(Some("ann"), 1)));
        assert!(revoked.add(&Subject::All, now()));
        assert!(revoked.has_client(&client(Some("bob"), 2)));
    }

    #[test]
    fn a_broken_file_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked.json");
        for text in ["", "{}", "[]", "{\"all\":null", "{\"al\":\"x\"}"] {
            std::fs::write(&path, text).unwrap();
            assert!(Revoked::read(&path).is_err(), "{text}");
        }
    }

    #[test]
    fn there_is_an_end_to_it() {
        // Each entry costs a copy of the list: all but one are there from the start.
        let users = (1..MAX_ENTRIES).map(|n| (n.to_string().into(), now())).collect();
        let full = Lists { users, ..Lists::default() };
        let revoked = Revoked { lists: ArcSwap::from_pointee(full), changing: Mutex::default() };
        assert!(revoked.add(&Subject::User("the last".into()), now()));
        assert!(!revoked.add(&Subject::User("one too many".into()), now()));
        assert_eq!(revoked.lists().users.len(), MAX_ENTRIES);
    }
}
