//! Line breaks in a text, in any spelling.

use super::spelling::{LONGEST, Readings};

/// Whether a text ends in a line break, in any spelling.
pub(super) fn ends_line(text: &[u8]) -> bool {
    // The last bytes of `\n`, `%0A`, `\u000a` and `&#10;`.
    let Some(b'\n' | b'\r' | b'n' | b'r' | b'a' | b'A' | b'd' | b'D' | b';') = text.last() else {
        return false;
    };
    text.ends_with(b"\n")
        || text.ends_with(b"\r")
        || spells_line(&text[text.len().saturating_sub(LONGEST)..])
}

/// Where the text is cut, no line break is: its last character may be the first of a form, and what
/// comes behind it stands behind a line break all the same.
pub(super) fn before_break(text: &[u8], cut: usize) -> usize {
    let from = cut.saturating_sub(LONGEST);
    let across = memchr::memchr3_iter(b'%', b'&', b'\\', &text[from..cut]).find(|at| {
        let over = |length| from + at + length > cut;
        let spelt = |(byte, length)| matches!(byte, b'\n' | b'\r') && over(length);
        Readings::of(&text[from + at..]).all().any(spelt)
    });
    across.map_or(cut, |at| before_break(text, from + at))
}

fn spells_line(text: &[u8]) -> bool {
    memchr::memchr3_iter(b'%', b'&', b'\\', text).any(|at| {
        let line = |(byte, length)| matches!(byte, b'\n' | b'\r') && at + length == text.len();
        Readings::of(&text[at..]).all().any(line)
    })
}
