//! Joining the daemon of a config, or starting one where none runs.
//!
//! Whoever starts one waits until its admin socket answers. Two who start at once get one daemon:
//! the second daemon loses the lock of the state directory and ends, and its starter finds the
//! first one's socket.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep};

use super::admin_client::{AdminClient, AdminError, BROKE_OFF};
use super::failure::{Failure, chain};
use super::meant;
use crate::admin::STOPPING;
use crate::config::index::Whereabouts;
use crate::config::locate::{self, StateError};
use crate::config::{Config, env};
use crate::local::place;

/// How long a daemon may take to listen. Making a CA takes some 20 ms; a busy machine, seconds.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the socket: a daemon is up after some 30 ms.
const SOCKET_LOOK_EVERY: Duration = Duration::from_millis(3);
/// The log is set aside beyond this size, so two of them are the most there is.
const MAX_LOG: u64 = 1024 * 1024;

/// How long a daemon that is started here stays without work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It goes on until it is stopped.
    Forever,
    /// It ends after ten minutes without use.
    WhileUsed,
}

/// Whether a daemon was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Found,
    /// It was started for this.
    Started,
}

/// The daemon of this config, started if need be, for whoever hands out paths of its state
/// directory as well.
pub(super) async fn join_to_share(
    config: &Config,
    stay: Stay,
) -> Result<(AdminClient, Joined), Failure> {
    locate::open_state_to_share(&config.state_dir).map_err(unsafe_state)?;
    find_or_start(config, stay).await
}

/// The daemon of this config, started if need be.
pub(super) async fn join(config: &Config, stay: Stay) -> Result<AdminClient, Failure> {
    Ok(find_or_start(config, stay).await?.0)
}

/// The next daemon of this config, where the last one has just ended: what that one's socket took
/// in without an answer is none.
pub(super) async fn join_next(config: &Config, stay: Stay) -> Result<AdminClient, Failure> {
    match answering(&config.admin.socket).await {
        Err(AdminError::Absent { .. } | AdminError::Broken(_)) => start(config, stay).await,
        other => Ok(other?),
    }
}

async fn find_or_start(config: &Config, stay: Stay) -> Result<(AdminClient, Joined), Failure> {
    match AdminClient::connect(&config.admin.socket).await {
        Err(AdminError::Absent { .. }) => Ok((start(config, stay).await?, Joined::Started)),
        other => Ok((other?, Joined::Found)),
    }
}

async fn start(config: &Config, stay: Stay) -> Result<AdminClient, Failure> {
    // Not beside one that runs, only somewhere else by now.
    if let Some(daemon) = meant::find(&Whereabouts::of(config)).await? {
        return Ok(daemon);
    }
    locate::open_state(&config.state_dir).map_err(unsafe_state)?;
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let (log, start) = open_log(&config.state_dir)?;
        let mut daemon = spawn(config, stay, log)?;
        let log = Log { path: log_path(&config.state_dir), start };
        match wait_for(&config.admin.socket, &mut || daemon.try_wait(), &log).await {
            // The lock was that of one which answers no more, and is about to be gone.
            Err(failure) if &*failure.code == RUNNING && Instant::now() < deadline => {}
            other => return other,
        }
    }
}

/// Whether a daemon was there that ends, so that another can be had in a moment.
pub(super) fn is_ending(failure: &Failure) -> bool {
    [BROKE_OFF, STOPPING, RUNNING].contains(&&*failure.code)
}

/// One that has won the lock answers after this long, or it was one that ends.
const WINNER: Duration = Duration::from_millis(500);

/// What a daemon says that finds another one's lock on its state.
const RUNNING: &str = "daemon-running";

/// Asks the daemon that is meant to end and waits until it is gone; whether one was there. It holds
/// its state for a moment after it answers no more, and whatever comes next would find that.
pub(super) async fn stop(place: &Whereabouts) -> Result<bool, Failure> {
    let Some(mut daemon) = meant::find(place).await? else { return Ok(false) };
    // Before it ends: then the index forgets its process.
    let process = meant::running(place);
    daemon.stop().await?;
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline {
        let answer = answering(&place.socket).await;
        if matches!(answer, Err(AdminError::Absent { .. } | AdminError::Broken(_)))
            && !process.as_ref().is_some_and(Whereabouts::lives)
        {
            return Ok(true);
        }
        sleep(SOCKET_LOOK_EVERY).await;
    }
    Err(Failure::failed(
        "daemon-not-stopped",
        "the daemon is still busy with what was under way",
        "say it again: then it cuts that",
    ))
}

/// A daemon that drains has ended after this long.
const DRAIN: Duration = Duration::from_secs(40);

/// A daemon's log, and where its own part begins.
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// Its length when the daemon started.
    pub(super) start: u64,
}

/// Waits until the daemon that was just started answers, or has `ended`.
pub(super) async fn wait_for(
    socket: &Path,
    ended: &mut dyn FnMut() -> io::Result<Option<ExitStatus>>,
    log: &Log,
) -> Result<AdminClient, Failure> {
    let deadline = Instant::now() + START_PATIENCE;
    let mut gone = None;
    loop {
        match answering(socket).await {
            Err(AdminError::Absent { .. } | AdminError::Broken(_)) => {}
            other => return Ok(other?),
        }
        // Its end cannot be asked for twice. One that lost the lock is no failure yet: the winner
        // may be about to listen.
        if gone.is_none()
            && ended().map_err(|error| not_started(&log.path, &error.to_string()))?.is_some()
        {
            gone = Some(Instant::now());
        }
        if gone.is_some_and(|since| !lost_the_lock(log) || since.elapsed() > WINNER) {
            return Err(ended_early(log));
        }
        if Instant::now() >= deadline {
            return Err(too_slow(log));
        }
        sleep(SOCKET_LOOK_EVERY).await;
    }
}

/// A daemon whose socket is bound may still fail to start: it counts once it answers.
async fn answering(socket: &Path) -> Result<AdminClient, AdminError> {
    let mut client = AdminClient::connect(socket).await?;
    client.get::<IgnoredAny>("/v1/status").await?;
    Ok(client)
}

/// `serve --detached` leaves our terminal and our process group by itself (`setsid`).
fn spawn(config: &Config, stay: Stay, log: File) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::failed("daemon-not-started", error, "is the program still where it was?")
    })?;
    let mut command = Command::new(&program);
    // By the name that was judged, and this very text: what is there by then may be something else.
    command.arg("serve").arg("--config").arg(&config.named).arg("--detached");
    command.args(["--expect", &config.digest]);
    if stay == Stay::WhileUsed {
        command.args(["--idle-exit", "10m"]);
    }
    command
        .env(env::STATE_DIR, &config.state_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| not_started(&program, &error.to_string()))
}

/// `daemon.log` in the state directory.
pub(super) fn log_path(state_dir: &Path) -> PathBuf {
    state_dir.join("daemon.log")
}

/// The log, opened for appending, and its present length.
fn open_log(state_dir: &Path) -> Result<(File, u64), Failure> {
    let path = log_path(state_dir);
    let open = || -> io::Result<(File, u64)> {
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG) {
            fs::rename(&path, path.with_extension("log.1"))?;
        }
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(place::NO_LINK)
            .open(&path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|error| {
        Failure::failed(
            "state-dir-unwritable",
            format!("cannot write {}: {error}", path.display()),
            "check the permissions of the state directory, or set VALETKEY_STATE_DIR",
        )
    })
}

impl Log {
    /// What the daemon has written, at most 16 KiB of it.
    fn text(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.start))?;
            let mut text = Vec::new();
            file.take(16 * 1024).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        read().unwrap_or_default()
    }

    fn hint(&self) -> String {
        format!("its log may say why: {}", self.path.display())
    }
}

fn unsafe_state(error: StateError) -> Failure {
    Failure::failed(error.code(), chain(&error), error.hint())
}

fn lost_the_lock(log: &Log) -> bool {
    log.text().contains(&format!("error[{RUNNING}]"))
}

/// The daemon's own words, as its `serve` wrote them.
fn ended_early(log: &Log) -> Failure {
    match reason(&log.text()) {
        Some(Reason { code, message, hint }) => Failure::failed(
            code.to_owned(),
            format!("the daemon did not start: {message}"),
            hint.map_or_else(|| log.hint(), str::to_owned),
        ),
        None => Failure::failed("daemon-not-started", "the daemon ended at once", log.hint()),
    }
}

/// What `printer::failure` writes, read back.
#[derive(Debug, PartialEq, Eq)]
struct Reason<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

/// The last `error[…]: message` of a log, and the hint under it.
fn reason(log: &str) -> Option<Reason<'_>> {
    let mut hint = None;
    for line in log.lines().rev() {
        if let Some((code, message)) =
            line.strip_prefix("error[").and_then(|rest| rest.split_once("]: "))
        {
            return Some(Reason { code, message, hint });
        }
        hint = line.trim_start().strip_prefix("hint: ");
    }
    None
}

fn not_started(what: &Path, why: &str) -> Failure {
    Failure::failed(
        "daemon-not-started",
        format!("the daemon did not start: {}: {why}", what.display()),
        "`valetkey serve` in another terminal shows more",
    )
}

fn too_slow(log: &Log) -> Failure {
    let message = format!("the daemon does not listen after {START_PATIENCE:?}");
    Failure::failed("daemon-not-started", message, log.hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_reason_in_a_log() {
        let log =
            "INFO starting\nerror[port-in-use]: 127.0.0.1:8383 is in use\n  hint: stop the other\n";
        let wanted = Reason {
            code: "port-in-use",
            message: "127.0.0.1:8383 is in use",
            hint: Some("stop the other"),
        };
        assert_eq!(reason(log), Some(wanted));
        assert_eq!(reason("nothing\nhere\n"), None);
    }
}
