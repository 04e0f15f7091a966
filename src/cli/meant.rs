//! The daemon that a command means, and no other.
//!
//! An off-switch that hits another daemon, or none, and says that all is well is worse than none at
//! all. Where others may write above a state directory, it can be exchanged with another one of
//! ours, or moved away. So whoever answers says whose config it runs, and where nobody answers, the
//! index of daemons says whether one should.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::admin_client::{AdminClient, AdminError};
use super::failure::Failure;
use super::printer;
use crate::admin::UNKNOWN_CALL;
use crate::admin::wire::Who;
use crate::config::index::Whereabouts;
use crate::model::hint::config_flag;

/// A process that ends answers no more a moment before it is gone.
const END_PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at it.
const END_LOOK_EVERY: Duration = Duration::from_millis(5);

/// The daemon of this config, to be told something; where none runs, the error says so.
pub(super) async fn connect(place: &Whereabouts) -> Result<AdminClient, Failure> {
    match find(place).await? {
        Some(daemon) => Ok(daemon),
        None => Ok(AdminClient::connect(&place.socket).await?),
    }
}

/// The daemon of this config; `None`: there is none. Fails where one runs although nobody answers:
/// its state directory has another name by now, or its socket is gone.
pub(super) async fn find(place: &Whereabouts) -> Result<Option<AdminClient>, Failure> {
    let deadline = Instant::now() + END_PATIENCE;
    loop {
        match ask(place).await {
            Ok((_, Some(who))) if !is_meant(&who, place) => return Err(another(&who, place)),
            Ok((daemon, _)) => return Ok(Some(daemon)),
            // One that has just ended takes connections that it never answers.
            Err(AdminError::Absent { .. } | AdminError::Broken(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match running(place) {
            None => return Ok(None),
            Some(running) if Instant::now() >= deadline => return Err(elsewhere(place, &running)),
            // One that begins or ends just now.
            Some(_) => sleep(END_LOOK_EVERY).await,
        }
    }
}

/// Whoever answers there, and which daemon it is. One of an older version does not say.
async fn ask(place: &Whereabouts) -> Result<(AdminClient, Option<Who>), AdminError> {
    let mut daemon = AdminClient::connect(&place.socket).await?;
    match daemon.who().await {
        Ok(who) => Ok((daemon, Some(who))),
        Err(AdminError::Refused { code, .. }) if code == UNKNOWN_CALL => Ok((daemon, None)),
        Err(error) => Err(error),
    }
}

/// What the index knows of a daemon that lives, of this config and in this very place.
pub(super) fn running(place: &Whereabouts) -> Option<Whereabouts> {
    let known = Whereabouts::find(&place.config)?;
    (known.state_dir == place.state_dir && known.lives()).then_some(known)
}

fn is_meant(who: &Who, place: &Whereabouts) -> bool {
    let real = || std::fs::canonicalize(&place.config).is_ok_and(|real| real == who.path);
    let same = who.config == place.config || real();
    same && running(place).is_none_or(|running| running.pid == who.pid)
}

fn elsewhere(place: &Whereabouts, running: &Whereabouts) -> Failure {
    let message = format!(
        "the daemon of {} runs (process {}), but nobody answers at {}: was its state directory moved?",
        shown(&place.config),
        running.pid,
        shown(&place.socket)
    );
    Failure::failed("daemon-elsewhere", message, kill(running))
}

fn another(who: &Who, place: &Whereabouts) -> Failure {
    let message = format!(
        "at {} answers the daemon of {} (process {}), and not that of {}: nothing was done",
        shown(&place.socket),
        shown(&who.config),
        who.pid,
        shown(&place.config)
    );
    let hint = match running(place) {
        None => {
            format!("where that one is meant, name it: valetkey status{}", config_flag(&who.config))
        }
        Some(running) => kill(&running),
    };
    Failure::failed("daemon-of-another-config", message, hint)
}

fn kill(running: &Whereabouts) -> String {
    let pid = running.pid;
    format!(
        "to end the one that is meant: kill {pid}; then keep its state where nobody else may write"
    )
}

/// Says which daemon has done what was asked.
pub(super) fn say(place: &Whereabouts) {
    printer::note(&format!("by the daemon of {}", shown(&place.config)));
}

/// As a person sees a path.
pub(super) fn shown(path: &Path) -> String {
    printer::plain(&path.display().to_string())
}
