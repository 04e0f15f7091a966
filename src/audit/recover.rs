//! At open: where does the chain go on, and is anything wrong with what is there?
//!
//! Reads from the end backwards, only as far as the record that the head names. The chain is never
//! quietly anchored anew: where the file contradicts the head, the head wins, so that the
//! contradiction stays in the chain and `verify` finds it for ever.

use std::io;

use super::chain::{self, GENESIS, Link, Sealed};
use super::finding::Finding;
use super::head::HeadFile;
use super::index::KnownTrail;
use super::read::{self, Backward};
use super::sink::file::end_of_last_line;
use super::sink::places::TrailPaths;

/// Where to go on, and what was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) last: Link,
    pub(crate) findings: Vec<Finding>,
}

/// Compares the tail of the files with the head, and with what is known beside it.
pub(crate) fn recover(
    places: &TrailPaths,
    head: &HeadFile,
    known: &KnownTrail,
) -> io::Result<Recovered> {
    let named = match head {
        HeadFile::Valid(head) => Some(head.link),
        // Nobody says where to end but the index.
        HeadFile::Absent | HeadFile::Invalid => known.link.filter(|link| link.seq > 0),
    };
    let tail = walk(places, named.map(|link| link.seq))?;
    let mut findings = Vec::new();
    if tail.damaged {
        findings.push(Finding::damaged());
    }
    if known.invalid {
        findings.push(Finding::no_head(
            "audit-index-invalid",
            "the audit's index is not signed by our key",
        ));
    }
    match head {
        HeadFile::Absent if tail.last.is_some() || known.link.is_some() => {
            findings.push(Finding::no_head(
                "audit-head-missing",
                "the audit had a head, and it is gone",
            ));
        }
        HeadFile::Invalid => findings.push(Finding::no_head(
            "audit-head-invalid",
            "the audit's head is not signed by our key",
        )),
        HeadFile::Absent | HeadFile::Valid(_) => {}
    }
    let mut last = tail.last.unwrap_or(Link::START);
    if let Some(named) = named {
        if last.seq < named.seq {
            findings.push(Finding::missing(last.seq, named.seq));
            last = named;
        } else if tail.oldest_walked.is_some_and(|link| link.seq == named.seq && link != named) {
            findings.push(Finding::rewritten(named.seq));
            last = Link { seq: last.seq, hash: named.hash };
        }
    }
    if let Some(known) = known.link.filter(|known| known.seq > last.seq) {
        // Head and file were put back together.
        findings.push(Finding::missing(last.seq, known.seq));
        last = known;
    }
    Ok(Recovered { last, findings })
}

#[derive(Default)]
struct WalkedTail {
    /// The last record whose hash fits.
    last: Option<Link>,
    oldest_walked: Option<Link>,
    /// Lines on the way that are no records, or do not follow each other.
    damaged: bool,
}

/// Walks back to record `upto`, or to the last intact record where it is `None`.
fn walk(places: &TrailPaths, upto: Option<u64>) -> io::Result<WalkedTail> {
    let mut tail = WalkedTail::default();
    let mut younger: Option<Sealed> = None;
    for (_, file) in read::open_all(places)?.into_iter().rev() {
        let end = end_of_last_line(&file, file.metadata()?.len())?;
        let mut lines = Backward::new(file, end);
        while let Some(line) = lines.next_line()? {
            let Some(record) = chain::unseal(&line) else {
                tail.damaged = true;
                younger = None;
                continue;
            };
            tail.damaged |= younger.is_some_and(|y| !y.follows(&record.link()));
            tail.last.get_or_insert(record.link());
            tail.oldest_walked = Some(record.link());
            younger = Some(record);
            if upto.is_none_or(|upto| record.seq <= upto) {
                return Ok(tail);
            }
        }
    }
    // All read: it should have begun at the beginning.
    tail.damaged |= younger.is_some_and(|y| y.seq != 1 || y.prev != GENESIS);
    Ok(tail)
}
