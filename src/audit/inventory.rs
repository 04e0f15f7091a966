//! Static keys that tools still send: each once, by kind and keyed fingerprint, with where and by whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::Serialize;

use super::event::{EventKind, Record};
use super::read::{RecordError, Records};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What it looks like: `github`, `jwt`, …; `opaque` where only its randomness tells.
    pub kind: String,
    /// Keyed: it says which key it is to nobody without the state directory.
    pub fingerprint: String,
    /// Where it was sent.
    pub hosts: BTreeSet<String>,
    /// The routes that took it out.
    pub routes: BTreeSet<String>,
    /// Programs that sent it, where they are known.
    pub tools: BTreeSet<String>,
    /// Who sent it: login names.
    pub users: BTreeSet<String>,
    /// How many requests held it.
    pub requests: u64,
    /// How many of those were refused for it.
    pub refused: u64,
    /// RFC 3339.
    pub first: String,
    /// RFC 3339.
    pub last: String,
}

/// All that the trail holds, the last seen first.
pub fn inventory(path: &Path) -> Result<Vec<Seen>, RecordError> {
    let mut keys = BTreeMap::<String, Seen>::new();
    // Outcomes name processes that were found after the decision.
    let mut requests = HashMap::<String, String>::new();
    for read in Records::open(path)? {
        let (_, record) = read?;
        let request = record.request.as_deref().unwrap_or_default();
        match (record.event, &record.static_key) {
            (EventKind::Decision, Some(key)) => {
                requests.insert(request.to_owned(), key.fingerprint.clone().into_owned());
                let seen = keys.entry(key.fingerprint.clone().into_owned());
                note(seen.or_insert_with(|| first(&record, &key.kind, &key.fingerprint)), &record);
            }
            (EventKind::Outcome, _) => {
                if let Some(key) = requests.remove(request)
                    && let Some(seen) = keys.get_mut(&key)
                {
                    seen.tools.extend(tool(&record));
                }
            }
            _ => {}
        }
    }
    let mut all: Vec<_> = keys.into_values().collect();
    all.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    Ok(all)
}

fn first(record: &Record<'_>, kind: &str, fingerprint: &str) -> Seen {
    Seen {
        kind: kind.to_owned(),
        fingerprint: fingerprint.to_owned(),
        hosts: BTreeSet::new(),
        routes: BTreeSet::new(),
        tools: BTreeSet::new(),
        users: BTreeSet::new(),
        requests: 0,
        refused: 0,
        first: record.time.clone().into_owned(),
        last: String::new(),
    }
}

fn note(seen: &mut Seen, record: &Record<'_>) {
    seen.hosts.extend(record.target.as_ref().map(|target| target.host.clone().into_owned()));
    seen.routes.extend(record.route.clone().map(|route| route.into_owned()));
    seen.tools.extend(tool(record));
    let user = record.client.as_ref().and_then(|client| client.user.clone());
    seen.users.extend(user.map(|user| user.into_owned()));
    seen.requests += 1;
    seen.refused += u64::from(record.code.as_deref() == Some("static-key-refused"));
    seen.last = record.time.clone().into_owned();
}

fn tool(record: &Record<'_>) -> Option<String> {
    record.client.as_ref()?.exe.clone().map(|exe| exe.into_owned())
}
