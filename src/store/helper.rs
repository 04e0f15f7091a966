//! Running a helper: a program of config's that prints something secret.
//!
//! No shell, a minimal environment, standard streams only, a time and an output cap; and whatever
//! ends the run ends the helper's whole process group: where the daemon itself is ended, the watch
//! beside it does. Of what a helper says on stderr nothing is kept but the length, for it may print
//! its secret there.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{platform, watch};
use crate::config::{Fence, Helper};

/// Our own program, where it knows how to be a watch.
static WATCH: OnceLock<PathBuf> = OnceLock::new();

/// The most that a helper may print, on stdout or stderr, in bytes.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// Every helper gets these, where the daemon has them.
const ALWAYS: &[&str] = &["PATH", "HOME", "LANG"];

pub type Printed = Zeroizing<Vec<u8>>;

/// Why a helper printed nothing of use.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It ended with something else than 0. Its stderr stays its own.
    #[error("the helper {}, with {stderr} bytes on stderr", ended(.code, .signal))]
    Failed {
        /// Its exit code, where it exited.
        code: Option<i32>,
        /// The signal that ended it, where one did.
        signal: Option<i32>,
        /// How much it wrote to stderr, in bytes, as far as was counted.
        stderr: usize,
    },
    /// Its streams broke. The machine's.
    #[error("the helper's output cannot be read")]
    Lost(#[source] io::Error),
    /// It could not be started.
    #[error("the helper cannot be started")]
    NotStarted(#[source] io::Error),
    /// It took too long, and was killed.
    #[error("the helper took longer than {} s and was killed", .0.as_secs())]
    TimedOut(Duration),
    /// It printed too much, and was killed.
    #[error("the helper printed more than {MAX_OUTPUT} bytes and was killed")]
    TooLong,
    /// A variable leads it into the project that it should be kept out of, and this kernel keeps
    /// nobody out.
    #[error("the variable `{0}` leads the helper into its project")]
    Unheld(String),
}

fn ended(code: &Option<i32>, signal: &Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

impl HelperError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "helper-failed",
            Self::Lost(_) => "helper-lost",
            Self::NotStarted(_) => "helper-not-started",
            Self::TimedOut(_) => "helper-timeout",
            Self::TooLong => "helper-output-too-long",
            Self::Unheld(_) => "helper-unheld",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Failed { .. } => {
                "run the command by hand under `env -i` with PATH, HOME, LANG and what `env` lists; its stderr is not logged, for it may hold a secret; of a project's own config it can open nothing below the project but what `trust` holds"
            }
            Self::Lost(_) => "check the machine's limits of processes and files",
            Self::NotStarted(_) => {
                "`command` starts with the absolute path of a program that this user may execute"
            }
            Self::TimedOut(_) => {
                "it must not ask anybody anything: its stdin is empty and it has no terminal"
            }
            Self::TooLong => "it must print the secret and nothing else",
            Self::Unheld(_) => {
                "take it out of the helper's `env`, or set it to something outside of the project"
            }
        }
    }
}

/// From now on each helper has a watch beside it, so that it does not outlive this process. Only
/// for a program whose `main` begins with [`watch::main`]; others end their helpers as long as they
/// live themselves.
pub fn keep_watch() {
    match platform::own_program() {
        Some(own) => drop(WATCH.set(own)),
        None => tracing::warn!("our own program cannot be found: a helper may outlive the daemon"),
    }
}

/// Runs it once. `input` is its stdin, `more` stands in its environment beside what config allows.
/// Dropping the future kills it.
pub async fn run(
    helper: &Helper,
    input: &[u8],
    more: &[(&str, OsString)],
) -> Result<Printed, HelperError> {
    // The watch could only say by its exit code that it cannot start it.
    access(&helper.program, Access::EXEC_OK).map_err(|e| HelperError::NotStarted(e.into()))?;
    let watch = WATCH.get();
    let mut command = command(helper, watch, input)?;
    for (name, value) in more {
        command.env(name, value);
    }
    let mut child = spawn(command, helper.fence.clone()).await.map_err(HelperError::NotStarted)?;
    let _group = Group::of(child.id());
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(stdin) = &mut stdin {
            // A helper need not read what it is asked: that it is gone shows in its exit code.
            stdin.write_all(input).await.ok();
        }
        // A watch takes the end of this pipe for ours.
        Ok(stdin.filter(|_| watch.is_some()))
    };
    let talk = async {
        let (printed, said, _alive) =
            tokio::try_join!(read(stdout, true), read(stderr, false), write)?;
        let status = child.wait().await.map_err(HelperError::Lost)?;
        Ok::<_, HelperError>((printed, said.len(), status))
    };
    match tokio::time::timeout(helper.timeout, talk).await {
        Err(_) => Err(HelperError::TimedOut(helper.timeout)),
        Ok(talked) => {
            let (printed, stderr, status) = talked?;
            succeeded(status, stderr).map(|()| printed)
        }
    }
}

/// Starts it; where it is kept out of something, from a thread that is kept out before, and ends
/// then.
async fn spawn(mut command: Command, fence: Option<Arc<Fence>>) -> io::Result<Child> {
    let Some(fence) = fence else { return command.spawn() };
    let (runtime, (started, child)) = (Handle::current(), oneshot::channel());
    std::thread::Builder::new().name("fence".into()).spawn(move || {
        let _runtime = runtime.enter();
        // Nobody waits for it any more where this fails: it ends with what is dropped then.
        let _ = started.send(fence.keep_out().and_then(|()| command.spawn()));
    })?;
    child.await.map_err(io::Error::other)?
}

/// The helper, or the watch that runs it; a leader of its own process group either way.
fn command(helper: &Helper, watch: Option<&PathBuf>, input: &[u8]) -> Result<Command, HelperError> {
    let mut command = match watch {
        None => {
            let mut command = Command::new(&helper.program);
            command.process_group(0).kill_on_drop(true);
            command
        }
        // It makes a session of its own. Never killed alone, for then nobody would end its helper.
        Some(own) => {
            let mut command = Command::new(own);
            command.arg0(watch::NAME).args(watch::arguments(input.len(), &helper.program));
            command
        }
    };
    command.args(&helper.arguments).env_clear().current_dir("/");
    let listed = helper.env.iter().map(String::as_str);
    for name in ALWAYS.iter().copied().chain(listed) {
        let Some(mut value) = std::env::var_os(name) else { continue };
        if let Some(fence) = &helper.fence {
            if name == "PATH" {
                value = fence.path(&value);
            } else if !ALWAYS.contains(&name) && fence.lets_in(&value) {
                return Err(HelperError::Unheld(name.to_owned()));
            }
        }
        command.env(name, value);
    }
    let stdin = if watch.is_none() && input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// As [`run`] from where nothing can be awaited: on a thread of its own, with a runtime of its own.
pub fn run_here(helper: &Helper) -> Result<Printed, HelperError> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    std::thread::scope(|scope| {
        let run = || runtime().map_err(HelperError::Lost)?.block_on(run(helper, &[], &[]));
        let thread = std::thread::Builder::new().name("helper".into()).spawn_scoped(scope, run);
        match thread.map_err(HelperError::NotStarted)?.join() {
            Ok(result) => result,
            Err(_) => Err(HelperError::Lost(io::Error::other("its thread panicked"))),
        }
    })
}

fn succeeded(status: ExitStatus, stderr: usize) -> Result<(), HelperError> {
    use std::os::unix::process::ExitStatusExt as _;
    if status.success() {
        return Ok(());
    }
    Err(HelperError::Failed { code: status.code(), signal: status.signal(), stderr })
}

/// To the end, or to one byte too many. stderr is counted, wiped, and never looked at.
async fn read(
    stream: Option<impl AsyncRead + Unpin>,
    strict: bool,
) -> Result<Printed, HelperError> {
    // Full size from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT + 64));
    let Some(mut stream) = stream else { return Ok(bytes) };
    let mut most = (&mut stream).take(MAX_OUTPUT as u64 + 1);
    most.read_to_end(&mut bytes).await.map_err(HelperError::Lost)?;
    if bytes.len() <= MAX_OUTPUT {
        return Ok(bytes);
    }
    // Whoever floods stderr is not kept from printing; it ends by the time cap at the latest.
    if strict {
        return Err(HelperError::TooLong);
    }
    let mut rest = Zeroizing::new([0u8; 4096]);
    while stream.read(&mut *rest).await.map_err(HelperError::Lost)? > 0 {}
    Ok(bytes)
}

/// The helper's process group; killed when this goes, with whatever the helper left behind in it.
struct Group(Option<Pid>);

impl Group {
    fn of(id: Option<u32>) -> Self {
        Self(id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Usually nobody is left in it, which is no error.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Helper {
        Helper {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            env: vec![],
            timeout: Duration::from_secs(10),
            fence: None,
        }
    }

    fn code(helper: &Helper) -> &'static str {
        let error = run_here(helper).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        error.code()
    }

    #[test]
    fn prints_and_fails_silently() {
        assert_eq!(&**run_here(&shell("echo canary; echo noise >&2")).unwrap(), b"canary\n");
        assert_eq!(code(&shell("echo canary >&2; echo canary; exit 1")), "helper-failed");
        let error = run_here(&shell("printf canary >&2; exit 7")).unwrap_err();
        assert_eq!(error.to_string(), "the helper exited with code 7, with 6 bytes on stderr");
        let gone = Helper { program: "/nonexistent/helper".into(), ..shell("") };
        assert_eq!(code(&gone), "helper-not-started");
    }

    #[test]
    fn its_environment_is_minimal_and_its_stdin_empty() {
        let printed =
            run_here(&shell("cat; env | cut -d= -f1 | sort | tr '\\n' ' '; pwd")).unwrap();
        let printed = String::from_utf8(printed.to_vec()).unwrap();
        let own = ["HOME", "LANG", "PATH", "PWD", "OLDPWD", "SHLVL", "_", "/"];
        for name in printed.split_whitespace() {
            assert!(own.contains(&name), "{name} in {printed}");
        }
        assert!(printed.contains("PATH"), "{printed}");
        let user = Helper { env: vec!["CARGO_PKG_NAME".into()], ..shell("printf $CARGO_PKG_NAME") };
        let expected = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
        assert_eq!(&**run_here(&user).unwrap(), expected.as_bytes());
    }

    #[test]
    fn floods_and_hangs_are_cut() {
        let started = Instant::now();
        assert_eq!(code(&shell("yes canary")), "helper-output-too-long");
        assert!(run_here(&shell("head -c 300000 /dev/zero >&2; echo ok")).is_ok());
        assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
        let hangs = Helper { timeout: Duration::from_millis(300), ..shell("sleep 1000") };
        assert_eq!(code(&hangs), "helper-timeout");
    }

    /// A child that it left behind holds the pipe: it goes with the group.
    #[test]
    fn the_whole_group_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let hangs = Helper { timeout: Duration::from_secs(2), ..shell(&script) };
        assert_eq!(code(&hangs), "helper-timeout");
        let child: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let child = Pid::from_raw(child).unwrap();
        let gone = |stat: io::Result<String>| {
            // Killed, and perhaps not yet reaped by whoever inherited it.
            stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|s| s.starts_with(" Z")))
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !gone(std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()))) {
            assert!(Instant::now() < deadline, "the helper's child lives on");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn asks_on_stdin_and_in_the_environment() {
        let more = [("VK_TEST", OsString::from("v"))];
        let printed = run(&shell("cat; printf $VK_TEST"), b"asked ", &more).await.unwrap();
        assert_eq!(&**printed, b"asked v");
    }
}
