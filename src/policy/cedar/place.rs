//! Where in a file of policies something is wrong.

use miette::Diagnostic;

use crate::config::PolicyFile;
use crate::config::problem::{Problem, Severity};

/// A place in a text, 1-based; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A text, and where its lines begin.
pub(super) struct LineStarts<'a> {
    text: &'a str,
    begin: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes());
        Self { text, begin: std::iter::once(0).chain(breaks.map(|at| at + 1)).collect() }
    }

    /// The place of a byte.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.begin.partition_point(|begin| *begin <= offset);
        let begin = self.begin.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(begin..offset).unwrap_or_default();
        Place { line, column: 1 + before.chars().count() }
    }

    /// Where a finding of Cedar's is, if it says so.
    pub(super) fn of_finding(&self, finding: &impl Diagnostic) -> Option<Place> {
        Some(self.place(finding.labels()?.next()?.offset()))
    }
}

/// A problem of a file at a place.
pub(super) fn problem(
    file: &PolicyFile,
    place: Place,
    severity: Severity,
    code: &'static str,
    message: String,
    hint: String,
) -> Problem {
    let Place { line, column } = place;
    Problem { file: file.path.clone(), line, column, code, message, hint, severity }
}
