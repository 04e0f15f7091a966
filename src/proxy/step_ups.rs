//! What upstreams want of people just now, by credential: said in the log, in the answer, and by
//! `status` until somebody has logged in.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::id::CredentialName;
use crate::model::lock::lock;

/// Between two words to the log about the same.
const QUIET: Duration = Duration::from_secs(60);

/// What to type, and when that was said last.
#[derive(Debug, Default)]
pub struct StepUps(Mutex<HashMap<CredentialName, (String, Instant)>>);

impl StepUps {
    /// Says it: to the log once a minute, to the tool each time. `hint` is visible ASCII.
    pub(super) fn tell(
        &self,
        credential: &CredentialName,
        hint: String,
        now: Instant,
        headers: &mut HeaderMap,
    ) {
        let said = format!("valetkey; details=\"step-up-required\"; hint=\"{hint}\"");
        if let Ok(value) = HeaderValue::from_str(&said) {
            headers.append(HeaderName::from_static("proxy-status"), value);
        }
        let mut all = lock(&self.0);
        let fresh = all.get(credential).is_none_or(|(before, at)| {
            *before != hint || now.saturating_duration_since(*at) >= QUIET
        });
        if fresh {
            tracing::warn!(%credential, code = "step-up-required", hint, "the upstream wants more of the person than the login gives");
            all.insert(credential.clone(), (hint, now));
        }
    }

    /// What a person would have to do.
    pub fn of(&self, credential: &CredentialName) -> Option<String> {
        lock(&self.0).get(credential).map(|(hint, _)| hint.clone())
    }

    /// Somebody has logged in or out since.
    pub fn forget(&self, credential: &CredentialName) {
        lock(&self.0).remove(credential);
    }
}
