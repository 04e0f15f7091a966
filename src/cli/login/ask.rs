//! A question to whoever sits at the terminal; nobody is asked where nobody sits.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Read as _, Write as _};

/// Whether the person says yes; `None` where there is none. Stdin is left alone: it is the
/// command's.
pub(super) fn yes(question: &str) -> Option<bool> {
    if !std::io::stderr().is_terminal() || !std::io::stdin().is_terminal() {
        return None;
    }
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    terminal.write_all(format!("{question} [Y/n] ").as_bytes()).ok()?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    // By the byte: what was typed ahead is the command's as well.
    while answer.len() < 64 && terminal.read(&mut byte).ok()? == 1 && byte[0] != b'\n' {
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).trim().to_ascii_lowercase();
    Some(matches!(answer.as_str(), "" | "y" | "yes"))
}
