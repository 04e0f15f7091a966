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

impl Place {
    /// Of a byte of the text.
    pub(super) fn at(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.matches('\n').count();
        Self { line, column: 1 + before[start..].chars().count() }
    }

    /// Where a finding of Cedar's is, if it says so.
    pub(super) fn of(diagnostic: &impl Diagnostic, text: &str) -> Option<Self> {
        let label = diagnostic.labels()?.next()?;
        Some(Self::at(text, label.offset()))
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
