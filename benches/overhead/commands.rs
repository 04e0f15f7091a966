//! What a person feels: `valetkey run -- true` beside `true`, with a daemon and without.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::kit::api::Api;
use super::kit::valetkey::Home;
use super::report::median;

/// Milliseconds by command line; of one that failed, why.
pub type Commands = BTreeMap<&'static str, Result<f64, String>>;

pub fn measure(api: &Api, rounds: usize) -> Commands {
    let home = Home::new(api);
    let run = || timed(&home, home.command(&[], &["run", "--", "true"]));
    // The first makes the CA.
    let first = run();
    let (mut bare, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(timed(&home, Command::new("true")));
        with.push(run());
        without.push(end(&home).and_then(|()| run()));
    }
    let middle = |times: Vec<Result<f64, String>>| {
        let times = times.into_iter().collect::<Result<Vec<f64>, String>>()?;
        median(times).ok_or_else(|| "not measured".to_owned())
    };
    let ended = end(&home);
    Commands::from([
        ("`true`", middle(bare)),
        ("`valetkey run -- true`, daemon running", first.and_then(|_| middle(with))),
        ("`valetkey run -- true`, daemon started", ended.and_then(|()| middle(without))),
    ])
}

/// Milliseconds. What it says goes to a file: a daemon that it leaves behind would hold a pipe open.
fn timed(home: &Home, mut command: Command) -> Result<f64, String> {
    let log = home.path().join("command.log");
    let said = File::create(&log).map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let begun = Instant::now();
    let status = command.status().map_err(|error| format!("failed: {error}"))?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    if status.success() {
        return Ok(ms);
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    Err(format!("failed: {status}: {}", said.lines().next().unwrap_or("silence")))
}

/// Ends the daemon that `run` left.
fn end(home: &Home) -> Result<(), String> {
    let status = home.command(&[], &["status", "--json"]).output();
    let status = status.map_err(|error| error.to_string())?;
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
    let pid = json["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let said = || String::from_utf8_lossy(&status.stderr).lines().next().map(str::to_owned);
    let pid = pid.ok_or_else(|| format!("no daemon to end: {}", said().unwrap_or_default()))?;
    kill_process(pid, Signal::TERM).ok();
    let patience = Instant::now() + Duration::from_secs(5);
    while is_running(pid) {
        if Instant::now() > patience {
            return Err(format!("the daemon (pid {}) does not end", pid.as_raw_nonzero()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Whether it is there, and no zombie: not every machine's first process buries the dead at once.
fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}
