//! The last mint of each credential, for `status`: it outlives the session it was for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use crate::broker::MintReport;
use crate::model::id::CredentialName;
use crate::model::lock::lock;

/// Codes and times, and what an issuer said, cleaned and masked.
#[derive(Debug, Default)]
pub(super) struct LastMints(Mutex<HashMap<CredentialName, LastMint>>);

#[derive(Clone, Debug)]
pub(super) struct LastMint {
    /// Why there is no token; `None`: there is one.
    pub(super) error: Option<&'static str>,
    /// What its issuer said to that.
    pub(super) said: Option<Arc<str>>,
    pub(super) at: SystemTime,
}

impl LastMints {
    /// What stands is the last one.
    pub(super) fn note(&self, report: &MintReport<'_>, said: Option<&str>) {
        let error = report.result.err().map(|error| error.code());
        let mint = LastMint { error, said: said.map(Arc::from), at: SystemTime::now() };
        self.map().insert(report.key.credential.clone(), mint);
    }

    /// What stands for a credential.
    pub(super) fn of(&self, credential: &CredentialName) -> Option<LastMint> {
        self.map().get(credential).cloned()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<CredentialName, LastMint>> {
        lock(&self.0)
    }
}
