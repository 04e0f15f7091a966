//! [`Failure`]: why a command did not do what it was asked, as a person and a script see it.
//!
//! Every module's error becomes one of these here or in the command that met it; `printer` writes
//! it, `mod` turns it into the exit code.

use std::borrow::Cow;
use std::fmt;

use crate::config::locate::LocateError;
use crate::config::trust::TrustError;

/// Exit codes of every command but `run`, which passes its child's on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Exit code 0.
    Fine,
    /// Exit code 1.
    Failed,
    /// 2: the command line or the config is wrong.
    Usage,
    /// Exit code 3.
    Refused,
    /// What a child ended with, or 125 to 127 where there was none.
    Child(u8),
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Child(code) => code,
        }
    }
}

/// What went wrong, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// A stable kebab-case word; empty where nothing is to be said (a reader that went away).
    pub(super) code: Cow<'static, str>,
    /// In lower case, without a final stop.
    pub(super) message: String,
    /// What to do next.
    pub(super) hint: Cow<'static, str>,
    pub(super) exit: Exit,
}

impl Failure {
    /// Exit code 1.
    pub(super) fn failed(
        code: impl Into<Cow<'static, str>>,
        message: impl fmt::Display,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code: code.into(),
            message: message.to_string(),
            hint: hint.into(),
            exit: Exit::Failed,
        }
    }

    /// Exit code 2.
    pub(super) fn usage(
        code: impl Into<Cow<'static, str>>,
        message: impl fmt::Display,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { exit: Exit::Usage, ..Self::failed(code, message, hint) }
    }

    /// Ends the command with `exit`; all that is to be said has been said.
    pub(super) fn silent(exit: Exit) -> Self {
        Self { code: Cow::Borrowed(""), message: String::new(), hint: Cow::Borrowed(""), exit }
    }

    /// The same with another exit code.
    pub(super) fn exiting(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

impl From<LocateError> for Failure {
    fn from(error: LocateError) -> Self {
        Self::usage(error.code(), chain(&error), error.hint())
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::failed(error.code(), chain(&error), error.hint())
    }
}

/// An error and its causes, joined by colons.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
