//! The only place that prints: data on stdout, everything else on stderr.
//!
//! Paths, configs, arguments and records hold text of others. Whatever a person sees of it is
//! cleaned here, and nowhere else ([`plain`]). A reader of stdout that goes away (`audit tail |
//! head`) ends a command quietly.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Serialize;

use super::failure::{Exit, Failure};
use super::terminal;
use crate::config::env;
use crate::config::problem::Problem;
use crate::model::hint::{config_flag, with_config};
use crate::model::plain;

/// What names the config of this command line, where it isn't found by itself.
static CONFIG_FLAG: OnceLock<String> = OnceLock::new();

/// From now on commands in hints name the config that this command line, or its environment, names:
/// they work as they are pasted.
pub(super) fn name_config(explicit: Option<&Path>) {
    let named = explicit.map(Path::to_owned).or_else(|| env::path(env::CONFIG));
    // Once for each process.
    let _ = CONFIG_FLAG.set(named.as_deref().map(config_flag).unwrap_or_default());
}

/// A text of ours, its commands as they can be pasted.
pub(super) fn pasteable(text: &str) -> Cow<'_, str> {
    with_config(text, CONFIG_FLAG.get().map_or("", String::as_str))
}

/// Lines of text for a person.
pub(super) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    bytes(format!("{}\n", terminal::shown(text.as_ref())).as_bytes())
}

/// A word or a cell that others chose.
pub(super) fn plain(text: &str) -> String {
    plain::line(text).into_owned()
}

/// Data as it is, without a line end of ours: for a shell, or to be kept.
pub(super) fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(data).and_then(|()| out.flush()).map_err(unwritable)
}

pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::failed("output-invalid", error, "this is a mistake of ours: please report it")
    })?;
    json_line(text.as_bytes())
}

/// A line that is JSON already, or was before somebody damaged it.
pub(super) fn json_line(text: &[u8]) -> Result<(), Failure> {
    bytes(format!("{}\n", plain::json(&String::from_utf8_lossy(text))).as_bytes())
}

/// Something a person may want to know; on stderr.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", plain::lines(&pasteable(text)));
}

/// Something a person should know; on stderr.
pub(super) fn warn(code: &str, text: &str, hint: &str) {
    let hint = pasteable(hint);
    let (text, hint) = (plain::line(text), plain::line(&hint));
    let _ = writeln!(io::stderr().lock(), "warning[{code}]: {text}\n  hint: {hint}");
}

/// The same in one line, for who has not asked.
pub(super) fn remark(code: &str, text: &str) {
    let _ = writeln!(io::stderr().lock(), "warning[{code}]: {}", plain::line(text));
}

/// What is wrong with a config; on stderr.
pub(super) fn problems(problems: &[Problem]) {
    let mut err = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(err, "{}", cleaned(problem));
    }
}

/// A problem whose lines are all ours.
pub(super) fn cleaned(problem: &Problem) -> Problem {
    Problem {
        file: PathBuf::from(&*plain::line(&problem.file.to_string_lossy())),
        message: plain::line(&problem.message).into_owned(),
        hint: plain::line(&pasteable(&problem.hint)).into_owned(),
        ..*problem
    }
}

/// Why a command failed; on stderr.
pub(super) fn failure(failure: &Failure) {
    if failure.code.is_empty() {
        return;
    }
    let (message, hint) = (pasteable(&failure.message), pasteable(&failure.hint));
    let (message, hint) = (plain::line(&message), plain::line(&hint));
    let _ = writeln!(io::stderr().lock(), "error[{}]: {message}", plain::line(&failure.code));
    if !hint.is_empty() {
        let _ = writeln!(io::stderr().lock(), "  hint: {hint}");
    }
}

/// What clap says of a command line it can't read, in our form; on stderr.
pub(super) fn usage(rendered: &str) {
    let text = rendered.replacen("error: ", "error[usage]: ", 1).replace(
        "For more information, try '--help'.",
        "  hint: `valetkey --help` lists the commands, `valetkey COMMAND --help` explains one",
    );
    let _ = writeln!(io::stderr().lock(), "{}", plain::lines(text.trim_end()));
}

fn unwritable(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::silent(Exit::Fine);
    }
    Failure::failed("output-unwritable", error, "check where stdout goes: is the disk full?")
}
