//! The last mint of each credential, for `status`: it outlives the session it was for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::broker::MintReport;
use crate::model::id::CredentialName;

/// Codes and times; no foreign text.
#[derive(Debug, Default)]
pub(super) struct LastMints(Mutex<HashMap<CredentialName, LastMint>>);

/// How a mint ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastMint {
    /// Why there is no token; `None`: there is one.
    pub(super) error: Option<&'static str>,
    /// When.
    pub(super) at: SystemTime,
}

impl LastMints {
    /// What stands is the last one.
    pub(super) fn note(&self, report: &MintReport<'_>) {
        let error = report.result.err().map(|error| error.code());
        let mint = LastMint { error, at: SystemTime::now() };
        self.map().insert(report.key.credential.clone(), mint);
    }

    /// What stands for a credential.
    pub(super) fn of(&self, credential: &CredentialName) -> Option<LastMint> {
        self.map().get(credential).copied()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<CredentialName, LastMint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
