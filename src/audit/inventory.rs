//! Static keys that tools still send: each once, by kind and keyed fingerprint, with where and by
//! whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::event::{Decision, EventKind, Record, StaticKeyFacts};
use super::read::{RecordError, Records};

/// A standing key that clients have sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What it looks like: `github`, `jwt`, …; `opaque` where only its randomness tells.
    pub kind: String,
    /// Keyed: it says which key it is to nobody without the state directory.
    pub fingerprint: String,
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
    /// When it was first seen, in RFC 3339.
    pub first: String,
    /// When it was last seen, in RFC 3339.
    pub last: String,
    /// Probably no static key: the API itself gave it to the tool. Nothing but its randomness tells
    /// that it is a key, it was first sent after a request with a token to the same host, and in
    /// one session only: a key that stands is sent again in the next.
    pub given: bool,
}

/// All that the trail holds, the last seen first.
pub fn inventory(path: &Path) -> Result<Vec<Seen>, RecordError> {
    let mut keys = BTreeMap::<String, Seen>::new();
    // Outcomes name processes that were found after the decision.
    let mut requests = HashMap::<String, String>::new();
    let mut origins = Origins::default();
    for read in Records::open(path)? {
        let (_, record) = read?;
        let request = record.request.as_deref().unwrap_or_default();
        match (record.event, &record.static_key) {
            (EventKind::Decision, Some(key)) => {
                requests.insert(request.to_owned(), key.fingerprint.clone().into_owned());
                let seen = keys.entry(key.fingerprint.clone().into_owned());
                let seen = seen.or_insert_with(|| first(&record, &key.kind, &key.fingerprint));
                note(seen, &record);
                seen.given = origins.may_have_given(key, &record);
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
        origins.note(&record);
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
        given: false,
    }
}

/// Where sessions have been with tokens, and which keys came after.
#[derive(Default)]
struct Origins {
    /// Sessions that had a token put in, with the host.
    with_token: HashSet<(String, String)>,
    /// By fingerprint: the one session that it came in; `None` once it is known to stand.
    keys: HashMap<String, Option<String>>,
}

impl Origins {
    fn note(&mut self, record: &Record<'_>) {
        if record.decision == Some(Decision::Inject) {
            self.with_token.extend(place(record));
        }
    }

    fn may_have_given(&mut self, key: &StaticKeyFacts<'_>, record: &Record<'_>) -> bool {
        let place = place(record);
        let after = place.as_ref().is_some_and(|place| self.with_token.contains(place));
        let session = place.map(|(session, _)| session);
        let shapeless = matches!(&*key.kind, "jwt" | "opaque");
        let known = self.keys.entry(key.fingerprint.clone().into_owned());
        let only = known.or_insert_with(|| session.clone().filter(|_| shapeless && after));
        if *only != session {
            *only = None;
        }
        only.is_some()
    }
}

fn place(record: &Record<'_>) -> Option<(String, String)> {
    let session = record.client.as_ref()?.session.clone()?.into_owned();
    Some((session, record.target.as_ref()?.host.clone().into_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The inventory of requests, each as session, host, kind and key; an empty kind is none.
    fn listed(requests: &[(&str, &str, &str, &str)]) -> Vec<(String, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let line = |(number, (session, host, kind, key)): (usize, &(&str, &str, &str, &str))| {
            let mut record = serde_json::json!({
                "v": 1, "seq": number + 1, "time": format!("2026-01-01T00:00:0{number}.000Z"), "event": "decision",
                "request": number.to_string(), "client": { "session": session }, "decision": "inject",
                "target": { "method": "GET", "host": host, "port": 443, "path": "/" },
            });
            if !kind.is_empty() {
                record["static_key"] = serde_json::json!({ "fingerprint": key, "kind": kind });
            }
            format!("{record}\n")
        };
        std::fs::write(&path, requests.iter().enumerate().map(line).collect::<String>()).unwrap();
        let mut all: Vec<_> = inventory(&path)
            .unwrap()
            .into_iter()
            .map(|seen| (seen.fingerprint, seen.given))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn what_the_api_gave_to_a_tool_is_told_from_a_key_that_stands() {
        let is = |requests: &[(&str, &str, &str, &str)], given: bool| {
            assert_eq!(listed(requests), [("k".to_owned(), given)], "{requests:?}");
        };
        // A login, and then the token that it gave, again and again.
        is(&[("a", "h", "", ""), ("a", "h", "jwt", "k"), ("a", "h", "jwt", "k")], true);
        is(&[("a", "h", "", ""), ("a", "h", "opaque", "k")], true);
        // With the first request; at another host; in a second session; of a provider's own shape.
        is(&[("a", "h", "opaque", "k"), ("a", "h", "opaque", "k")], false);
        is(&[("a", "h", "", ""), ("a", "other", "opaque", "k")], false);
        is(&[("a", "h", "", ""), ("a", "h", "opaque", "k"), ("b", "h", "opaque", "k")], false);
        is(
            &[
                ("a", "h", "", ""),
                ("a", "h", "opaque", "k"),
                ("b", "h", "opaque", "k"),
                ("a", "h", "opaque", "k"),
            ],
            false,
        );
        is(&[("a", "h", "", ""), ("a", "h", "github", "k")], false);
    }
}
