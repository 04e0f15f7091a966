//! Searching the trail: by person, session, process, host, route, credential, token, code, time and
//! what became of it.
//!
//! A record counts where everything that was asked for stands in it. An outcome goes with its
//! decision, of which it holds only the request's name; where only the outcome can tell (its
//! status, or a process that was found too late for the decision), the decision waits for it.

use std::collections::{BTreeMap, HashSet};

use super::event::{ClientFacts, Decision, EventKind, Record};

/// What is asked for; `None`: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub user: Option<String>,
    pub session: Option<String>,
    /// Process id, or program by its path or last part.
    pub process: Option<String>,
    /// As it was sent, in capitals.
    pub method: Option<String>,
    /// The host in its canonical form.
    pub host: Option<String>,
    /// A path and what is below it, or one with `*` for any characters.
    pub path: Option<String>,
    pub route: Option<String>,
    pub credential: Option<String>,
    /// Fingerprint of a token or of a static key.
    pub token: Option<String>,
    pub decision: Option<Decision>,
    /// The code of a refusal.
    pub code: Option<String>,
    /// A policy that decided, by id.
    pub policy: Option<String>,
    pub status: Option<Status>,
    /// RFC 3339 with milliseconds, UTC, as in records; itself included.
    pub since: Option<String>,
    /// As `since`, itself not included.
    pub until: Option<String>,
}

/// `403`, or `4xx` for a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All with this first digit: `4xx`.
    Class(u16),
    Exactly(u16),
}

impl Status {
    /// Reads `404` or `4xx`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str, range: std::ops::RangeInclusive<u16>| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|number| digits && range.contains(number))
        };
        match text.to_ascii_lowercase().strip_suffix("xx") {
            Some(class) => number(class, 1..=5).map(Self::Class),
            None => number(text, 100..=599).map(Self::Exactly),
        }
    }

    fn holds(self, status: u16) -> bool {
        match self {
            Self::Class(class) => status / 100 == class,
            Self::Exactly(wanted) => status == wanted,
        }
    }
}

/// Judges records as they come, each with whatever it came as.
#[derive(Debug)]
pub struct Matcher<T> {
    query: Query,
    /// Requests that count, and have not ended.
    counting: HashSet<String>,
    /// Records that their request's outcome decides about, by request: those are named in the order
    /// of time.
    waiting: BTreeMap<String, Vec<(T, Record<'static>)>>,
}

impl<T> Matcher<T> {
    /// A search that has seen no record yet.
    pub fn new(query: Query) -> Self {
        Self { query, counting: HashSet::new(), waiting: BTreeMap::new() }
    }

    /// The records that count now: this one, and those that waited for it.
    pub fn take(&mut self, line: T, record: Record<'static>) -> Vec<(T, Record<'static>)> {
        let Some(request) = record.request.as_deref().map(str::to_owned) else {
            let counts = self.query.fits(&record) && self.query.ends_well(&record, None);
            return if counts { vec![(line, record)] } else { Vec::new() };
        };
        if record.event == EventKind::Outcome {
            let mut found = self.waiting.remove(&request).unwrap_or_default();
            found.retain(|(_, waited)| self.query.ends_well(waited, Some(&record)));
            if self.counting.remove(&request) || !found.is_empty() {
                found.push((line, record));
            }
            return found;
        }
        if !self.query.fits(&record) {
            return Vec::new();
        }
        if self.query.ends_well(&record, None) {
            self.counting.insert(request);
            return vec![(line, record)];
        }
        self.waiting.entry(request).or_default().push((line, record));
        if self.waiting.len() > MOST_WAITING {
            self.waiting.pop_first();
        }
        Vec::new()
    }
}

/// Requests without an outcome are as many as are open at once, and those that a kill cut off.
const MOST_WAITING: usize = 100_000;

impl Query {
    /// Whether everything answers to it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What an outcome may tell: the status, and the process where the record does not name it.
    fn ends_well(&self, record: &Record<'_>, outcome: Option<&Record<'_>>) -> bool {
        let status = outcome.and_then(|outcome| outcome.outcome.as_ref()?.status);
        let client = [record.client.as_ref(), outcome.and_then(|o| o.client.as_ref())];
        self.status.is_none_or(|wanted| status.is_some_and(|status| wanted.holds(status)))
            && (self.process.is_none()
                || client.into_iter().flatten().any(|client| self.is_process(client)))
    }

    fn fits(&self, record: &Record<'_>) -> bool {
        let own = record.client.as_ref();
        let target = record.target.as_ref();
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let token = record.token.as_ref().map(|token| &*token.fingerprint);
        let key = record.static_key.as_ref().map(|key| &*key.fingerprint);
        let path = target.and_then(|target| target.path.as_deref());
        is(&self.user, own.and_then(|client| client.user.as_deref()))
            && is(&self.session, own.and_then(|client| client.session.as_deref()))
            && is(&self.method, target.map(|target| &*target.method))
            && is(&self.host, target.map(|target| &*target.host))
            && self.path.as_deref().is_none_or(|wanted| path.is_some_and(|p| covers(wanted, p)))
            && is(&self.route, record.route.as_deref())
            && is(&self.credential, record.credential.as_deref())
            && self.decision.is_none_or(|wanted| record.decision == Some(wanted))
            && is(&self.code, record.code.as_deref())
            && self.policy.as_deref().is_none_or(|id| record.policies.iter().any(|it| it == id))
            && (is(&self.token, token) || is(&self.token, key))
            && self.since.as_deref().is_none_or(|since| &*record.time >= since)
            && self.until.as_deref().is_none_or(|until| &*record.time < until)
    }

    fn is_process(&self, client: &ClientFacts<'_>) -> bool {
        let Some(wanted) = self.process.as_deref() else { return true };
        if let Ok(pid) = wanted.parse::<u32>() {
            return client.pid == Some(pid);
        }
        client.exe.as_deref().is_some_and(|exe| {
            exe == wanted || exe.rsplit('/').next().is_some_and(|name| name == wanted)
        })
    }
}

/// Whether a path is the wanted one or below it; `*` stands for any characters, also none.
fn covers(wanted: &str, path: &str) -> bool {
    let mut parts = wanted.split('*');
    let (first, mut rest) = (parts.next().unwrap_or_default(), path);
    let Some(behind) = rest.strip_prefix(first) else { return false };
    rest = behind;
    let Some(last) = parts.next_back() else {
        return rest.is_empty() || rest.starts_with('/') || first.ends_with('/');
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_covers_what_is_below_it() {
        for (wanted, path) in [
            ("/v1", "/v1"),
            ("/v1", "/v1/x"),
            ("/v1/", "/v1/x"),
            ("/", "/v1"),
            ("/v*/orders", "/v1/x/orders"),
            ("*orders*", "/v1/orders/7"),
            ("/a*", "/a"),
        ] {
            assert!(covers(wanted, path), "{wanted} {path}");
        }
        for (wanted, path) in
            [("/v1", "/v10"), ("/v1/*", "/v1"), ("/v*/orders", "/v1/orders/7"), ("/aa*a", "/aa")]
        {
            assert!(!covers(wanted, path), "{wanted} {path}");
        }
    }

    #[test]
    fn a_status_is_one_or_a_class() {
        assert_eq!(Status::parse("404"), Some(Status::Exactly(404)));
        assert_eq!(Status::parse("4XX"), Some(Status::Class(4)));
        assert!(
            ["", "xx", "9xx", "40", "4x", "1000", "-1", "+4xx"]
                .iter()
                .all(|text| Status::parse(text).is_none())
        );
        assert!(Status::Class(5).holds(503) && !Status::Class(5).holds(403));
    }

    /// A record of a request that was called `name`.
    fn record(
        event: EventKind,
        name: &str,
        change: impl FnOnce(&mut Record<'static>),
    ) -> Record<'static> {
        let mut record = Record::empty(event);
        record.request = Some(name.to_owned().into());
        change(&mut record);
        record
    }

    #[test]
    fn a_decision_waits_for_the_status_that_is_asked_for() {
        let query = Query { status: Status::parse("4xx"), ..Query::default() };
        let mut matcher = Matcher::new(query);
        let mut shown = Vec::new();
        let outcome = |status| {
            move |record: &mut Record<'static>| {
                let status = Some(status);
                record.outcome =
                    Some(crate::audit::event::OutcomeFacts { status, ..Default::default() });
            }
        };
        let records = [
            record(EventKind::Decision, "a", |_| {}),
            record(EventKind::Decision, "b", |_| {}),
            record(EventKind::Outcome, "a", outcome(200)),
            record(EventKind::Outcome, "b", outcome(404)),
            record(EventKind::Decision, "c", |_| {}),
        ];
        for (number, record) in records.into_iter().enumerate() {
            shown.extend(matcher.take(number, record).into_iter().map(|(number, _)| number));
        }
        assert_eq!(shown, [1, 3]);
    }
}
