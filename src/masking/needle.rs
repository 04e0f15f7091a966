//! One form of a token, and whether a text spells it at some place: byte for byte, each byte in any
//! spelling, and in base64 with line breaks.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use zeroize::Zeroizing;

use super::spelling::{self, LONGEST, Readings};

/// How the bytes of a form are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Base64 in either alphabet (RFC 4648 sections 4 and 5), with line breaks (RFC 2045).
    Base64,
    Exact,
    /// Hexadecimal digits of either case.
    Hex,
}

/// One form of a word, as it is looked for.
#[derive(Clone)]
pub(super) struct Needle {
    pub(super) kind: Comparison,
    pub(super) text: Zeroizing<Vec<u8>>,
    /// Some of its bytes may begin a spelling.
    tricky: bool,
    /// So many of its first bytes are masked though the rest does not follow.
    pub(super) enough: usize,
}

/// How far a text spells a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelt {
    No,
    /// As far as the text goes.
    Open,
    Whole(usize),
    /// Whole, up to here; and as far as the text goes, read otherwise.
    Both(usize),
}

impl Spelt {
    /// The end of a whole form.
    pub(super) fn end(self) -> Option<usize> {
        match self {
            Self::Whole(end) | Self::Both(end) => Some(end),
            Self::No | Self::Open => None,
        }
    }

    /// Whether what comes next may belong to it.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Both(_))
    }
}

/// A line break in base64 is let pass behind this many characters: otherwise every line that ends
/// in the first character of a form would have to wait for the next. What stands before an earlier
/// break is not enough to matter.
pub(super) const BEFORE_BREAK: usize = 4;
/// Ways to read what ends at one place; a row of backslashes has some.
const MOST_ENDINGS: usize = 8;
/// The shortest that programs write: that of PEM (RFC 7468).
const LINE: usize = 64;
/// Line breaks in a row: `\r\n`.
const MOST_BREAKS: usize = 2;

impl Needle {
    pub(super) fn new(kind: Comparison, text: Vec<u8>) -> Self {
        let tricky = text.iter().any(|byte| spelling::begins(*byte));
        Self { kind, enough: text.len(), text: Zeroizing::new(text), tricky }
    }

    /// Of a token of which `enough` bytes of `all` give away too much.
    pub(super) fn cut_short(mut self, enough: usize, all: usize) -> Self {
        if enough < all {
            // The last characters of base64 depend on what comes next.
            let last = usize::from(self.kind == Comparison::Base64);
            self.enough = (enough * self.text.len() / all).saturating_sub(last);
        }
        self
    }

    /// Whether it is longer than a line of base64 may be: what is enough of it may then have a
    /// break in it. Shorter ones seldom have, and would take more looks.
    pub(super) fn over_lines(&self) -> bool {
        self.text.len() > LINE
    }

    /// Whether a byte of a text stands for this byte of the form.
    fn same(&self, wanted: u8, byte: u8) -> bool {
        wanted == byte
            || match self.kind {
                Comparison::Base64 => matches!((wanted, byte), (b'+', b'-') | (b'/', b'_')),
                Comparison::Exact => false,
                Comparison::Hex => wanted.eq_ignore_ascii_case(&byte),
            }
    }

    /// Whether `byte` may begin the form, were it not spelt otherwise.
    pub(super) fn begins_with(&self, byte: u8) -> bool {
        self.text.first().is_some_and(|first| self.same(*first, byte))
    }

    /// Whether `byte` may stand in the form, were it not spelt otherwise.
    pub(super) fn has(&self, byte: u8) -> bool {
        self.text.iter().any(|wanted| self.same(*wanted, byte))
    }

    /// Whether the end of `text` from `at` on, where a line begins, may be part of the form whose
    /// first characters stand before the break.
    pub(super) fn goes_on(&self, text: &[u8], at: usize) -> bool {
        self.kind == Comparison::Base64
            && (1..BEFORE_BREAK).any(|from| self.forward(from, text, at).is_open())
    }

    /// How far `text` spells the form from `at` on, which is where its byte `from` stands.
    pub(super) fn forward(&self, from: usize, text: &[u8], at: usize) -> Spelt {
        self.follow(from, text, at).0
    }

    /// As [`Self::forward`]; and up to where the form is spelt, if that is enough of it and `from`
    /// its beginning.
    pub(super) fn follow(&self, from: usize, text: &[u8], at: usize) -> (Spelt, Option<usize>) {
        let same = self.same_ahead(from, text, at);
        let mut begun = (from + same >= self.enough).then_some(at + same);
        if let (Some(wanted), Some(byte)) = (self.text.get(from + same), text.get(at + same))
            && !(self.same(*wanted, *byte) || spelling::begins(*byte) || self.breaks(*byte, 0))
        {
            return (Spelt::No, begun);
        }
        let text = &text[at + same..];
        let (mut ways, mut open, mut broken) = (Ways::begun(), false, false);
        for (from, wanted) in self.text.iter().enumerate().skip(from + same) {
            if from >= self.enough && (self.over_lines() || !broken) {
                // Read otherwise, more of it may end earlier.
                begun = begun.max(Some(at + same + ways.furthest()));
            }
            let mut next = ways.next();
            while let Some((at, breaks)) = ways.take() {
                let readings = Readings::of(&text[at..]);
                open |= readings.cut;
                for (byte, length) in readings.all() {
                    if self.same(*wanted, byte) {
                        next.add(at + length, 0);
                    } else if from >= BEFORE_BREAK && self.breaks(byte, breaks) {
                        ways.add(at + length, breaks + 1);
                        broken = true;
                    }
                }
            }
            if next.is_empty() {
                return (if open { Spelt::Open } else { Spelt::No }, begun);
            }
            ways = next;
        }
        let end = at + same + ways.furthest();
        (if open { Spelt::Both(end) } else { Spelt::Whole(end) }, Some(end))
    }

    /// How many bytes from there on stand in `text` as they are, where they can stand there in no
    /// other way.
    fn same_ahead(&self, from: usize, text: &[u8], at: usize) -> usize {
        if self.tricky {
            return 0;
        }
        let (wanted, text) = (&self.text[from..], &text[at..]);
        if text.starts_with(wanted) {
            return wanted.len();
        }
        wanted.iter().zip(text).take_while(|(wanted, byte)| wanted == byte).count()
    }

    /// Whether this byte of a text is a line break within the form, behind `before` others.
    fn breaks(&self, byte: u8, before: usize) -> bool {
        self.kind == Comparison::Base64 && matches!(byte, b'\r' | b'\n') && before < MOST_BREAKS
    }

    /// Where the form begins if its byte `from` stands behind `before`. `behind_break`: that begins
    /// with a line.
    pub(super) fn backward(
        &self,
        from: usize,
        text: &[u8],
        endings: &mut Endings,
        behind_break: bool,
    ) -> Option<usize> {
        let end = text.len();
        let back = &text[end.saturating_sub(from + LONGEST)..];
        if back.ends_with(&self.text[..from]) && !back.iter().any(|byte| spelling::begins(*byte)) {
            return Some(end - from);
        }
        let (mut ways, mut broken) = (Ways::begun(), None);
        for (at, wanted) in self.text[..from].iter().enumerate().rev() {
            // What stands before an early break is given up.
            let early = at + 1 < BEFORE_BREAK;
            let mut next = ways.next();
            while let Some((back, breaks)) = ways.take() {
                if back == end && behind_break && early && self.kind == Comparison::Base64 {
                    broken = Some(0);
                }
                for (byte, length) in endings.all(&text[..end - back]) {
                    if self.same(*wanted, byte) {
                        next.add(back + length, 0);
                    } else if self.breaks(byte, breaks) && early {
                        broken = Some(end - back);
                    } else if self.breaks(byte, breaks) {
                        ways.add(back + length, breaks + 1);
                    }
                }
            }
            if next.is_empty() {
                return broken;
            }
            ways = next;
        }
        Some(end - ways.furthest())
    }
}

/// What may be read backwards from the places of a text. A token that repeats itself is looked for
/// in many ways at each, and all of them read the same.
#[derive(Debug, Default)]
pub(super) struct Endings(HashMap<usize, Ending, RandomState>);

/// What may be read that ends at one place, and by how many bytes it is spelt.
#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    readings: [(u8, u8); MOST_ENDINGS],
    length: usize,
}

impl Endings {
    fn all(&mut self, text: &[u8]) -> impl Iterator<Item = (u8, usize)> + use<> {
        let Ending { readings, length } =
            *self.0.entry(text.len()).or_insert_with(|| Ending::of(text));
        readings.into_iter().take(length).map(|(byte, length)| (byte, length.into()))
    }
}

impl Ending {
    fn of(text: &[u8]) -> Self {
        let mut ending = Self::default();
        for all in 1..=text.len().min(LONGEST) {
            let part = &text[text.len() - all..];
            if all > 1 && !spelling::begins(part[0]) {
                continue;
            }
            for (byte, length) in Readings::of(part).all() {
                if length == all && ending.length < MOST_ENDINGS {
                    ending.readings[ending.length] = (byte, length as u8);
                    ending.length += 1;
                }
            }
        }
        ending
    }
}

/// The places that a form may have come to, as bytes from where it was begun to be read, and how
/// many line breaks stand before each. A row of backslashes has many.
struct Ways {
    /// No place is nearer than this; `known` counts from it.
    nearest: usize,
    /// How much further each is, for each number of breaks: one bit.
    known: [u128; 1 + MOST_BREAKS],
    taken: [u128; 1 + MOST_BREAKS],
}
impl Ways {
    fn begun() -> Self {
        let (mut known, taken) = ([0; 1 + MOST_BREAKS], [0; 1 + MOST_BREAKS]);
        known[0] = 1;
        Self { nearest: 0, known, taken }
    }

    /// None yet, of those that are a byte further.
    fn next(&self) -> Self {
        let nearest = self.known.iter().map(|known| known.trailing_zeros()).min();
        Self {
            nearest: self.nearest + 1 + nearest.unwrap_or_default() as usize,
            known: [0; 1 + MOST_BREAKS],
            taken: [0; 1 + MOST_BREAKS],
        }
    }

    fn add(&mut self, at: usize, breaks: usize) {
        // What is further off than that is noise that spells itself.
        let bit = u32::try_from(at - self.nearest).ok().and_then(|by| 1u128.checked_shl(by));
        self.known[breaks] |= bit.unwrap_or_default();
    }

    /// The next that was not taken, and the breaks before it.
    fn take(&mut self) -> Option<(usize, usize)> {
        for (breaks, (known, taken)) in self.known.iter().zip(&mut self.taken).enumerate() {
            let left = known & !*taken;
            if left != 0 {
                *taken |= left & left.wrapping_neg();
                return Some((self.nearest + left.trailing_zeros() as usize, breaks));
            }
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.known.iter().all(|known| *known == 0)
    }

    fn furthest(&self) -> usize {
        let all = self.known.iter().fold(0, |all, known| all | known);
        self.nearest + all.checked_ilog2().unwrap_or_default() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(needle: &Needle, from: usize, text: &[u8], behind_break: bool) -> Option<usize> {
        needle.backward(from, text, &mut Endings::default(), behind_break)
    }

    fn exact(text: &str) -> Needle {
        Needle::new(Comparison::Exact, text.into())
    }

    #[test]
    fn any_mix_of_spellings() {
        let needle = exact("a+b/c\"d\\e%41&f");
        for text in [
            "a+b/c\"d\\e%41&f",
            "a%2Bb%2fc%22d%5Ce%2541%26f",
            "a\\u002Bb\\/c\\\"d\\\\e%41&f",
            "a&#43;b&#x2F;c&quot;d\\e%41&amp;f",
            "%61%2b%62%2f%63%22%64%5c%65%25%34%31%26%66",
            // Twice over.
            "%2561%252b%2562%252f%2563%2522%2564%255c%2565%2525%2534%2531%2526%2566",
            "a+b/c\\\"d\\\\\\\\e%41&f",
            "a+b/c&amp;quot;d\\e%41&amp;amp;f",
        ] {
            let text = text.as_bytes();
            assert_eq!(needle.forward(0, text, 0).end(), Some(text.len()), "{text:?}");
            assert_eq!(back(&needle, needle.text.len(), text, false), Some(0), "{text:?}");
            for end in 0..text.len() {
                assert_eq!(needle.forward(0, &text[..end], 0), Spelt::Open, "{text:?} to {end}");
            }
        }
        assert_eq!(needle.forward(0, b"a+b/d", 0), Spelt::No);
    }

    #[test]
    fn many_that_read_both_ways() {
        let needle = exact("%a%b%c%d%e%f%g\\h\\i\\j\\k\\l\\m&n&o&p&q&r&s");
        let twice =
            |text: &str| text.replace('%', "%25").replace('\\', "\\\\").replace('&', "&amp;");
        let plain = String::from_utf8(needle.text.to_vec()).unwrap();
        let once = twice(&plain);
        for text in [once.clone(), plain.replace('%', "%2525"), plain.replace('\\', "\\\\\\\\")] {
            assert_eq!(needle.forward(0, text.as_bytes(), 0).end(), Some(text.len()), "{text}");
            let back = back(&needle, needle.text.len(), text.as_bytes(), false);
            assert_eq!(back, Some(0), "{text}");
        }
    }

    #[test]
    fn base64_in_lines() {
        let needle = Needle::new(Comparison::Base64, b"abcd+/ghij".to_vec());
        for text in
            ["abcd+/ghij", "abcd-_ghij", "abcd\r\n+/ghij", "abcd+\\/\\nghij", "abcd%2B%2Fgh\nij"]
        {
            let text = text.as_bytes();
            assert_eq!(needle.forward(0, text, 0).end(), Some(text.len()), "{text:?}");
            assert_eq!(back(&needle, 10, text, false), Some(0), "{text:?}");
        }
        // What stands before an early break is given up, the rest is not.
        assert_eq!(back(&needle, 10, b"ab\ncd+/ghij", false), Some(3));
        // It may have been before this text.
        assert_eq!(back(&needle, 10, b"cd+/ghij", true), Some(0));
        assert_eq!(back(&needle, 10, b"cd+/ghij", false), None);
        assert_eq!(needle.forward(0, b"ab\ncd", 0), Spelt::No);
    }

    #[test]
    fn what_reads_both_ways_ends() {
        let needle = exact(&"\\".repeat(60));
        assert_eq!(needle.forward(0, &[b'\\'; 60], 0).end(), Some(60));
        assert_ne!(needle.forward(0, &[b'\\'; 4000], 0), Spelt::No);
        back(&needle, 60, &[b'\\'; 4000], false);
    }
}
