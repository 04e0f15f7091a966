//! `client` of a record: who asked, and the process that did.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::client::{Client, ClientKey, Process};

/// `client`. No way in names a workload yet: what would stand there comes with the way that knows
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Cow<'a, str>>,
}

/// `client`, or nothing where nothing is known.
pub(crate) fn client_facts(client: &Client) -> Option<ClientFacts<'_>> {
    let facts = ClientFacts {
        session: client.session.as_ref().map(|s| s.as_str().into()),
        user: client.user.as_deref().map(Into::into),
        uid: client.uid,
        pid: client.process.get().map(|process| process.pid),
        exe: client.process.get().and_then(|process| process.exe.as_deref()).map(Into::into),
    };
    (facts != ClientFacts::default()).then_some(facts)
}

/// The rest of what is known of a process: said once for each connection, in `context`.
pub(crate) fn process_facts(process: &Process) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut command = process.command.join(" ");
    command.truncate(command.floor_char_boundary(MAX_COMMAND));
    facts.insert("command".into(), command.into());
    if let Some(parent) = &process.parent {
        facts.insert("parent".into(), json!({ "pid": parent.pid, "exe": parent.exe }));
    }
    facts
}

/// What a token is for: its client's key is all that a mint knows.
pub(super) fn key_facts(key: &ClientKey) -> Option<ClientFacts<'_>> {
    let facts = ClientFacts::default();
    match key {
        ClientKey::Anyone => None,
        ClientKey::Session(name) => {
            Some(ClientFacts { session: Some(name.as_str().into()), ..facts })
        }
        ClientKey::Uid(uid) => Some(ClientFacts { uid: Some(*uid), ..facts }),
    }
}

/// Of a command line, in bytes.
const MAX_COMMAND: usize = 1024;
