//! What is asked of a policy about one request, and what it says of a connection.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::Method;
use serde_json::{Map, Value};

use crate::model::client::{Client, Parent, Process};
use crate::model::id::RouteName;
use crate::model::reason::Reason;
use crate::model::target::Target;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtConnect {
    /// Its TLS ends here, and each request is judged.
    Intercept,
    /// The client is told the reason, and nothing is dialled.
    Refuse(Reason),
    /// Copied blindly; nothing of ours goes in.
    Tunnel,
}

/// What policy must know of one request.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFacts<'a> {
    pub client: &'a Client,
    /// The routes that the client's session is limited to.
    pub allowed: Option<&'a [RouteName]>,
    pub method: &'a Method,
    /// The target of the tunnel, which the request was checked to agree with.
    pub target: &'a Target,
    /// The path as sent, without query.
    pub path: &'a str,
    /// The routes whose placeholder came with it, where a bound one did.
    pub bound: Option<&'a [RouteName]>,
    /// What policies see of it beside that.
    pub context: Context<'a>,
}

/// The circumstances of a request that policies may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The client's process; `None`: none is found.
    pub process: Option<&'a Process>,
    /// It must have one, which is not found: a policy that looks at it denies.
    pub process_unfound: bool,
    /// The directory that the session was opened in.
    pub project: Option<&'a str>,
    /// What the session is for, in its opener's words.
    pub reason: Option<&'a str>,
    /// How long ago the session was opened; `None`: there is none.
    pub session_age: Option<Duration>,
    /// By the calendar.
    pub now: SystemTime,
}

impl Context<'_> {
    /// Of a client of which nothing is known, now.
    pub fn unknown(now: SystemTime) -> Self {
        let (process, project, reason, session_age) = (None, None, None, None);
        Self { process, process_unfound: false, project, reason, session_age, now }
    }

    /// Seconds. Whoever has no session has none that is young.
    pub(super) fn session_age(&self) -> i64 {
        let age = self.session_age.map(|age| age.as_secs());
        age.and_then(|age| age.try_into().ok()).unwrap_or(i64::MAX)
    }

    /// In UTC; Monday is 1.
    pub(super) fn hour_and_weekday(&self) -> (i64, i64) {
        let since = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let hours = i64::try_from(since.as_secs() / 3600).unwrap_or_default();
        // The first day of all was a Thursday.
        (hours % 24, (hours / 24 + 3) % 7 + 1)
    }

    /// What is known, by its name.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let process = self.process;
        let exe = process.and_then(|process| process.exe.as_deref());
        let command = process.map(|process| process.command.join(" "));
        let parent = process.and_then(|process| process.parent.as_ref());
        let parent = parent.and_then(|parent: &Parent| parent.exe.as_deref());
        let all = [
            ("exe", exe.map(Cow::Borrowed)),
            ("command", command.filter(|command| !command.is_empty()).map(Cow::Owned)),
            ("parent", parent.map(Cow::Borrowed)),
            ("project", self.project.map(Cow::Borrowed)),
            ("reason", self.reason.map(Cow::Borrowed)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// As it is written down: cut where it is long. Method, path and what there is of the process
    /// stand elsewhere in records.
    pub fn recorded(&self) -> Map<String, Value> {
        let cut = |text: &str| match text.len() > MAX_RECORDED {
            true => format!("{}\u{2026}", &text[..text.floor_char_boundary(MAX_RECORDED)]),
            false => text.to_owned(),
        };
        let texts = [("project", self.project), ("reason", self.reason)];
        let known = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
        let mut map: Map<String, Value> =
            known.map(|(name, text)| (name, cut(text).into())).collect();
        let (hour, weekday) = self.hour_and_weekday();
        map.insert("hour".to_owned(), hour.into());
        map.insert("weekday".to_owned(), weekday.into());
        if self.session_age.is_some() {
            map.insert("session_age".to_owned(), self.session_age().into());
        }
        map
    }
}

/// Of each text, in bytes.
const MAX_RECORDED: usize = 512;
