//! The life of a daemon: `stop`, `restart`, `logs`, and `ps`, which shows all of this user's.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::admin_client::AdminClient;
use super::args::{Json, Logs};
use super::failure::Failure;
use super::join::{self, Stay, log_path};
use super::local_time::Here;
use super::meant::shown;
use super::table::table;
use super::{context, printer};
use crate::admin::wire::DaemonStatus;
use crate::config::index::Whereabouts;
use crate::local::place;

/// Between two looks at a log, with `--follow`.
const LOG_LOOK_EVERY: Duration = Duration::from_millis(200);
/// So much of a log's end is looked through for its last lines, in bytes.
const MAX_TAIL: u64 = 1024 * 1024;

/// `stop`: in good order, whatever became of the config.
pub(super) fn stop(explicit: Option<&Path>) -> Result<(), Failure> {
    let entry = context::daemon(explicit)?;
    let stopped = context::runtime()?.block_on(join::stop(&entry))?;
    let said = if stopped { "stopped" } else { "no daemon was running for this config" };
    printer::note(&format!("{said}: {}", shown(&entry.config)));
    Ok(())
}

/// `restart`: with this shell's environment, and the config as it is now.
pub(super) fn restart(explicit: Option<&Path>) -> Result<(), Failure> {
    // Before anything ends: one that could not start again had better go on.
    let config = context::config(explicit)?;
    let entry = context::daemon(explicit)?;
    context::runtime()?.block_on(async {
        let was_there = join::stop(&entry).await?;
        let stay = if entry.ends_idle { Stay::WhileUsed } else { Stay::Forever };
        join::join_next(&config, stay).await?;
        printer::note(match was_there {
            true => "restarted: it reads secrets from the environment that it has now",
            false => "none was running: one was started",
        });
        Ok(())
    })
}

/// `logs`: what a daemon in the background has to say.
pub(super) fn logs(args: &Logs, explicit: Option<&Path>) -> Result<(), Failure> {
    let entry = context::own_daemon(explicit)?;
    let path = log_path(&entry.state_dir);
    let unreadable = |error: std::io::Error| {
        Failure::failed(
            "log-unreadable",
            format!("cannot read the log: {}: {error}", path.display()),
            "a daemon that `run` and `env` start writes one; `serve` says it in its terminal",
        )
    };
    let mut file = place::open(&path).map_err(|error| unreadable(error.into()))?.into_file();
    let length = file.metadata().map_err(unreadable)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TAIL))).map_err(unreadable)?;
    let mut more = || -> Result<String, Failure> {
        let mut bytes = Vec::new();
        (&mut file).take(MAX_TAIL).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = more()?;
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(args.lines)..] {
        printer::line(line)?;
    }
    if !args.follow {
        return Ok(());
    }
    context::runtime()?.block_on(async {
        loop {
            tokio::time::sleep(LOG_LOOK_EVERY).await;
            for line in more()?.lines() {
                printer::line(line)?;
            }
        }
    })
}

/// One daemon of this user's.
#[derive(Serialize)]
struct ShownDaemon {
    #[serde(flatten)]
    entry: Whereabouts,
    state: String,
}

/// `ps`: those that run, or are stopping.
pub(super) fn ps(args: &Json) -> Result<(), Failure> {
    let runtime = context::runtime()?;
    let mut shown = Vec::new();
    for entry in Whereabouts::all() {
        let state = runtime.block_on(async {
            let mut daemon = AdminClient::connect(&entry.socket).await.ok()?;
            let state = daemon.get::<DaemonStatus>("/v1/status").await.ok()?.state;
            // One of an older version does not say.
            Some(if state.is_empty() { "running".to_owned() } else { state })
        });
        if let Some(state) = state {
            shown.push(ShownDaemon { entry, state });
        }
    }
    if args.json {
        return printer::json(&shown);
    }
    if shown.is_empty() {
        printer::note("no daemon of yours is running");
        return Ok(());
    }
    let here = Here::new(false);
    let text = table(["PID", "STATE", "SINCE", "LISTENS", "CONFIG"], &shown, |one| {
        let ShownDaemon { entry, state } = one;
        [
            entry.pid.to_string(),
            state.clone(),
            here.short(&entry.since),
            entry.listen.first().cloned().unwrap_or_default(),
            entry.config.display().to_string(),
        ]
    });
    printer::line(text.trim_start())
}
