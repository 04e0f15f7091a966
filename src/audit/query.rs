//! Searching the trail: by person, session, process, host, route, credential, token, code and time.
//!
//! A record counts where everything that was asked for stands in it. An outcome goes with its decision, of
//! which it holds only the request's name; where a process was found too late for the decision, its outcome
//! names it, and the decision is found by that.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::event::{ClientFacts, EventKind, Record};
use super::read::{Line, RecordError, Records};

/// What is asked for; `None`: anything.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Login name.
    pub user: Option<String>,
    /// Session name.
    pub session: Option<String>,
    /// Process id, or program by its path or last part.
    pub process: Option<String>,
    /// Host, canonical.
    pub host: Option<String>,
    /// Route name.
    pub route: Option<String>,
    /// Credential name.
    pub credential: Option<String>,
    /// Fingerprint of a token or of a static key.
    pub token: Option<String>,
    /// Reason code.
    pub code: Option<String>,
    /// RFC 3339 with milliseconds, UTC, as in records; itself included.
    pub since: Option<String>,
    /// The same; not included.
    pub until: Option<String>,
}

impl Query {
    /// Shows every record that counts, oldest first, until `show` says that it is enough.
    pub fn run(
        &self,
        path: &Path,
        mut show: impl FnMut(&Line, &Record<'static>) -> bool,
    ) -> Result<(), RecordError> {
        let late = self.late_processes(path)?;
        let mut requests = HashSet::new();
        for read in Records::open(path)? {
            let (line, record) = read?;
            let counts = match (&record.request, record.event) {
                (Some(request), EventKind::Outcome) => requests.remove(request),
                (request, _) => {
                    let known = request.as_ref().and_then(|request| late.get(&**request));
                    let counts = self.fits(&record, known.or(record.client.as_ref()));
                    if counts && let Some(request) = request {
                        requests.insert(request.clone());
                    }
                    counts
                }
            };
            if counts && !show(&line, &record) {
                break;
            }
        }
        Ok(())
    }

    /// Who sent requests whose process only their outcome names.
    fn late_processes(
        &self,
        path: &Path,
    ) -> Result<HashMap<String, ClientFacts<'static>>, RecordError> {
        let mut late = HashMap::new();
        if self.process.is_none() {
            return Ok(late);
        }
        for read in Records::open(path)? {
            let (_, record) = read?;
            if let (EventKind::Outcome, Some(request), Some(client)) =
                (record.event, record.request, record.client)
                && self.is_process(&client)
            {
                late.insert(request.into_owned(), client);
            }
        }
        Ok(late)
    }

    fn fits(&self, record: &Record<'_>, client: Option<&ClientFacts<'_>>) -> bool {
        let own = record.client.as_ref();
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let token = record.token.as_ref().map(|token| &*token.fingerprint);
        let key = record.static_key.as_ref().map(|key| &*key.fingerprint);
        is(&self.user, own.and_then(|client| client.user.as_deref()))
            && is(&self.session, own.and_then(|client| client.session.as_deref()))
            && is(&self.host, record.target.as_ref().map(|target| &*target.host))
            && is(&self.route, record.route.as_deref())
            && is(&self.credential, record.credential.as_deref())
            && is(&self.code, record.code.as_deref())
            && (is(&self.token, token) || is(&self.token, key))
            && self.since.as_deref().is_none_or(|since| &*record.time >= since)
            && self.until.as_deref().is_none_or(|until| &*record.time < until)
            && (self.process.is_none() || client.is_some_and(|client| self.is_process(client)))
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
