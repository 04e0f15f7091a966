//! The command that `run` runs: spawned with our terminal and its own environment, its signals
//! forwarded, its end turned into an exit code.
//!
//! It stays in our process group, so that job control and Ctrl-C work as without us. A signal
//! that the terminal sends reaches the whole group by itself: forwarding it would deliver it
//! twice, and many tools take a second Ctrl-C for "now, at once". The kernel does not tell a
//! safe program who sent a signal, so the rule is: SIGINT and SIGQUIT are forwarded unless we are
//! the terminal's foreground group. What is left is `kill -INT` at us alone from elsewhere while
//! we are in the foreground: send SIGTERM, or the signal to the group.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Incoming, SignalKind, signal};

use super::environment::Environment;
use super::failure::{Exit, Failure, chain};
use super::platform::{self, Keeper};

/// Our own failures, below those of the child (127, 126).
pub(super) const OURS: Exit = Exit::Child(125);

/// Signals that would end us, caught from before the child starts until it has ended.
pub(super) struct Signals {
    hangup: Option<Incoming>,
    interrupt: Option<Incoming>,
    quit: Option<Incoming>,
    terminate: Option<Incoming>,
    user1: Option<Incoming>,
    user2: Option<Incoming>,
}

impl Signals {
    /// Starts catching them. One that is ignored (`nohup`) stays so, for the child too.
    pub(super) fn catch() -> Result<Self, Failure> {
        let ignored = platform::ignored_signals();
        let catch = |kind: SignalKind| -> io::Result<Option<Incoming>> {
            let number = kind.as_raw_value();
            let is_ignored = (1..=64).contains(&number) && ignored >> (number - 1) & 1 == 1;
            if is_ignored { Ok(None) } else { signal(kind).map(Some) }
        };
        let all = || -> io::Result<Self> {
            Ok(Self {
                hangup: catch(SignalKind::hangup())?,
                interrupt: catch(SignalKind::interrupt())?,
                quit: catch(SignalKind::quit())?,
                terminate: catch(SignalKind::terminate())?,
                user1: catch(SignalKind::user_defined1())?,
                user2: catch(SignalKind::user_defined2())?,
            })
        };
        all().map_err(|error| {
            Failure::failed("signals-unavailable", chain(&error), "try again").exiting(OURS)
        })
    }

    /// The next one that comes.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = received(&mut self.hangup) => Signal::HUP,
            () = received(&mut self.interrupt) => Signal::INT,
            () = received(&mut self.quit) => Signal::QUIT,
            () = received(&mut self.terminate) => Signal::TERM,
            () = received(&mut self.user1) => Signal::USR1,
            () = received(&mut self.user2) => Signal::USR2,
        }
    }
}

async fn received(signal: &mut Option<Incoming>) {
    if let Some(signal) = signal {
        // `None` is never received: the handler lives as long as the process.
        let _ = signal.recv().await;
    } else {
        std::future::pending().await
    }
}

/// Starts the command. It gets our stdin, stdout and stderr untouched.
pub(super) fn spawn(command: &[OsString], environment: &Environment) -> Result<Child, Failure> {
    let (program, args) = command.split_first().ok_or_else(|| {
        Failure::usage("command-missing", "no command is named", "valetkey run -- CMD")
            .exiting(OURS)
    })?;
    let mut child = Command::new(program);
    child.args(args).envs(&environment.set);
    for name in &environment.remove {
        child.env_remove(name);
    }
    child.spawn().map_err(|error| not_spawned(program, &error))
}

/// Waits for its end; hands on what signals come meanwhile.
pub(super) async fn wait(
    child: &mut Child,
    signals: &mut Signals,
    keeper: &Keeper,
) -> Result<Exit, Failure> {
    // Somebody below us has ended, whom nobody else waits for.
    let mut ended = signal(SignalKind::child()).ok();
    loop {
        tokio::select! {
            biased;
            status = child.wait() => {
                let status = status.map_err(|error| {
                    Failure::failed("child-lost", chain(&error), "nothing to do").exiting(OURS)
                })?;
                return Ok(exit_of(status));
            }
            () = received(&mut ended) => keeper.reap(child.id()),
            signal = signals.next() => forward(child, signal),
        }
    }
}

fn forward(child: &Child, signal: Signal) {
    if matches!(signal, Signal::INT | Signal::QUIT) && in_foreground() {
        return;
    }
    // None once it has been waited for: the number may be someone else's by then.
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended a moment ago, which is no error.
        let _ = kill_process(pid, signal);
    }
}

/// Whether our process group is the one that the terminal's keys reach.
fn in_foreground() -> bool {
    File::open("/dev/tty")
        .ok()
        .and_then(|tty| rustix::termios::tcgetpgrp(tty).ok())
        .is_some_and(|group| group == rustix::process::getpgrp())
}

fn exit_of(status: ExitStatus) -> Exit {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        (None, None) => u8::MAX,
    };
    Exit::Child(code)
}

fn not_spawned(program: &OsStr, error: &io::Error) -> Failure {
    let shown = program.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::failed(
            "command-not-found",
            format!("no such command: {shown}"),
            "check its name and PATH; for a script, also the interpreter in its first line",
        )
        .exiting(Exit::Child(127)),
        _ => Failure::failed(
            "command-not-executable",
            format!("cannot execute {shown}: {error}"),
            "check its permissions; a script needs `#!` and its interpreter on the first line",
        )
        .exiting(Exit::Child(126)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[&str], environment: &Environment) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::catch().unwrap();
            let line: Vec<OsString> = line.iter().map(OsString::from).collect();
            match spawn(&line, environment) {
                Ok(mut child) => wait(&mut child, &mut signals, &Keeper::default()).await.unwrap(),
                Err(failure) => failure.exit,
            }
        })
    }

    #[test]
    fn passes_the_exit_code_on() {
        let none = Environment::default();
        assert_eq!(run(&["sh", "-c", "exit 7"], &none), Exit::Child(7));
        assert_eq!(run(&["sh", "-c", "kill -KILL $$"], &none), Exit::Child(128 + 9));
        assert_eq!(run(&["no-such-command-anywhere"], &none), Exit::Child(127));
        assert_eq!(run(&["/dev/null"], &none), Exit::Child(126));
    }

    #[test]
    fn sets_and_removes_variables() {
        let environment = Environment {
            set: [("VALETKEY_TEST_SET".to_owned(), "1".into())].into(),
            remove: ["PATH".to_owned()].into(),
            warnings: Vec::new(),
        };
        let script = "test \"$VALETKEY_TEST_SET\" = 1 && ! /usr/bin/env | /bin/grep -q '^PATH='";
        assert_eq!(run(&["/bin/sh", "-c", script], &environment), Exit::Child(0));
    }
}
