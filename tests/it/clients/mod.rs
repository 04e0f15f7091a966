//! Real clients and a real issuer: unmodified programs under `valetkey run`, oidc-provider behind it.
//!
//! `provider` starts the issuer, `scene` the APIs that verify its tokens, `git_peer` answers as a git
//! server, `tool` knows how each client is called. The tests: `tools` (token in, placeholder never),
//! `git`, `trust` (who accepts our leaf and who refuses a forged one), `run` (the command itself).
//! What needs an installed peer is ignored by plain `cargo test`; `tests/run` installs and runs all.

mod git;
mod git_large;
mod git_peer;
mod matrix;
pub mod provider;
mod recipes;
mod run;
mod scene;
mod tool;
mod tools;
mod trust;
mod week;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::client::Finished;
use crate::harness::valetkey::{Home, program};

/// A file under `tests/`.
pub fn tests_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A file that `tests/run` installed.
pub fn peer(name: &str) -> PathBuf {
    let path = tests_file(".peers").join(name);
    assert!(path.exists(), "{} is missing: run tests/run", path.display());
    path
}

/// `valetkey run -- COMMAND`, in the clean environment of `home`.
fn under_run(home: &Home, command: &[&str]) -> Command {
    let mut run = home.bare_command(&["run", "--config"]);
    run.arg(&home.config).arg("--").args(command);
    run
}

/// A shell line in the clean environment of `home`, with `$VALETKEY` and `$CONFIG` besides.
fn shell(home: &Home, line: &str) -> Command {
    let valetkey = home.bare_command(&[]);
    let mut shell = Command::new("sh");
    shell
        .env_clear()
        .envs(valetkey.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("VALETKEY", program())
        .env("CONFIG", &home.config)
        .current_dir(home.path(""))
        .args(["-c", line]);
    shell
}

/// Runs a command to its end with `input` on stdin. More patient than the harness: a Java machine on a
/// busy computer takes its time.
pub async fn finish(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let what = format!("{:?}", command.as_std());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    // Beside the reading: a filter would block on a full pipe otherwise. A child may also not read it.
    let feed = async move {
        let _ = stdin.write_all(&input).await;
    };
    let ended = async { tokio::join!(feed, child.wait_with_output()).1 };
    match tokio::time::timeout(Duration::from_secs(90), ended).await {
        Ok(output) => Output(output.unwrap()),
        Err(_) => panic!("waited 90 s for {what}"),
    }
}

/// What a child printed and how it ended.
pub struct Output(std::process::Output);

impl Output {
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Both streams and the end, for messages.
    fn all(&self) -> String {
        format!("{}\nstdout: {}\nstderr: {}", self.0.status, self.stdout(), self.stderr())
    }
}

/// The harness's own short commands, in the same shape.
fn text(finished: &Finished) -> String {
    format!("{:?}\nstdout: {}\nstderr: {}", finished.code, finished.stdout, finished.stderr)
}
