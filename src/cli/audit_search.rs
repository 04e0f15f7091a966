//! `audit tail` and `audit query`: the records that are asked for, in one of three forms.

use std::collections::VecDeque;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::args::{AuditFilter, AuditForm, AuditQuery, AuditTail};
use super::audit_brief::{Entry, Joiner, Layout};
use super::audit_failure::{unreadable, unreadable_record};
use super::failure::Failure;
use super::local_time::Here;
use super::{audit_line, context, printer, terminal};
use crate::audit::query::{Matcher, Query};
use crate::audit::read::Records;
use crate::audit::tail::Tail;
use crate::audit::{Decision, Record};
use crate::config::index::Whereabouts;
use crate::model::secret::Secret;

/// Read of a token on stdin, in bytes.
const MAX_TOKEN: u64 = 64 * 1024;

/// Between two looks at the file, with `--follow`.
const TRAIL_LOOK_EVERY: Duration = Duration::from_millis(200);

/// A request that takes longer is shown before it has ended, too.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(1);

/// So many requests are put in the order of their beginnings; of more, each so many.
const SORTED: usize = 10_000;

pub(super) fn tail(args: &AuditTail, place: &Whereabouts) -> Result<(), Failure> {
    let path = &place.audit;
    let unreadable = |error| unreadable(path, &error);
    let here = Here::new(args.form.utc);
    let query = wanted(&args.filter, &here)?;
    let mut view = View::new(&args.form, here, query.clone());
    let mut tail = if query.is_empty() {
        view.last_lines(path, args.lines).map_err(unreadable)?
    } else {
        // Opened first: what comes while the files are read is not missed.
        let tail = Tail::open(path, 0).map_err(unreadable)?;
        view.last_found(path, Some(args.lines))?;
        view.seen_twice = view.seen;
        tail
    };
    if !args.follow {
        view.also_open(args.lines);
        return view.print();
    }
    view.print()?;
    context::runtime()?.block_on(async {
        // Until Ctrl-C, or until the reader of stdout goes away.
        loop {
            tokio::time::sleep(TRAIL_LOOK_EVERY).await;
            for line in tail.poll().map_err(unreadable)? {
                view.take(line);
            }
            view.also_slow();
            view.print()?;
        }
    })
}

pub(super) fn query(args: &AuditQuery, place: &Whereabouts) -> Result<(), Failure> {
    let here = Here::new(args.form.utc);
    let mut view = View::new(&args.form, here.clone(), wanted(&args.filter, &here)?);
    view.last_found(&place.audit, args.lines)?;
    view.also_open(args.lines.unwrap_or(usize::MAX));
    view.print()?;
    if !view.any && !args.form.json {
        printer::note("nothing in the audit answers to that");
    }
    Ok(())
}

/// The question, times as records write them. A token itself comes on stdin, never as an argument.
fn wanted(args: &AuditFilter, here: &Here) -> Result<Query, Failure> {
    let token = match args.token.as_deref() {
        Some("-") => {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text).map_err(|error| {
                Failure::failed(
                    "stdin-unreadable",
                    error,
                    "pipe the token in: … | valetkey audit query --token -",
                )
            })?;
            Some(Secret::new(text.trim()).fingerprint().to_string())
        }
        other => other.map(str::to_owned),
    };
    let time = |text: &Option<String>| text.as_deref().map(|text| here.moment(text)).transpose();
    let decided = args.decision.as_deref().filter(|_| !args.denied).unwrap_or("deny");
    let decision = Decision::ALL.into_iter().find(|decision| decision.as_str() == decided);
    Ok(Query {
        user: args.user.clone(),
        session: args.session.clone(),
        process: args.process.clone(),
        method: args.method.as_ref().map(|method| method.to_ascii_uppercase()),
        host: args.host.as_ref().map(|host| host.to_ascii_lowercase()),
        path: args.path.clone(),
        route: args.route.clone(),
        credential: args.credential.clone(),
        token,
        decision: decision.filter(|_| args.denied || args.decision.is_some()),
        code: args.code.clone(),
        policy: args.policy.clone(),
        status: args.status,
        since: time(&args.since)?,
        until: time(&args.until)?,
    })
}

/// What counts, on its way to stdout.
struct View {
    matcher: Matcher<String>,
    here: Here,
    form: TrailForm,
    /// Not printed yet.
    held: VecDeque<Item>,
    any: bool,
    /// The last record's number.
    seen: u64,
    /// Up to this one, what is read on was read before.
    seen_twice: u64,
}

enum TrailForm {
    Brief { joiner: Joiner, layout: Layout, looked: Instant },
    Json,
    Long,
}

/// What counts as one where somebody asks for so many.
enum Item {
    Entry(Entry),
    Line(String),
}

impl View {
    fn new(form: &AuditForm, here: Here, query: Query) -> Self {
        let brief = || TrailForm::Brief {
            joiner: Joiner::default(),
            layout: Layout::new(here.clone(), terminal::width(), form.utc),
            looked: Instant::now(),
        };
        let form = match (form.json, form.long) {
            (true, _) => TrailForm::Json,
            (_, true) => TrailForm::Long,
            _ => brief(),
        };
        let (matcher, held) = (Matcher::new(query), VecDeque::new());
        Self { matcher, here, form, held, any: false, seen: 0, seen_twice: 0 }
    }

    /// A line of the file; one that is no record is shown as it is.
    fn take(&mut self, line: String) {
        let record = match serde_json::from_str::<Record<'static>>(&line) {
            Ok(record) => record,
            Err(_) => {
                self.held.push_back(match self.form {
                    TrailForm::Brief { .. } => Item::Entry(Entry::damaged(&line)),
                    TrailForm::Json => Item::Line(line),
                    TrailForm::Long => Item::Line(audit_line::of_json(&line)),
                });
                return;
            }
        };
        if record.seq > self.seen_twice {
            self.seen_twice = 0;
            self.judge(line, record);
        }
    }

    fn judge(&mut self, line: String, record: Record<'static>) {
        self.seen = record.seq;
        for (line, record) in self.matcher.take(line, record) {
            let item = match &mut self.form {
                TrailForm::Brief { joiner, .. } => {
                    joiner.take(&record, &self.here).map(Item::Entry)
                }
                TrailForm::Json => Some(Item::Line(line)),
                TrailForm::Long => Some(Item::Line(audit_line::of_record(&record))),
            };
            self.held.extend(item);
        }
    }

    /// The last items of the trail, read from its end: of a decision and its outcome only the pair
    /// counts, so more lines are taken until there are as many as are asked for.
    fn last_lines(&mut self, path: &Path, most: usize) -> std::io::Result<Tail> {
        let brief = matches!(self.form, TrailForm::Brief { .. });
        let mut lines = if brief { most.saturating_mul(3) } else { most };
        loop {
            let mut tail = Tail::open(path, lines)?;
            let found = tail.poll()?;
            let all = found.len() < lines;
            found.into_iter().for_each(|line| self.take(line));
            if all || !brief || self.held.len() >= most {
                self.keep(most);
                return Ok(tail);
            }
            lines = lines.saturating_mul(4);
            self.held.clear();
            if let TrailForm::Brief { joiner, .. } = &mut self.form {
                *joiner = Joiner::default();
            }
        }
    }

    /// Reads the whole trail, and keeps the last that were found; of all, it prints as it goes.
    fn last_found(&mut self, path: &Path, most: Option<usize>) -> Result<(), Failure> {
        let records = Records::open(path).map_err(|error| unreadable(path, &error))?;
        for read in records {
            let (line, record) = read.map_err(|error| unreadable_record(path, &error))?;
            self.judge(String::from_utf8_lossy(&line.bytes).into_owned(), record);
            match most {
                Some(most) if self.held.len() > most.saturating_add(SORTED) => self.keep(most),
                None if self.held.len() > SORTED => self.print()?,
                _ => {}
            }
        }
        if let Some(most) = most {
            self.keep(most);
        }
        Ok(())
    }

    fn keep(&mut self, most: usize) {
        let more = self.held.len().saturating_sub(most);
        self.held.drain(..more);
    }

    /// Requests that have not ended, where nobody waits for that.
    fn also_open(&mut self, most: usize) {
        if let TrailForm::Brief { joiner, .. } = &self.form {
            self.held.extend(joiner.all_open().into_iter().map(Item::Entry));
            self.sort();
            self.keep(most);
        }
    }

    /// Requests that have not ended for a while.
    fn also_slow(&mut self) {
        let TrailForm::Brief { joiner, looked, .. } = &mut self.form else { return };
        let Some(now) = Instant::now().checked_sub(OUTCOME_PATIENCE) else { return };
        let slow = joiner.open_since(*looked, now);
        *looked = now.max(*looked);
        self.held.extend(slow.into_iter().map(Item::Entry));
    }

    fn sort(&mut self) {
        self.held.make_contiguous().sort_by_key(|item| match item {
            Item::Entry(entry) => entry.seq,
            Item::Line(_) => 0,
        });
    }

    fn print(&mut self) -> Result<(), Failure> {
        if matches!(self.form, TrailForm::Brief { .. }) {
            self.sort();
        }
        self.any |= !self.held.is_empty();
        let mut entries = Vec::new();
        for item in self.held.drain(..) {
            match item {
                Item::Entry(entry) => entries.push(entry),
                Item::Line(line) if matches!(self.form, TrailForm::Json) => {
                    printer::json_line(line.as_bytes())?;
                }
                Item::Line(line) => printer::line(line)?,
            }
        }
        if let TrailForm::Brief { layout, .. } = &mut self.form {
            for line in layout.lines(&entries) {
                printer::line(line)?;
            }
        }
        Ok(())
    }
}
