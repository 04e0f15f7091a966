//! [`Problem`]: one thing that is wrong with a config, with its place and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::places::Places;

/// One thing wrong (or, as a warning, risky) in a config file. Many are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file it stands in.
    pub file: PathBuf,
    /// 1-based; 0 where no line can be named.
    pub line: usize,
    /// 1-based, in characters; 0 where it is about the whole line.
    #[serde(skip_serializing_if = "is_zero")]
    pub column: usize,
    pub code: &'static str,
    /// What is wrong, in lower case without a final stop.
    pub message: String,
    pub hint: String,
    /// Whether the config can be used in spite of it.
    pub severity: Severity,
}

/// Whether a problem stops the config from loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The config does not load.
    Error,
    /// It loads, and this is said aloud.
    Warning,
}

/// A value and the line it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    /// 1-based line in the config file; 0 for a value that came from no file.
    pub line: usize,
}

/// Collects problems of one file.
#[derive(Debug)]
pub struct Problems {
    file: PathBuf,
    places: Arc<Places>,
    list: Vec<Problem>,
}

impl Problems {
    /// For the file at `path`.
    pub fn of(path: &Path) -> Self {
        Self { file: path.to_owned(), places: Arc::default(), list: Vec::new() }
    }

    /// From now on, a problem of a table is said where the key stands that it names.
    pub fn place(&mut self, places: Arc<Places>) {
        self.places = places;
    }

    pub fn error(
        &mut self,
        line: usize,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(line, code, message.into(), hint.into(), Severity::Error);
    }

    pub fn warn(
        &mut self,
        line: usize,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(line, code, message.into(), hint.into(), Severity::Warning);
    }

    fn push(
        &mut self,
        line: usize,
        code: &'static str,
        message: String,
        hint: String,
        severity: Severity,
    ) {
        let line = self.places.line(line, &message);
        let (file, column) = (self.file.clone(), 0);
        self.list.push(Problem { file, line, column, code, message, hint, severity });
    }

    /// Whether any of them stops the config from loading.
    pub fn any_error(&self) -> bool {
        self.list.iter().any(|p| p.severity == Severity::Error)
    }

    /// All of them, by line.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        let own = self.file;
        // Its own first, then those of files that it names.
        self.list.sort_by(|a, b| {
            let key = |p: &Problem| (p.severity, p.file != own, p.line, p.column);
            key(a).cmp(&key(b)).then_with(|| a.file.cmp(&b.file))
        });
        self.list
    }

    /// Takes over what another collector of the same file found.
    pub fn extend(&mut self, other: Vec<Problem>) {
        self.list.extend(other);
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// `file:line:column: error[code]: message` and the hint on a line of its own.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {severity}[{}]: {}\n  hint: {}", self.code, self.message, self.hint)
    }
}
