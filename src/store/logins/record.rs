//! [`Login`]: what is known of one, and the form in which it is encrypted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::MAX_FILE;
use crate::model::secret::Secret;

/// All that is kept of a login.
#[derive(Debug)]
pub struct Login {
    /// What access tokens are asked for with; `None` once the login has ended.
    pub refresh: Option<Secret>,
    /// How often this refresh token has been sent without an answer that was stored.
    pub unanswered: u32,
    /// Who logged in, by the issuer's word.
    pub user: Option<String>,
    /// The scope that was granted, where the issuer said so.
    pub scope: Option<String>,
    /// When the person logged in.
    pub since: SystemTime,
    /// When the refresh token was stored.
    pub renewed: SystemTime,
    /// When it ends, where the issuer says so.
    pub until: Option<SystemTime>,
    /// How long its first refresh token was to live, where the issuer said so: what a whole life
    /// is.
    pub life: Option<Duration>,
    /// Why it has ended: a stable word.
    pub ended: Option<String>,
    /// Which configured refresh token it began with, by fingerprint.
    pub origin: Option<String>,
    /// The thumbprint of the key that its refresh token is bound to; the key is in the kernel's
    /// keyring.
    pub bound_to: Option<String>,
}

impl Login {
    /// A new one, from now on.
    pub fn new(refresh: Secret, now: SystemTime) -> Self {
        // As it is written: in whole seconds.
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        Self {
            refresh: Some(refresh),
            unanswered: 0,
            user: None,
            scope: None,
            since: now,
            renewed: now,
            until: None,
            life: None,
            ended: None,
            origin: None,
            bound_to: None,
        }
    }

    /// From when on its end is near: a day before it, or a tenth of a whole life where that is
    /// less.
    pub fn near_end(&self) -> Option<SystemTime> {
        let until = self.until?;
        let life = self.life.or_else(|| until.duration_since(self.since).ok()).unwrap_or_default();
        until.checked_sub((life / 10).min(DAY))
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is encrypted. The refresh token is moved in and out, never copied.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    refresh: Option<T>,
    unanswered: u32,
    user: Option<String>,
    scope: Option<String>,
    since: u64,
    renewed: u64,
    until: Option<u64>,
    /// Absent in those of older versions.
    life: Option<u64>,
    ended: Option<String>,
    origin: Option<String>,
    /// Absent in those of older versions.
    bound_to: Option<String>,
}

/// As the bytes that are encrypted.
pub(super) fn write(login: &Login) -> Zeroizing<Vec<u8>> {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let refresh = login.refresh.as_ref().map(Secret::expose);
    let stored = Stored {
        refresh: refresh.and_then(|bytes| std::str::from_utf8(bytes).ok()),
        unanswered: login.unanswered,
        user: login.user.clone(),
        scope: login.scope.clone(),
        since: seconds(login.since),
        renewed: seconds(login.renewed),
        until: login.until.map(seconds),
        life: login.life.map(|life| life.as_secs()),
        ended: login.ended.clone(),
        origin: login.origin.clone(),
        bound_to: login.bound_to.clone(),
    };
    // Full size from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut plain = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
    // A struct of text and numbers always serialises.
    let _ = serde_json::to_writer(&mut *plain, &stored);
    plain
}

/// The login back from its bytes.
pub(super) fn read(plain: &[u8]) -> Option<Login> {
    let stored: Stored<String> = serde_json::from_slice(plain).ok()?;
    let time = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Some(Login {
        refresh: stored.refresh.map(Secret::new),
        unanswered: stored.unanswered,
        user: stored.user,
        scope: stored.scope,
        since: time(stored.since)?,
        renewed: time(stored.renewed)?,
        until: stored.until.and_then(time),
        life: stored.life.map(Duration::from_secs),
        ended: stored.ended,
        origin: stored.origin,
        bound_to: stored.bound_to,
    })
}
