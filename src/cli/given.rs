//! What `env` has given to a shell, kept in that shell: which sessions, and what its variables were
//! before. So that `--unset` needs neither a config nor the directory that it was in. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bundles::UsersVariables;
use crate::model::hex::hex;

/// The variable that holds it, as JSON.
const VARIABLE: &str = "VALETKEY_ENV";

/// A session that a shell has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionOfShell {
    pub(super) name: String,
    pub(super) config: PathBuf,
    /// Where it rests, while no daemon runs.
    pub(super) state_dir: PathBuf,
    /// Where its daemon is asked.
    pub(super) socket: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// One for each time that `env` was evaluated.
    pub(super) sessions: Vec<SessionOfShell>,
    /// What each variable was before the first, its bytes in hex; `None`: it was not set.
    before: BTreeMap<String, Option<String>>,
}

impl Given {
    /// What this shell has; nothing where it has nothing of ours.
    pub(super) fn read(users: UsersVariables<'_>) -> Self {
        let text = users(VARIABLE).unwrap_or_default();
        serde_json::from_slice(text.as_bytes()).unwrap_or_default()
    }

    /// Notes one session more, and what is about to be overwritten for the first time; adds itself
    /// to that.
    pub(super) fn and(
        mut self,
        session: SessionOfShell,
        set: &mut BTreeMap<String, OsString>,
        users: UsersVariables<'_>,
    ) {
        self.sessions.push(session);
        for name in set.keys() {
            let value = || users(name).map(|value| hex(value.as_bytes()));
            self.before.entry(name.clone()).or_insert_with(value);
        }
        // A struct of strings always serialises.
        let text = serde_json::to_string(&self).unwrap_or_default();
        set.insert(VARIABLE.to_owned(), text.into());
    }

    /// What each variable is to be again.
    pub(super) fn restored(&self) -> BTreeMap<String, Option<OsString>> {
        let value = |text: &Option<String>| text.as_deref().and_then(unhex).map(OsString::from_vec);
        let mut all: BTreeMap<_, _> =
            self.before.iter().map(|(name, before)| (name.clone(), value(before))).collect();
        all.insert(VARIABLE.to_owned(), None);
        all
    }

    /// The sessions' names, for people.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.sessions.iter().map(|session| session.name.as_str()).collect();
        names.join(", ")
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> SessionOfShell {
        SessionOfShell {
            name: name.to_owned(),
            config: "/c/valetkey.toml".into(),
            state_dir: "/s".into(),
            socket: "/s/admin.sock".into(),
        }
    }

    #[test]
    fn what_was_before_comes_back_however_often_it_was_evaluated() {
        let mut shell: BTreeMap<String, OsString> = [
            ("NO_PROXY".to_owned(), OsString::from("corp")),
            ("ODD".to_owned(), OsString::from_vec(vec![b'a', 0xff])),
        ]
        .into();
        let before = shell.clone();
        for name in ["env-1_a", "env-2"] {
            let mut set: BTreeMap<String, OsString> =
                ["NO_PROXY", "HTTPS_PROXY", "ODD"].map(|key| (key.to_owned(), name.into())).into();
            let users = |name: &str| shell.get(name).cloned();
            Given::read(&users).and(session(name), &mut set, &users);
            shell.extend(set);
        }
        let given = Given::read(&|name| shell.get(name).cloned());
        assert_eq!(given.names(), "env-1_a, env-2");
        for (name, value) in given.restored() {
            match value {
                Some(value) => drop(shell.insert(name, value)),
                None => drop(shell.remove(&name)),
            }
        }
        assert_eq!(shell, before);
        assert_eq!(Given::read(&|_| Some("rubbish".into())), Given::default());
    }
}
