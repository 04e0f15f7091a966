//! Ending sessions and revoking where no daemon runs: what the next one finds is changed, under its
//! lock.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::error::Error;
use super::state::StateDir;
use crate::client::revoked::Subject;
use crate::client::session::Sessions;
use crate::model::clock::{SystemClock, rfc3339_seconds};
use crate::model::id::SessionName;

/// Writes down that something is revoked, or is no longer.
pub fn revoke_at_rest(state_dir: &Path, subject: &Subject, undo: bool) -> Result<(), Error> {
    let state = StateDir::open_at(state_dir)?;
    let revoked = state.revoked()?;
    if undo {
        revoked.remove(subject);
    } else {
        revoked.add(subject, rfc3339_seconds(SystemTime::now()));
    }
    let failed = |source| Error::State { path: state_dir.to_owned(), source };
    state.save_revoked(&revoked).map_err(failed)?;
    if !undo && *subject == Subject::All {
        // They were to come back with the next daemon.
        state.save(&Sessions::new(Arc::new(SystemClock))).map_err(failed)?;
    }
    Ok(())
}

/// Ends a session that was to come back with the next daemon.
pub fn end_at_rest(state_dir: &Path, name: &str) -> Result<(), Error> {
    let state = StateDir::open_at(state_dir)?;
    let sessions = Sessions::new(Arc::new(SystemClock));
    state.restore(&sessions);
    if sessions.end(&SessionName::new(name)).is_some() {
        state
            .save(&sessions)
            .map_err(|source| Error::State { path: state_dir.to_owned(), source })?;
    }
    Ok(())
}
