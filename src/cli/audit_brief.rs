//! Requests as lines that fit the terminal: a decision and its outcome are one line, other events
//! one each. Pure but for the terminal's colours.

use std::collections::BTreeMap;
use std::time::Instant;

use anstyle::Style;
use jiff::civil::Date;

use super::audit_line::word;
use super::local_time::Here;
use super::printer;
use super::terminal::{BAD, FAINT, GOOD, ODD, clip, columns, pad, paint};
use crate::audit::event::{ClientFacts, OutcomeFacts};
use crate::audit::{Decision, EventKind, Record};

/// A request, or an event that is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its record's: the order in which things were decided.
    pub(super) seq: u64,
    time: String,
    what: BriefKind,
}

#[derive(Clone, Debug, PartialEq)]
enum BriefKind {
    Event { text: String, failed: bool },
    Request(Box<Request>),
}

#[derive(Clone, Debug, PartialEq)]
struct Request {
    who: String,
    tool: String,
    /// Method, host and path.
    asked: String,
    decision: Option<Decision>,
    route: Option<String>,
    code: Option<String>,
    /// Those that forbade it.
    policies: Option<String>,
    static_key: Option<String>,
    outcome: Option<OutcomeFacts>,
}

/// Decisions that wait for their outcomes.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// By request: those are named in the order of time.
    open: BTreeMap<String, (Instant, Entry)>,
}

impl Joiner {
    /// The entry that a record completes. An outcome whose decision was not seen is none.
    pub(super) fn take(&mut self, record: &Record<'_>, here: &Here) -> Option<Entry> {
        let Some(request) = record.request.as_deref() else {
            return Some(Entry::event(record, here));
        };
        match record.event {
            EventKind::Decision if record.target.is_some() => {
                let mut entry = Entry::request(record);
                if let Some((_, earlier)) = self.open.get(request) {
                    // Decided again, as after a 401: it began when it began.
                    (entry.seq, entry.time) = (earlier.seq, earlier.time.clone());
                }
                self.open.insert(request.to_owned(), (Instant::now(), entry));
                if self.open.len() > MOST_OPEN {
                    return self.open.pop_first().map(|(_, (_, entry))| entry);
                }
                None
            }
            EventKind::Outcome => {
                let (_, mut entry) = self.open.remove(request)?;
                entry.ends(record);
                Some(entry)
            }
            _ => Some(Entry::event(record, here)),
        }
    }

    /// What began before then and has not ended; its end is an entry of its own.
    pub(super) fn open_since(&self, then: Instant, before: Instant) -> Vec<Entry> {
        let open = self.open.values().filter(|(began, _)| *began <= before && *began > then);
        open.map(|(_, entry)| entry.clone()).collect()
    }

    /// All that has not ended.
    pub(super) fn all_open(&self) -> Vec<Entry> {
        self.open.values().map(|(_, entry)| entry.clone()).collect()
    }
}

/// As many as are under way at once, and those that a kill cut off.
const MOST_OPEN: usize = 100_000;

impl Entry {
    /// A line of the file that is no record.
    pub(super) fn damaged(line: &str) -> Self {
        let text = format!("not a record: {}", printer::plain(line));
        Self { seq: 0, time: String::new(), what: BriefKind::Event { text, failed: true } }
    }

    fn request(record: &Record<'_>) -> Self {
        let asked = record.target.as_ref().map(|target| {
            let port = if target.port == 443 { String::new() } else { format!(":{}", target.port) };
            let path = target.path.as_deref().unwrap_or_default();
            printer::plain(&format!("{} {}{port}{path}", target.method, target.host))
        });
        let mut request = Request {
            who: NOBODY.into(),
            tool: NOBODY.into(),
            asked: asked.unwrap_or_default(),
            decision: record.decision,
            route: record.route.as_deref().map(printer::plain),
            code: record.code.as_deref().map(printer::plain),
            policies: (record.decision == Some(Decision::Deny) && !record.policies.is_empty())
                .then(|| printer::plain(&record.policies.join(", "))),
            static_key: record.static_key.as_ref().map(|key| printer::plain(&key.kind)),
            outcome: None,
        };
        request.client(record.client.as_ref());
        Self {
            seq: record.seq,
            time: record.time.clone().into_owned(),
            what: BriefKind::Request(Box::new(request)),
        }
    }

    fn ends(&mut self, record: &Record<'_>) {
        let BriefKind::Request(request) = &mut self.what else { return };
        request.outcome = record.outcome;
        if let Some(code) = record.code.as_deref() {
            request.code = Some(printer::plain(code));
        }
        request.client(record.client.as_ref());
    }

    fn event(record: &Record<'_>, here: &Here) -> Self {
        let mut words = vec![match record.decision {
            Some(Decision::Deny) => "refused".to_owned(),
            _ => record.event.as_str().to_owned(),
        }];
        let client = record.client.as_ref();
        let session =
            client.and_then(|client| client.session.as_deref().or(client.user.as_deref()));
        words.extend(
            [record.credential.as_deref(), session].into_iter().flatten().map(str::to_owned),
        );
        words.extend(
            record.context.get("action").and_then(|action| action.as_str()).map(str::to_owned),
        );
        words.extend(record.code.as_deref().map(str::to_owned));
        if let Some(token) = &record.token {
            words.push(format!("until {}", here.short(&token.expires)));
        }
        for (key, value) in record.context.iter().filter(|(key, _)| *key != "action") {
            let value = value.as_str().map_or_else(|| value.to_string(), |text| here.short(text));
            words.push(format!("{key} {value}"));
        }
        let text = printer::plain(&words.join("  "));
        let what = BriefKind::Event { text, failed: record.code.is_some() };
        Self { seq: record.seq, time: record.time.clone().into_owned(), what }
    }
}

/// In a column that would be empty.
const NOBODY: &str = "-";

impl Request {
    fn client(&mut self, client: Option<&ClientFacts<'_>>) {
        let Some(client) = client else { return };
        let uid = client.uid.map(|uid| format!("uid {uid}"));
        let name = client.user.as_deref().or(client.session.as_deref()).map(str::to_owned);
        if let Some(who) = name.or(uid) {
            self.who = printer::plain(&who);
        }
        if let Some(exe) = client.exe.as_deref() {
            self.tool = printer::plain(exe.rsplit('/').next().unwrap_or_default());
        }
    }

    /// By which route, or why not; a mark for those who see no colours.
    fn end(&self) -> String {
        let mut text = match (&self.code, &self.route, self.decision) {
            (Some(code), ..) => format!("! {code}"),
            (None, Some(route), _) => route.clone(),
            (None, None, Some(decision)) => format!("({})", word(decision)),
            (None, None, None) => String::new(),
        };
        if let Some(policies) = &self.policies {
            text.push_str(&format!(": {policies}"));
        }
        if let Some(kind) = &self.static_key {
            text.push_str(&format!(" key:{kind}"));
        }
        text
    }

    fn style(&self) -> Style {
        let status = self.outcome.and_then(|outcome| outcome.status);
        match (self.decision, status) {
            (Some(Decision::Deny), _) | (_, Some(500..)) => BAD,
            _ if self.code.is_some() => BAD,
            (_, Some(400..)) => ODD,
            _ if self.static_key.is_some() => ODD,
            (Some(Decision::Inject), _) => GOOD,
            _ => Style::new(),
        }
    }

    fn status(&self) -> String {
        match self.outcome {
            None => "\u{2026}".to_owned(),
            Some(outcome) => outcome.status.map_or_else(|| NOBODY.to_owned(), |s| s.to_string()),
        }
    }

    fn took(&self) -> String {
        match self.outcome.map(|outcome| outcome.ms) {
            None => String::new(),
            Some(ms @ ..1_000) => format!("{ms} ms"),
            Some(ms @ ..100_000) => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
            Some(ms @ ..6_000_000) => format!("{} min", ms / 60_000),
            Some(ms) => format!("{} h", ms / 3_600_000),
        }
    }
}

/// Columns that grow with what comes, and never beyond the terminal.
#[derive(Debug)]
pub(super) struct Layout {
    here: Here,
    width: usize,
    who: usize,
    tool: usize,
    asked: usize,
    end: usize,
    /// The day of the line before.
    day: Option<Date>,
}

/// `20:00:00`
const TIME: usize = 8;
/// `200`
const STATUS: usize = 3;
/// `12.3 s`
const TOOK: usize = 6;
/// Of a name, however wide the terminal.
const NAME: usize = 12;
/// Of a route or code.
const END: usize = 40;
/// Less of a request says nothing; what is left beside it is room for the longest code.
const LEAST_ASKED: usize = 20;

impl Layout {
    /// For lines of at most so many columns. `dated`: the first day is named, though it be today.
    pub(super) fn new(here: Here, width: usize, dated: bool) -> Self {
        let day = (!dated).then(|| here.today());
        Self { here, width, who: 1, tool: 1, asked: 1, end: 1, day }
    }

    /// The lines of entries, with a line for each day that begins.
    pub(super) fn lines(&mut self, entries: &[Entry]) -> Vec<String> {
        let requests = entries.iter().filter_map(|entry| match &entry.what {
            BriefKind::Request(request) => Some(request),
            BriefKind::Event { .. } => None,
        });
        for request in requests {
            self.who = self.who.max(columns(&request.who).min(NAME));
            self.tool = self.tool.max(columns(&request.tool).min(NAME));
            self.asked = self.asked.max(columns(&request.asked));
            self.end = self.end.max(columns(&request.end()).min(END));
        }
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            lines.extend(self.new_day(&entry.time));
            lines.push(self.line(entry));
        }
        lines
    }

    fn new_day(&mut self, time: &str) -> Option<String> {
        let at = self.here.of_record(time)?;
        if self.day.replace(at.date()) == Some(at.date()) {
            return None;
        }
        let head = format!("{} {} {}", at.strftime("%A"), at.date(), self.here.zone(&at));
        Some(paint(FAINT, &head))
    }

    fn line(&self, entry: &Entry) -> String {
        let at = self.here.of_record(&entry.time);
        let time = at.map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
        let time = pad(&time, TIME);
        match &entry.what {
            BriefKind::Event { text, failed } => {
                let text = clip(text, self.width.saturating_sub(TIME + 1), false);
                format!(
                    "{} {}",
                    paint(FAINT, &time),
                    paint(if *failed { BAD } else { FAINT }, &text)
                )
            }
            BriefKind::Request(request) => self.request(&time, request),
        }
    }

    fn request(&self, time: &str, request: &Request) -> String {
        let (who, tool, asked, end) = self.fitted();
        let style = request.style();
        let line = format!(
            "{} {} {} {} {} {:>TOOK$} {}",
            paint(FAINT, time),
            pad(&clip(&request.who, who, false), who),
            pad(&clip(&request.tool, tool, false), tool),
            pad(&clip(&request.asked, asked, true), asked),
            paint(style, &pad(&request.status(), STATUS)),
            request.took(),
            paint(style, &clip(&request.end(), end, false)),
        );
        line.trim_end().to_owned()
    }

    /// The columns as they fit: the request gives way first, then the names, then the end.
    fn fitted(&self) -> (usize, usize, usize, usize) {
        let (mut who, mut tool, mut end) = (self.who, self.tool, self.end);
        let rest =
            |who, tool, end| self.width.saturating_sub(TIME + STATUS + TOOK + 6 + who + tool + end);
        while rest(who, tool, end) < LEAST_ASKED.min(self.asked) {
            match (who.max(tool), end) {
                (5.., _) if who >= tool => who -= 1,
                (5.., _) => tool -= 1,
                (_, 9..) => end -= 1,
                _ => break,
            }
        }
        (who, tool, self.asked.min(rest(who, tool, end)), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(lines: &[&str], width: usize) -> Vec<String> {
        let here = Here::new(true);
        let mut joiner = Joiner::default();
        let mut entries = Vec::new();
        for line in lines {
            entries.extend(joiner.take(&serde_json::from_str(line).unwrap(), &here));
        }
        entries.extend(joiner.all_open());
        entries.sort_by_key(|entry| entry.seq);
        Layout::new(here, width, true).lines(&entries)
    }

    const DECISION: &str = r#"{"v":1,"seq":7,"time":"2026-01-02T03:04:05.678Z","event":"decision","request":"01J",
        "client":{"session":"run-1","user":"ann","uid":1000},"target":{"method":"GET","host":"api.orders.example",
        "port":443,"path":"/v1/orders"},"route":"orders-read","credential":"orders","decision":"inject"}"#;
    const OUTCOME: &str = r#"{"v":1,"seq":9,"time":"2026-01-02T03:04:06.678Z","event":"outcome","request":"01J",
        "client":{"pid":7,"exe":"/usr/bin/curl"},"outcome":{"status":200,"bytes_in":0,"bytes_out":9,"ms":1000}}"#;
    const MINT: &str = r#"{"v":1,"seq":8,"time":"2026-01-02T03:04:05.678Z","event":"mint","credential":"orders",
        "context":{"action":"minted"},"token":{"fingerprint":"sha256:00","expires":"2026-01-02T03:09:05Z"}}"#;

    #[test]
    fn a_decision_and_its_outcome_are_one_line() {
        assert_eq!(
            joined(&[DECISION, MINT, OUTCOME], 80),
            [
                "Friday 2026-01-02 UTC",
                "03:04:05 ann curl GET api.orders.example/v1/orders 200  1.0 s orders-read",
                "03:04:05 mint  orders  minted  until 2026-01-02 03:09",
            ]
        );
    }

    #[test]
    fn a_request_that_has_not_ended_is_shown_and_an_end_without_a_beginning_is_not() {
        let open = joined(&[DECISION], 80);
        assert_eq!(
            open[1],
            "03:04:05 ann - GET api.orders.example/v1/orders …          orders-read"
        );
        assert!(joined(&[OUTCOME], 80).is_empty());
    }

    #[test]
    fn what_was_refused_says_why_in_words() {
        let denied = DECISION.replace("\"inject\"", "\"deny\",\"code\":\"route-denied\"");
        let outcome = OUTCOME.replace("200", "403").replace(":1000}", ":0}");
        let lines = joined(&[&denied, &outcome], 80);
        assert!(lines[1].ends_with("403   0 ms ! route-denied"), "{lines:?}");
        let counted = r#"{"v":1,"seq":1,"time":"2026-01-02T03:04:05.678Z","event":"decision","decision":"deny",
            "client":{"user":"ann"},"code":"proxy-auth-failed","context":{"refusals":12}}"#;
        let lines = joined(&[counted], 80);
        assert_eq!(lines[1], "03:04:05 refused  ann  proxy-auth-failed  refusals 12");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let long = DECISION
            .replace("/v1/orders", &format!("/v1/{}", "x".repeat(500)))
            .replace("\"ann\"", "\"a-very-long-login-name-of-somebody\"")
            .replace("orders-read", "the-route-for-reading-orders-and-their-positions");
        let wide = DECISION.replace("\"ann\"", "\"日本語日本語日本語\"");
        let outcome = OUTCOME.replace("/curl", "/日本語-program-with-a-name");
        for width in [40, 41, 60, 79, 80, 81, 132, 300] {
            for lines in [
                joined(&[&long, &outcome, MINT], width),
                joined(&[&wide, &outcome, DECISION], width),
            ] {
                let over = lines.iter().find(|line| columns(line) > width);
                assert!(over.is_none(), "{width}: {over:?}");
            }
        }
    }

    #[test]
    fn a_text_of_others_does_nothing_to_the_terminal() {
        let evil = DECISION.replace("/v1/orders", r"/v1/\u001b[2J\u202e");
        let lines = joined(&[&evil], 80);
        assert!(lines[1].contains("/v1/?[2J?"), "{lines:?}");
    }

    #[test]
    fn a_request_decided_again_is_one_line() {
        let again =
            DECISION.replace("\"seq\":7", "\"seq\":8").replace("03:04:05.678", "03:04:06.000");
        let lines = joined(&[DECISION, &again, OUTCOME], 80);
        assert!(lines.len() == 2 && lines[1].starts_with("03:04:05 "), "{lines:?}");
    }
}
