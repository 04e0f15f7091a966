//! One form of a token, and whether a text spells it at some place: byte for byte, each byte in any
//! spelling, and in base64 with line breaks.

use zeroize::Zeroizing;

use super::spelling::{self, LONGEST, Spelt};

/// How the bytes of a form are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Base64 in either alphabet (RFC 4648 sections 4 and 5), with line breaks (RFC 2045).
    Base64,
    /// As it is.
    Exact,
    /// Hexadecimal digits of either case.
    Hex,
}

/// A form.
#[derive(Clone)]
pub(super) struct Needle {
    pub(super) kind: Kind,
    pub(super) text: Zeroizing<Vec<u8>>,
}

/// How far a text spells a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not at all.
    No,
    /// As far as the text goes.
    Open,
    /// Whole, up to here.
    Whole(usize),
}

/// A line break in base64 is let pass behind this many characters: otherwise every line that ends in the
/// first character of a form would have to wait for the next. What stands before an earlier break is not
/// enough to matter.
pub(super) const BEFORE_BREAK: usize = 4;
/// Places with two readings that are followed both ways.
const FORKS: u8 = 4;

impl Needle {
    pub(super) fn new(kind: Kind, text: Vec<u8>) -> Self {
        Self { kind, text: Zeroizing::new(text) }
    }

    /// Whether a byte of a text stands for this byte of the form.
    fn same(&self, wanted: u8, byte: u8) -> bool {
        wanted == byte
            || match self.kind {
                Kind::Base64 => matches!((wanted, byte), (b'+', b'-') | (b'/', b'_')),
                Kind::Exact => false,
                Kind::Hex => wanted.eq_ignore_ascii_case(&byte),
            }
    }

    /// Whether `byte` may begin the form, were it not spelt otherwise.
    pub(super) fn begins_with(&self, byte: u8) -> bool {
        self.text.first().is_some_and(|first| self.same(*first, byte))
    }

    /// How far `text` spells the form from `at` on, which is where its byte `from` stands.
    pub(super) fn forward(&self, from: usize, text: &[u8], at: usize) -> Reach {
        self.follow(from, text, at, FORKS)
    }

    /// Whether the end of `text` from `at` on, where a line begins, may be part of the form whose first
    /// characters stand before the break.
    pub(super) fn goes_on(&self, text: &[u8], at: usize) -> bool {
        self.kind == Kind::Base64
            && (1..BEFORE_BREAK).any(|from| self.forward(from, text, at) == Reach::Open)
    }

    fn follow(&self, mut from: usize, text: &[u8], mut at: usize, mut forks: u8) -> Reach {
        let (mut breaks, mut otherwise) = (0, Reach::No);
        while let Some(wanted) = self.text.get(from) {
            let Some(byte) = text.get(at) else { return Reach::Open };
            let plain = self.same(*wanted, *byte);
            let spelt = self.read(*wanted, from, &text[at..], breaks);
            if plain && (matches!(spelt, Read::No) || forks == 0) {
                (from, at, breaks) = (from + 1, at + 1, 0);
                continue;
            }
            if plain {
                forks -= 1;
                match self.follow(from + 1, text, at + 1, forks) {
                    whole @ Reach::Whole(_) => return whole,
                    Reach::Open => otherwise = Reach::Open,
                    Reach::No => {}
                }
            }
            match spelt {
                Read::Byte(length) => (from, at, breaks) = (from + 1, at + length, 0),
                Read::Break(length) => (at, breaks) = (at + length, breaks + 1),
                Read::Cut => return Reach::Open,
                Read::No => return otherwise,
            }
        }
        Reach::Whole(at)
    }

    /// What else than itself the first byte of `text` may be.
    fn read(&self, wanted: u8, from: usize, text: &[u8], breaks: u8) -> Read {
        let breakable = self.kind == Kind::Base64 && from >= BEFORE_BREAK && breaks < 2;
        match text[0] {
            b'\r' | b'\n' if breakable => Read::Break(1),
            b'\\' if wanted == b'\\' && text.get(1) == Some(&b'\\') => Read::Byte(2),
            b'&' if wanted == b'&' && text.starts_with(b"&amp;") => Read::Byte(5),
            b'%' if wanted == b'%' && text.starts_with(b"%25") => Read::Byte(3),
            byte if spelling::begins(byte) => match spelling::spelt(text) {
                Spelt::Byte(b'\r' | b'\n', length) if breakable => Read::Break(length),
                Spelt::Byte(byte, length) if self.same(wanted, byte) => Read::Byte(length),
                Spelt::Cut => Read::Cut,
                Spelt::Byte(..) | Spelt::Plain => Read::No,
            },
            _ => Read::No,
        }
    }

    /// Where the form begins if its byte `from` stands at `at`.
    pub(super) fn backward(&self, from: usize, text: &[u8], at: usize) -> Option<usize> {
        self.retrace(from, text, at, FORKS)
    }

    fn retrace(&self, mut from: usize, text: &[u8], mut at: usize, forks: u8) -> Option<usize> {
        let mut breaks = 0;
        while let Some(before) = from.checked_sub(1) {
            let wanted = self.text[before];
            let mut ways = [None; 5];
            let mut known = 0;
            // The longest first: a spelling may end in another.
            for begin in at.saturating_sub(LONGEST)..at {
                if !spelling::begins(text[begin]) && !matches!(text[begin], b'\r' | b'\n') {
                    continue;
                }
                let part = &text[begin..at];
                let way = match self.read(wanted, before.max(BEFORE_BREAK), part, breaks) {
                    Read::Byte(length) if length == part.len() => (before, begin, 0),
                    Read::Break(length) if length == part.len() && from < BEFORE_BREAK => {
                        return Some(at);
                    }
                    Read::Break(length) if length == part.len() => (from, begin, breaks + 1),
                    _ => continue,
                };
                if known + 1 < ways.len() {
                    ways[known] = Some(way);
                    known += 1;
                }
            }
            if at > 0 && self.same(wanted, text[at - 1]) {
                ways[known] = Some((before, at - 1, 0));
                known += 1;
            }
            if known > 1 && forks > 0 {
                return ways
                    .into_iter()
                    .flatten()
                    .find_map(|(from, at, _)| self.retrace(from, text, at, forks - 1));
            }
            (from, at, breaks) = ways[0]?;
        }
        Some(at)
    }
}

/// How a place in a text is read.
enum Read {
    /// As a line break.
    Break(usize),
    /// As the wanted byte, by so many bytes.
    Byte(usize),
    /// The text ends too early.
    Cut,
    /// As nothing else.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Needle {
        Needle::new(Kind::Exact, text.into())
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
        ] {
            let text = text.as_bytes();
            assert_eq!(needle.forward(0, text, 0), Reach::Whole(text.len()), "{text:?}");
            assert_eq!(needle.backward(needle.text.len(), text, text.len()), Some(0), "{text:?}");
            for end in 0..text.len() {
                assert_eq!(needle.forward(0, &text[..end], 0), Reach::Open, "{text:?} to {end}");
            }
        }
        assert_eq!(needle.forward(0, b"a+b/d", 0), Reach::No);
    }

    #[test]
    fn base64_in_lines() {
        let needle = Needle::new(Kind::Base64, b"abcd+/ghij".to_vec());
        for text in
            ["abcd+/ghij", "abcd-_ghij", "abcd\r\n+/ghij", "abcd+\\/\\nghij", "abcd%2B%2Fgh\nij"]
        {
            let text = text.as_bytes();
            assert_eq!(needle.forward(0, text, 0), Reach::Whole(text.len()), "{text:?}");
            assert_eq!(needle.backward(10, text, text.len()), Some(0), "{text:?}");
        }
        // What stands before an early break is given up, the rest is not.
        assert_eq!(needle.backward(10, b"ab\ncd+/ghij", 11), Some(3));
        assert_eq!(needle.forward(0, b"ab\ncd", 0), Reach::No);
    }

    #[test]
    fn what_reads_both_ways_ends() {
        let needle = exact(&"\\".repeat(60));
        assert_eq!(needle.forward(0, &[b'\\'; 60], 0), Reach::Whole(60));
        assert_ne!(needle.forward(0, &[b'\\'; 4000], 0), Reach::No);
        needle.backward(60, &[b'\\'; 4000], 4000);
    }
}
