//! `audit verify`: is every record still there, unchanged and in its place?
//!
//! Reads all files in chain order and checks each line's hash, number and predecessor, then the end
//! against the signed head, and what is known outside the files: the index beside the key, and a
//! checkpoint that somebody kept. A live writer may be ahead of the head and in the middle of a
//! line.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize as _;

use super::chain::{self, GENESIS, Link, Sealed};
use super::checkpoint::Checkpoint;
use super::event::{EventKind, Record};
use super::head::HeadFile;
use super::index::{Index, KnownTrail};
use super::key::Key;
use super::read::{Line, Lines};
use super::sink::places::TrailPaths;

/// What a walk along the chain has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// How many records are intact.
    pub records: u64,
    /// Number of the first and of the last of them; 0 where there is none.
    pub first: u64,
    pub last: u64,
    /// Names the last of them, to be kept elsewhere. Nothing where it is not intact.
    #[serde(serialize_with = "as_text")]
    pub checkpoint: Option<Checkpoint>,
    /// Whether the last line is not complete: just being written, or its writer was killed. No
    /// problem.
    pub torn: bool,
    /// What is wrong, in the order of the files; at most [`MAX_PROBLEMS`].
    pub problems: Vec<VerifyProblem>,
    /// What the audit said about itself: interruptions, and ends that were torn off by a kill.
    pub remarks: Vec<VerifyProblem>,
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct VerifyProblem {
    pub code: String,
    pub file: PathBuf,
    /// 1-based; 0 where no line can be named.
    pub line: usize,
    /// In lower case without a final stop.
    pub message: String,
    /// What to do, or what it may mean.
    pub hint: &'static str,
}

impl VerifyReport {
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty()
    }
}

fn as_text<S: serde::Serializer>(
    checkpoint: &Option<Checkpoint>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    checkpoint.map(|checkpoint| checkpoint.to_string()).serialize(serializer)
}

/// Checks the audit whose current file is `path`. Without a key the head cannot be checked, and
/// that is said as a problem where there are records.
pub fn verify(path: &Path, key: Option<&Key>) -> io::Result<VerifyReport> {
    walk(path, key, KnownTrail::default(), None)
}

/// The same, with what the index of a state directory knows, and a checkpoint.
pub fn verify_against(
    path: &Path,
    key: Option<&Key>,
    state_dir: &Path,
    checkpoint: Option<Checkpoint>,
) -> io::Result<VerifyReport> {
    let index = Index::of(state_dir, path);
    let known = key.map_or(Ok(KnownTrail::default()), |key| index.read(key))?;
    let mut report = walk(path, key, known.clone(), checkpoint)?;
    // What the trail does not say itself: rotation may have removed it, or somebody.
    for noted in known.findings {
        let said = |problem: &VerifyProblem| problem.code == noted.code;
        if !report.problems.iter().any(said) {
            report.problems.push(VerifyProblem {
                message: format!("noted at {}: {}", noted.time, noted.message),
                code: noted.code,
                file: index.path.clone(),
                line: 0,
                hint: FOR_GOOD,
            });
        }
    }
    report.checkpoint = report.checkpoint.filter(|_| report.is_intact());
    Ok(report)
}

fn walk(
    path: &Path,
    key: Option<&Key>,
    known: KnownTrail,
    checkpoint: Option<Checkpoint>,
) -> io::Result<VerifyReport> {
    let places = TrailPaths::of(path);
    let read_head = || key.map_or(Ok(HeadFile::Invalid), |key| HeadFile::read(&places.head, key));
    // The head first: records that are written meanwhile make the file longer than it says. But
    // the oldest record is asked for after opening, because rotation deletes meanwhile.
    let before = read_head()?;
    let lines = Lines::open(path)?;
    let after = read_head()?;
    let mut walk = Walk::new(path, &before, &after, &known, checkpoint);
    for line in lines {
        walk.line(&line?);
    }
    Ok(walk.end(&before, &known, key.is_some()))
}

struct Walk {
    report: VerifyReport,
    /// The end of what has been checked; `None` behind a damaged line.
    last: Option<Link>,
    begun: bool,
    /// Records that must be there as they were, and who says so.
    named: Vec<(&'static str, Link)>,
    oldest: Option<u64>,
    file: PathBuf,
    number: usize,
}

impl Walk {
    fn new(
        path: &Path,
        before: &HeadFile,
        after: &HeadFile,
        known: &KnownTrail,
        checkpoint: Option<Checkpoint>,
    ) -> Self {
        let head = match before {
            HeadFile::Valid(head) => Some(head.link),
            HeadFile::Absent | HeadFile::Invalid => None,
        };
        let oldest = match after {
            HeadFile::Valid(head) => Some(head.oldest),
            HeadFile::Absent | HeadFile::Invalid => None,
        };
        let checkpoint = checkpoint.map(|checkpoint| checkpoint.0);
        let named = [("head", head), ("index", known.link), (CHECKPOINT, checkpoint)];
        let named = named.into_iter().filter_map(|(who, link)| Some((who, link?))).collect();
        let report = VerifyReport::default();
        Self { report, last: None, begun: false, named, oldest, file: path.to_owned(), number: 0 }
    }

    fn line(&mut self, line: &Line) {
        if self.report.torn {
            self.report.torn = false;
            self.problem(
                "audit-record-changed",
                "a line is cut off before the end of the audit".into(),
                CHANGED,
            );
        }
        if *line.file != self.file {
            self.file = line.file.to_path_buf();
        }
        self.number = line.number;
        if !line.whole {
            self.report.torn = true;
            return;
        }
        let Some(record) = chain::unseal(&line.bytes) else {
            self.problem(
                "audit-record-changed",
                "the record does not fit its hash".into(),
                CHANGED,
            );
            self.last = None;
            self.begun = true;
            return;
        };
        self.place(&record);
        self.compare(&record);
        self.last = Some(record.link());
        self.begun = true;
        self.report.records += 1;
        self.report.last = self.report.last.max(record.seq);
        if self.report.first == 0 {
            self.report.first = record.seq;
        }
        self.remark(&line.bytes);
    }

    /// Whether it is the one that was named, once for each record.
    fn compare(&mut self, record: &Sealed) {
        let differs =
            |(_, link): &&(&str, Link)| link.seq == record.seq && link.hash != record.hash;
        let Some((who, _)) = self.named.iter().find(differs) else { return };
        let message = format!("record {} is not the one that the {who} names", record.seq);
        self.problem(
            "audit-rewritten",
            message,
            "the audit was written anew from here or from before; look for a backup",
        );
    }

    /// Whether the record stands where it should.
    fn place(&mut self, record: &Sealed) {
        let seq = record.seq;
        match self.last {
            Some(last) if record.follows(&last) => {}
            Some(last) if seq > last.seq + 1 => {
                let message =
                    format!("records {} to {} are missing before this line", last.seq + 1, seq - 1);
                self.problem("audit-record-missing", message, MISSING);
            }
            Some(last) if seq <= last.seq => {
                let message = format!("record {seq} stands behind record {}", last.seq);
                self.problem("audit-record-misplaced", message, CHANGED);
            }
            Some(_) => self.problem(
                "audit-record-changed",
                format!("record {seq} does not continue the one before"),
                CHANGED,
            ),
            // Behind a damaged line only the order can be judged.
            None if self.begun => {
                if seq <= self.report.last {
                    let message = format!("record {seq} stands behind record {}", self.report.last);
                    self.problem("audit-record-misplaced", message, CHANGED);
                }
            }
            None if seq == 1 => {
                if record.prev != GENESIS {
                    self.problem(
                        "audit-record-changed",
                        "the first record names one before".into(),
                        CHANGED,
                    );
                }
            }
            None => {
                if let Some(oldest) = self.oldest.filter(|oldest| *oldest < seq) {
                    let message =
                        format!("records {oldest} to {} are missing before this line", seq - 1);
                    self.problem("audit-record-missing", message, MISSING);
                }
            }
        }
    }

    fn end(mut self, head: &HeadFile, known: &KnownTrail, has_key: bool) -> VerifyReport {
        let last = self.report.last;
        if let Some(end) =
            self.named.iter().map(|(_, link)| link.seq).max().filter(|end| *end > last)
        {
            let message = format!("records {} to {end} are missing at the end", last + 1);
            self.problem("audit-record-missing", message, MISSING);
        }
        let first = self.report.first;
        let named = self.named.iter().find(|(who, _)| *who == CHECKPOINT);
        if let Some((_, link)) = named.filter(|(_, link)| link.seq < first) {
            let message = format!("record {} of the checkpoint is no longer kept", link.seq);
            self.problem(
                "audit-checkpoint-too-old",
                message,
                "give a newer one: `keep` and `max_size` of [audit] say how much is kept",
            );
        }
        match head {
            HeadFile::Valid(_) => {}
            _ if !has_key => self.problem(
                "audit-key-missing",
                "without audit.key the end of the audit cannot be checked".into(),
                "give the state directory that holds it",
            ),
            HeadFile::Absent if self.report.records == 0 && known.link.is_none() => {}
            HeadFile::Absent => self.problem(
                "audit-head-missing",
                "there is no head, so records may be missing at the end".into(),
                "the next start of the daemon writes a head and notes this for good",
            ),
            HeadFile::Invalid => self.problem(
                "audit-head-invalid",
                "the head is not signed by our key, so records may be missing at the end".into(),
                "head or key were changed; the next start of the daemon notes this for good",
            ),
        }
        if known.invalid {
            self.problem(
                "audit-index-invalid",
                "the index beside the key is not signed by it".into(),
                "index or key were changed; the next start of the daemon notes this for good",
            );
        }
        let intact = self.last.filter(|_| self.report.is_intact());
        self.report.checkpoint = intact.map(Checkpoint);
        self.report
    }

    /// Notes of the audit about itself. Nearly no line is one, so the JSON is read only where
    /// the bytes suggest it. What a start found wrong stays wrong.
    fn remark(&mut self, line: &[u8]) {
        if !line.windows(NOTICE.len()).any(|w| w == NOTICE) {
            return;
        }
        let Ok(record) = serde_json::from_slice::<Record<'static>>(line) else { return };
        if record.event != EventKind::Config {
            return;
        }
        let code = record.code.unwrap_or_default();
        let context = serde_json::Value::Object(record.context);
        let message = format!("noted at {}: {context}", record.time);
        if FOUND.contains(&&*code) {
            self.problem(&code, message, FOR_GOOD);
        } else if self.report.remarks.len() < MAX_PROBLEMS {
            let hint = "the audit wrote this about itself";
            let (code, file) = (code.into_owned(), self.file.clone());
            self.report.remarks.push(VerifyProblem {
                code,
                file,
                line: self.number,
                message,
                hint,
            });
        }
    }

    fn problem(&mut self, code: &str, message: String, hint: &'static str) {
        if self.report.problems.len() < MAX_PROBLEMS {
            let (file, line) = (self.file.clone(), self.number);
            self.report.problems.push(VerifyProblem {
                code: code.into(),
                file,
                line,
                message,
                hint,
            });
        }
    }
}

/// More are not collected: the first tells the story.
pub const MAX_PROBLEMS: usize = 100;

/// What [`super::recover`] finds: none of it comes from a kill or a full disk.
const FOUND: [&str; 6] = [
    "audit-damaged",
    "audit-head-invalid",
    "audit-head-missing",
    "audit-index-invalid",
    "audit-rewritten",
    "audit-tail-missing",
];
const FOR_GOOD: &str = "a start found this. Once it is explained, move the files of the audit and audit.index aside: the next start begins anew";
const CHECKPOINT: &str = "checkpoint";
const NOTICE: &[u8] = b",\"code\":\"audit-";
const CHANGED: &str = "somebody changed the file; compare it with a backup";
const MISSING: &str = "somebody removed records, or a start found them gone; compare with a backup";
