//! The last failed mint of each credential, for `status`: it outlives the session it failed for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::broker::MintReport;
use crate::model::id::CredentialName;

/// Codes and times; no foreign text.
#[derive(Debug, Default)]
pub(super) struct LastErrors(Mutex<HashMap<CredentialName, (&'static str, SystemTime)>>);

impl LastErrors {
    /// A failure stands until the next success.
    pub(super) fn note(&self, report: &MintReport<'_>) {
        let credential = &report.key.credential;
        match report.result {
            Ok(_) => self.map().remove(credential),
            Err(error) => self.map().insert(credential.clone(), (error.code(), SystemTime::now())),
        };
    }

    /// What stands for a credential.
    pub(super) fn of(&self, credential: &CredentialName) -> Option<(&'static str, SystemTime)> {
        self.map().get(credential).copied()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<CredentialName, (&'static str, SystemTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
