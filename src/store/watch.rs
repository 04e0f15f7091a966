//! The watch beside a helper: our own program once more, as its parent, in a session without a
//! terminal.
//!
//! A helper must not outlive the call that wanted it, nor a daemon that was killed: then nobody is
//! left to end it. So the watch holds a pipe to the daemon, and when that closes it ends its
//! process group, itself and whatever the helper started included. It reads no config, keeps
//! nothing, and has the environment and the streams that the helper gets.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Signal, getpgrp, kill_process_group, setsid};

/// What it is called by (`argv[0]`), which is how our program knows that it is one.
pub const NAME: &str = "valetkey-watch";

/// The command line of a watch: its helper gets the first `input` bytes of its stdin, and the rest
/// of it is the daemon's sign of life.
pub(super) fn arguments(input: usize, program: &Path) -> [OsString; 2] {
    [input.to_string().into(), program.into()]
}

/// Runs as a watch where the command line is that of one. `None`: it is not.
pub fn main(mut line: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    line.next().filter(|name| name == NAME)?;
    let input = line.next().and_then(|text| text.to_str()?.parse().ok());
    let (Some(input), Some(program)) = (input, line.next()) else { return Some(OURS.into()) };
    // A leader of a group already would end a group that is not its own: whoever starts us makes
    // none.
    if setsid().is_err() {
        return Some(OURS.into());
    }
    let mut command = Command::new(program);
    command.args(line).stdin(if input == 0 { Stdio::null() } else { Stdio::piped() });
    Some(match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => NOT_FOUND.into(),
        Err(_) => NOT_EXECUTABLE.into(),
        Ok(mut helper) => {
            let stdin = helper.stdin.take();
            let watching = thread::Builder::new().spawn(move || watch(input, stdin));
            if watching.is_err() {
                end();
            }
            helper.wait().map_or(OURS, code).into()
        }
    })
}

/// Hands the input on, then waits for the daemon's end of the pipe to go.
fn watch(input: u64, helper: Option<ChildStdin>) {
    let mut daemon = io::stdin().lock();
    if let Some(mut helper) = helper {
        // It need not read what it is asked.
        let _ = io::copy(&mut (&mut daemon).take(input), &mut helper);
    }
    let _ = io::copy(&mut daemon, &mut io::sink());
    end();
}

/// Ends all of our group, this process with it.
fn end() {
    // Cannot fail: we are in it.
    let _ = kill_process_group(getpgrp(), Signal::KILL);
}

/// As a shell says it.
fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(OURS)
}

/// As a shell says it: there is no such program.
const NOT_FOUND: u8 = 127;
/// As a shell says it: it cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// The exit code where the watch itself failed, not the helper.
const OURS: u8 = 125;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_name_makes_a_watch() {
        for line in [vec![], vec!["valetkey", "0", "/bin/true"], vec!["/x/valetkey-watch", "0"]] {
            assert!(main(line.into_iter().map(OsString::from)).is_none());
        }
        for line in [vec![NAME], vec![NAME, "serve"], vec![NAME, "0"]] {
            let code = main(line.iter().map(OsString::from)).expect("a watch");
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(OURS)), "{line:?}");
        }
    }
}
