//! What the audit's one lock guards: number, date, chain, and hand to the sink.
//!
//! `last` is the end of the chain with what is still pending, `written` the end of what the
//! kernel has. A record that cannot be written is taken out of the chain again.

use std::io;
use std::time::SystemTime;

use super::chain::{self, Link};
use super::encode;
use super::event::Event;
use super::sink::file::FileSink;
use crate::model::clock::{Moment, Stamps, rfc3339_millis};

/// How the audit is, for `status` and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the last attempt to write failed; `None`: it did not.
    pub failing: Option<String>,
    /// Since when attempts have failed.
    pub since: Option<SystemTime>,
    /// Why the last flush failed (head, sync or deletion of old files); `None`: it did not.
    pub unflushed: Option<String>,
    /// Attempts to write that failed since the start.
    pub failures: u64,
    /// Records that could not be written since the start.
    pub lost: u64,
    /// Number of the last record written.
    pub last: u64,
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) sink: FileSink,
    last: Link,
    written: Link,
    /// Sealed lines from `written` to `last`. Reused for ever: the path allocates no line.
    pending: Vec<u8>,
    stamps: Stamps,
    health: Health,
    /// Records lost since `health.failing` was set.
    lost_now: u64,
}

impl Writer {
    pub(crate) fn new(sink: FileSink, last: Link) -> Self {
        let health = Health { last: last.seq, ..Health::default() };
        Self {
            sink,
            last,
            written: last,
            pending: Vec::with_capacity(BATCH * 2),
            stamps: Stamps::default(),
            health,
            lost_now: 0,
        }
    }

    /// Chains a record ([`encode::rest`] of it) and writes it with all that is pending. After an
    /// error it is not in the chain.
    pub(crate) fn write(&mut self, record: &[u8], now: Moment) -> io::Result<()> {
        let (mark, before) = (self.pending.len(), self.last);
        self.chain(record, now);
        if let Err(e) = self.write_out(now) {
            self.pending.truncate(mark);
            self.last = before;
            self.lost();
            return Err(e);
        }
        self.note(now);
        Ok(())
    }

    /// Chains a record that the next write takes along. An error means that it is lost: while
    /// nothing can be written, only so much is kept.
    pub(crate) fn buffer(&mut self, record: &[u8], now: Moment) -> io::Result<()> {
        if self.pending.len() >= BATCH
            && let Err(e) = self.flush(now)
            && self.pending.len() >= MAX_PENDING
        {
            self.lost();
            return Err(e);
        }
        self.chain(record, now);
        Ok(())
    }

    /// Writes what is pending and looks after the file.
    pub(crate) fn flush(&mut self, now: Moment) -> io::Result<()> {
        self.write_out(now)?;
        self.note(now);
        Ok(())
    }

    /// Takes note of how a flush as a whole went.
    pub(crate) fn flushed(&mut self, error: Option<&io::Error>) {
        if let (Some(error), None) = (error, &self.health.unflushed) {
            tracing::error!(code = "audit-unflushed", %error, "the audit could not be flushed");
        }
        self.health.unflushed = error.map(ToString::to_string);
    }

    /// The end of what is in the file.
    pub(crate) fn written(&self) -> Link {
        self.written
    }

    pub(crate) fn health(&self) -> Health {
        self.health.clone()
    }

    fn chain(&mut self, record: &[u8], now: Moment) {
        let start = self.pending.len();
        let seq = self.last.seq + 1;
        self.pending.extend_from_slice(chain::FRONT);
        self.pending.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
        self.pending.extend_from_slice(b",\"time\":\"");
        self.pending.extend_from_slice(self.stamps.millis(now.wall).as_bytes());
        self.pending.push(b'"');
        self.pending.extend_from_slice(record);
        let hash = chain::seal(&mut self.pending, start, &self.last.hash);
        self.last = Link { seq, hash };
    }

    fn write_out(&mut self, now: Moment) -> io::Result<()> {
        let done = if self.pending.is_empty() {
            self.sink.look(now.mono)
        } else {
            self.sink.append(&self.pending, self.written.seq + 1, now.mono)
        };
        match done {
            Ok(()) => {
                self.pending.clear();
                self.written = self.last;
                self.health.last = self.last.seq;
                Ok(())
            }
            Err(e) => {
                if self.health.failing.is_none() {
                    tracing::error!(code = "audit-unavailable", error = %e, "the audit cannot be written");
                }
                self.health.failures += 1;
                self.health.failing = Some(e.to_string());
                self.health.since.get_or_insert(now.wall);
                Err(e)
            }
        }
    }

    /// After a write that worked: what happened to the trail becomes part of it.
    fn note(&mut self, now: Moment) {
        let mut events = Vec::new();
        for notice in self.sink.take_notices() {
            tracing::error!(
                code = notice.code,
                torn = notice.torn,
                "the audit file is not as it was left"
            );
            events.push(Event::notice(notice.code).with("torn_bytes", notice.torn));
        }
        if let (Some(error), Some(since)) = (self.health.failing.take(), self.health.since.take()) {
            let lost = std::mem::take(&mut self.lost_now);
            tracing::warn!(code = "audit-resumed", lost, "the audit can be written again");
            let event = Event::notice("audit-resumed").with("lost", lost);
            events.push(event.with("since", rfc3339_millis(since)).with("error", error));
        }
        if events.is_empty() {
            return;
        }
        for event in events {
            encode::rest(&event.into_record(), |record| self.chain(record, now));
        }
        // A failure is in `health`; the lines stay pending and go with the next write.
        self.write_out(now).ok();
    }

    fn lost(&mut self) {
        self.health.lost += 1;
        self.lost_now += 1;
    }
}

/// Pending bytes that are written without waiting for the next decision.
const BATCH: usize = 64 * 1024;

/// Pending bytes kept while nothing can be written: about 3,000 outcomes.
const MAX_PENDING: usize = 1024 * 1024;
