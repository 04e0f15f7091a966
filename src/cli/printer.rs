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

/// A text that others chose, with nothing in it that a terminal would act on, that turns round what is read, or that
/// is not seen (the characters of Unicode's category Cf).
pub(super) fn plain(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().map(|c| if acts(c) { '?' } else { c }).collect()
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

#[cfg(test)]
mod tests {
    #[test]
    fn what_others_chose_is_read_as_it_stands() {
        let text = "a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}\u{200b}d\u{2028}e\u{feff}\u{e0041} é 日本 –";
        assert_eq!(super::plain(text), "a?[2J?b?c??d?e?? é 日本 –");
    }
}
