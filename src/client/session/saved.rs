//! Sessions at rest: those that outlive the daemon, without a secret.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Binding, Kind, Session, Sessions};
use crate::client::disk;
use crate::local::uid::Uid;
use crate::model::clock::{Deadline, Moment};
use crate::model::id::{RouteName, SessionName};

impl Sessions {
    /// Writes those that outlive the daemon to `path`, by rename, mode 0600: never a secret, its
    /// hash only.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let saved: Vec<Saved> =
            self.live.iter().filter_map(|session| Saved::of(&session)).collect();
        disk::replace(path, &saved)
    }

    /// Writes down beside `path` which sessions were opened, so that the next daemon knows those
    /// that have ended.
    pub fn save_issued(&self, path: &Path) -> std::io::Result<()> {
        self.issued.save(&path.with_file_name(ISSUED))
    }

    /// Takes up what an earlier daemon saved; a missing file is no error, a broken one is.
    pub fn restore(&self, path: &Path) -> std::io::Result<()> {
        if let Err(error) = self.issued.restore(&path.with_file_name(ISSUED)) {
            // It costs an ended session its word, and nobody else anything.
            tracing::warn!(%error, "which sessions have ended before is not known");
        }
        let Some(text) = disk::read(path)? else { return Ok(()) };
        let saved: Vec<Saved> = serde_json::from_slice(&text)?;
        let now = self.clock.now();
        for one in saved {
            let life = one.until.duration_since(now.wall).unwrap_or_default();
            if !life.is_zero() {
                self.insert(Arc::new(one.into_session(now, Deadline::after(now, life))));
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    name: SessionName,
    #[serde(default = "Saved::env")]
    kind: Kind,
    user: Option<Arc<str>>,
    #[serde(default)]
    reason: Option<Arc<str>>,
    #[serde(default)]
    project: Option<Arc<str>>,
    secret_sha256: [u8; 32],
    /// A daemon of an earlier version bound none: its own user had opened them all.
    #[serde(default = "own_uid")]
    uid: Option<u32>,
    #[serde(default)]
    routes: Option<Vec<RouteName>>,
    #[serde(default)]
    placeholders: Vec<Binding>,
    /// A daemon of an earlier version did not say: it is as old as may be.
    #[serde(default = "long_ago")]
    began: SystemTime,
    until: SystemTime,
}

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

impl Saved {
    /// All that a daemon of an earlier version saved.
    fn env() -> Kind {
        Kind::Env
    }

    fn of(session: &Session) -> Option<Self> {
        let until = session.until()?;
        session.kind.outlives_the_daemon().then(|| Self {
            name: session.name.clone(),
            kind: session.kind,
            user: session.user.clone(),
            reason: session.reason.clone(),
            project: session.project.clone(),
            secret_sha256: session.secret,
            uid: session.uid,
            routes: session.routes.clone(),
            placeholders: session.placeholders.clone(),
            began: session.began.wall,
            until,
        })
    }

    fn into_session(self, now: Moment, end: Deadline) -> Session {
        Session {
            name: self.name,
            kind: self.kind,
            user: self.user,
            reason: self.reason,
            project: self.project,
            secret: self.secret_sha256,
            pid: None,
            uid: self.uid,
            routes: self.routes,
            placeholders: self.placeholders,
            began: Moment { wall: self.began, mono: now.mono },
            end: Some(end),
            ended: watch::Sender::new(false),
            admitted: AtomicU64::default(),
            unnamed_before: 0,
        }
    }
}

/// Beside the file of the sessions that live on.
const ISSUED: &str = "issued.json";

fn own_uid() -> Option<u32> {
    Uid::own().map(Uid::raw)
}
