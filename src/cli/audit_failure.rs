//! Why a command could not read the audit, and what to do about it.

use std::path::Path;

use super::failure::{self, Failure};
use crate::audit::AuditError;
use crate::audit::read::RecordError;

/// The trail's files cannot be opened or read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(
        "audit-unreadable",
        format!("cannot read the audit: {}: {error}", path.display()),
        "check owner and permissions of the state directory",
    )
}

/// One of the trail's records cannot be read, or is damaged.
pub(super) fn unreadable_record(path: &Path, error: &RecordError) -> Failure {
    match error {
        RecordError::Io(error) => unreadable(path, error),
        RecordError::Shape { .. } => Failure::failed(
            "audit-damaged",
            failure::chain(error),
            "`valetkey audit verify` says what is wrong with it",
        ),
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self::failed(error.code(), failure::chain(&error), error.hint())
    }
}
