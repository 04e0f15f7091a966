//! The only place that prints: data on stdout, everything else on stderr.
//!
//! A reader of stdout that goes away (`audit tail | head`) ends a command quietly.

use std::io::{self, Write as _};

use serde::Serialize;

use super::failure::{Exit, Failure};
use crate::config::problem::Problem;

/// One line of data.
pub(super) fn line(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(unwritable)
}

/// Data as it is, without a line end of ours.
pub(super) fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(data).and_then(|()| out.flush()).map_err(unwritable)
}

/// One JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::failed("output-invalid", error, "this is a mistake of ours: please report it")
    })?;
    line(text)
}

/// Something a person may want to know; on stderr.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Something a person should know; on stderr.
pub(super) fn warn(code: &str, text: &str, hint: &str) {
    let _ = writeln!(io::stderr().lock(), "warning[{code}]: {text}\n  hint: {hint}");
}

/// What is wrong with a config; on stderr.
pub(super) fn problems(problems: &[Problem]) {
    let mut err = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(err, "{problem}");
    }
}

/// Why a command failed; on stderr.
pub(super) fn failure(failure: &Failure) {
    if failure.code.is_empty() {
        return;
    }
    let _ = writeln!(io::stderr().lock(), "error[{}]: {}", failure.code, failure.message);
    if !failure.hint.is_empty() {
        let _ = writeln!(io::stderr().lock(), "  hint: {}", failure.hint);
    }
}

/// What clap says of a command line it can't read, in our form; on stderr.
pub(super) fn usage(rendered: &str) {
    let text = rendered.replacen("error: ", "error[usage]: ", 1).replace(
        "For more information, try '--help'.",
        "  hint: `valetkey --help` lists the commands, `valetkey COMMAND --help` explains one",
    );
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

fn unwritable(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::silent(Exit::Fine);
    }
    Failure::failed("output-unwritable", error, "check where stdout goes: is the disk full?")
}
