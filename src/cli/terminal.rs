//! What stdout is shown on: how wide it is, and whether it has colours. A colour never says what no
//! word says.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Effects, Style};

use super::args::Colour;
use crate::model::plain;

/// Where nothing says how wide it is: a pipe, a file.
const WIDTH: usize = 80;
/// Narrower than this, lines are cut by whoever shows them.
const LEAST: usize = 40;

/// It went as it should.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// The style of what is neither good nor bad.
pub(super) const ODD: Style = AnsiColor::Yellow.on_default();
/// It was refused, or it failed.
pub(super) const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
/// What is read only when it is looked for.
pub(super) const FAINT: Style = Style::new().effects(Effects::DIMMED);
/// Heads of columns.
pub(super) const HEAD: Style = Style::new().effects(Effects::BOLD);

static COLOURS: OnceLock<bool> = OnceLock::new();

/// Decides once, before anything is printed.
pub(super) fn choose(colour: Colour) {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // no-color.org: any value but the empty one.
    let auto = || {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
    };
    let _ = COLOURS.set(match colour {
        Colour::Always => true,
        Colour::Auto => auto(),
        Colour::Never => false,
    });
}

/// All of them, by the mark that stands for each.
const STYLES: [Style; 5] = [GOOD, ODD, BAD, FAINT, HEAD];
/// What stands before a text in the first of the styles: characters that are none, for use within a
/// program.
const FIRST: char = '\u{fdd0}';
/// What ends a painted text, whatever its style.
const LAST: char = '\u{fdef}';

/// A text in a style, where there are colours: between marks, which [`shown`] makes into what
/// terminals take.
pub(super) fn paint(style: Style, text: &str) -> String {
    let mark = STYLES
        .iter()
        .position(|known| *known == style)
        .and_then(|at| char::from_u32(FIRST as u32 + u32::try_from(at).ok()?));
    match mark.filter(|_| !text.is_empty() && COLOURS.get().copied().unwrap_or(false)) {
        Some(mark) => format!("{mark}{text}{LAST}"),
        None => text.to_owned(),
    }
}

/// Lines as a terminal gets them: with nothing in them that does anything to it but our own
/// colours.
pub(super) fn shown(text: &str) -> String {
    if !COLOURS.get().copied().unwrap_or(false) {
        return plain::lines(text).into_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut style = Style::new();
    for piece in text.split_inclusive(|c| (FIRST..=LAST).contains(&c)) {
        let mark = piece.chars().next_back().filter(|c| (FIRST..=LAST).contains(c));
        let rest = mark.map_or(piece, |mark| &piece[..piece.len() - mark.len_utf8()]);
        out.push_str(&plain::lines(rest));
        match mark {
            None => {}
            Some(LAST) => out.push_str(&format!("{style:#}")),
            Some(mark) => {
                style = STYLES.get(mark as usize - FIRST as usize).copied().unwrap_or_default();
                out.push_str(&format!("{style}"));
            }
        }
    }
    out
}

/// Columns of stdout.
pub(super) fn width() -> usize {
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    };
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal().or_else(said).unwrap_or(WIDTH).max(LEAST)
}

/// Lines that are too long for a terminal, broken between words. A pipe gets each as one, for
/// `grep` and editors.
pub(super) fn flow(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.to_owned();
    }
    let broken = |line: &str| {
        let rest = line.trim_start();
        let (indent, room) = (line.len() - rest.len(), width());
        let mut lines = wrap(rest, room.saturating_sub(indent + CONTINUED)).into_iter();
        let first = format!("{:indent$}{}", "", lines.next().unwrap_or_default());
        let next = lines.map(|line| format!("\n{:1$}{line}", "", indent + CONTINUED));
        first + &next.collect::<String>()
    };
    text.lines().map(broken).collect::<Vec<_>>().join("\n")
}

/// Columns before the rest of a line that was broken.
const CONTINUED: usize = 2;

/// Columns that a text takes. What is beyond the alphabets of Europe counts as two: some of it is
/// as wide, and a column that stays empty does no harm.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    let narrow = c < '\u{1100}' || ('\u{2010}'..='\u{203f}').contains(&c);
    if narrow { 1 } else { 2 }
}

/// At most so many columns; what was cut is an ellipsis, in the middle if both ends say something.
pub(super) fn clip(text: &str, most: usize, middle: bool) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let end = if middle { kept / 2 } else { 0 };
    let begin = take(text.chars(), kept - end);
    let end: String = take(text.chars().rev(), end).chars().rev().collect();
    format!("{begin}\u{2026}{end}")
}

fn take(text: impl Iterator<Item = char>, most: usize) -> String {
    let mut used = 0;
    text.take_while(|c| {
        used += columns_of(*c);
        used <= most
    })
    .collect()
}

/// A text and spaces behind it, so many columns in all.
pub(super) fn pad(text: &str, to: usize) -> String {
    format!("{text}{:1$}", "", to.saturating_sub(columns(text)))
}

/// A text in lines of at most so many columns, broken between words, or inside one that is longer
/// than a line: there behind a mark, where one is near.
pub(super) fn wrap(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().map(std::mem::take).unwrap_or_default();
            let used = columns(&line) + usize::from(!line.is_empty());
            let fits = used + columns(&word) <= most;
            let joined = if line.is_empty() { word.clone() } else { format!("{line} {word}") };
            if fits {
                lines.pop();
                lines.push(joined);
                break;
            }
            if line.is_empty() {
                let head = take(word.chars(), most.max(2));
                let mark =
                    head.rfind(['-', '.', '/', '_', ':', '@', ',', '=', '&']).map(|at| at + 1);
                let at = mark.filter(|at| *at > head.len() / 2).unwrap_or(head.len());
                let head = head[..at].to_owned();
                word = word[at..].to_owned();
                lines.pop();
                lines.push(head);
            } else {
                lines.pop();
                lines.push(line);
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_to_columns() {
        assert_eq!(clip("abc", 3, false), "abc");
        assert_eq!(clip("abcdef", 4, false), "abc…");
        assert_eq!(clip("abcdefgh", 5, true), "ab…gh");
        assert_eq!(clip("日本語", 5, false), "日本…");
        for most in 1..20 {
            for middle in [true, false] {
                assert!(columns(&clip("GET api.日本.example/v1/orders", most, middle)) <= most);
            }
        }
    }

    #[test]
    fn wraps_between_words_and_within_long_ones() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
        assert_eq!(wrap("sha256:0011223344", 7), ["sha256:", "0011223", "344"]);
        assert_eq!(wrap("a sha256:00", 7), ["a", "sha256:", "00"]);
        assert_eq!(wrap("positions-of-orders-write", 24), ["positions-of-orders-", "write"]);
        for most in 2..12 {
            let lines = wrap("an orders-read of 日本 and more", most);
            assert!(lines.iter().all(|line| columns(line) <= most), "{most}: {lines:?}");
        }
    }
}
