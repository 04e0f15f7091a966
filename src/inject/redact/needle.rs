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
/// Places that are followed at once.
const MOST_WAYS: usize = 8;
/// How much of one byte is read as that byte spelt out of itself: three levels, of which each doubles a backslash.
const MOST_ANEW: usize = 7;

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
        self.follow(from, text, at)
    }

    /// Whether the end of `text` from `at` on, where a line begins, may be part of the form whose first
    /// characters stand before the break.
    pub(super) fn goes_on(&self, text: &[u8], at: usize) -> bool {
        self.kind == Kind::Base64
            && (1..BEFORE_BREAK).any(|from| self.forward(from, text, at) == Reach::Open)
    }

    fn follow(&self, from: usize, text: &[u8], at: usize) -> Reach {
        let (mut ways, mut open) = (Ways::from(at), false);
        for (from, wanted) in self.text.iter().enumerate().skip(from) {
            let mut next = Ways::default();
            while let Some((at, breaks)) = ways.take() {
                let Some(byte) = text.get(at) else {
                    open = true;
                    continue;
                };
                if self.same(*wanted, *byte) {
                    next.add(at + 1, 0);
                }
                for length in anew(*wanted, &text[at..]) {
                    next.add(at + length, 0);
                }
                match self.read(*wanted, from, &text[at..], breaks) {
                    Read::Byte(length) => next.add(at + length, 0),
                    Read::Break(length) => ways.add(at + length, breaks + 1),
                    Read::Cut => open = true,
                    Read::No => {}
                }
            }
            if next.is_empty() {
                return if open { Reach::Open } else { Reach::No };
            }
            ways = next;
        }
        Reach::Whole(ways.all().max().unwrap_or(at))
    }

    /// What else than itself the first byte of `text` may be.
    fn read(&self, wanted: u8, from: usize, text: &[u8], breaks: u8) -> Read {
        let breakable = self.kind == Kind::Base64 && from >= BEFORE_BREAK && breaks < 2;
        match text[0] {
            b'\r' | b'\n' if breakable => Read::Break(1),
            byte if spelling::begins(byte) => match spelling::spelt(text) {
                Spelt::Byte(b'\r' | b'\n', length) if breakable => Read::Break(length),
                Spelt::Byte(byte, length) if self.same(wanted, byte) => Read::Byte(length),
                Spelt::Cut => Read::Cut,
                Spelt::Byte(..) | Spelt::Plain => Read::No,
            },
            _ => Read::No,
        }
    }

    /// Where the form begins if its byte `from` stands at `at`. `behind_break`: `text` begins with a line.
    pub(super) fn backward(
        &self,
        from: usize,
        text: &[u8],
        at: usize,
        behind_break: bool,
    ) -> Option<usize> {
        let (mut ways, mut broken) = (Ways::from(at), None);
        for before in (0..from).rev() {
            let wanted = self.text[before];
            let mut next = Ways::default();
            while let Some((at, breaks)) = ways.take() {
                // What stands before an early break is given up.
                if at == 0 && behind_break && self.kind == Kind::Base64 && before + 1 < BEFORE_BREAK
                {
                    broken = Some(0);
                }
                if at > 0 && self.same(wanted, text[at - 1]) {
                    next.add(at - 1, 0);
                }
                for begin in at.saturating_sub(LONGEST)..at {
                    if !spelling::begins(text[begin]) && !matches!(text[begin], b'\r' | b'\n') {
                        continue;
                    }
                    let part = &text[begin..at];
                    if anew(wanted, part).any(|length| length == part.len()) {
                        next.add(begin, 0);
                    }
                    match self.read(wanted, before.max(BEFORE_BREAK), part, breaks) {
                        Read::Byte(length) if length == part.len() => next.add(begin, 0),
                        // What stands before an early break is given up.
                        Read::Break(length)
                            if length == part.len() && before + 1 < BEFORE_BREAK =>
                        {
                            broken = Some(at);
                        }
                        Read::Break(length) if length == part.len() => ways.add(begin, breaks + 1),
                        _ => {}
                    }
                }
            }
            if next.is_empty() {
                return broken;
            }
            ways = next;
        }
        ways.all().min()
    }
}

/// The lengths at which the text may spell this byte out of itself: `%25`, and `%2525` one level further.
fn anew(wanted: u8, text: &[u8]) -> impl Iterator<Item = usize> {
    let more: &[u8] = match wanted {
        b'%' => b"25",
        b'&' => b"amp;",
        b'\\' => b"\\",
        _ => b"",
    };
    let mut rest = text.strip_prefix(&[wanted]).filter(|_| !more.is_empty());
    let levels = std::iter::from_fn(move || {
        rest = rest?.strip_prefix(more);
        rest.map(|_| ())
    });
    let lengths =
        levels.take(MOST_ANEW).enumerate().map(move |(level, ())| 1 + (level + 1) * more.len());
    // Each level doubles a backslash.
    lengths.filter(move |length| wanted != b'\\' || length.is_power_of_two())
}

/// The places in a text that a form may have come to, and how many line breaks stand before each. Beyond a few it is
/// noise that spells itself in many ways: those that are kept mask enough of it.
#[derive(Default)]
struct Ways {
    known: [(usize, u8); MOST_WAYS],
    length: usize,
    taken: usize,
}

impl Ways {
    fn from(at: usize) -> Self {
        let mut ways = Self::default();
        ways.add(at, 0);
        ways
    }

    fn add(&mut self, at: usize, breaks: u8) {
        let way = (at, breaks);
        if self.length < MOST_WAYS && !self.known[..self.length].contains(&way) {
            self.known[self.length] = way;
            self.length += 1;
        }
    }

    /// The next that was not taken.
    fn take(&mut self) -> Option<(usize, u8)> {
        let way = self.known[..self.length].get(self.taken).copied();
        self.taken += usize::from(way.is_some());
        way
    }

    fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.known[..self.length].iter().map(|(at, _)| *at)
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
            // Twice over.
            "%2561%252b%2562%252f%2563%2522%2564%255c%2565%2525%2534%2531%2526%2566",
            "a+b/c\\\"d\\\\\\\\e%41&f",
            "a+b/c&amp;quot;d\\e%41&amp;amp;f",
        ] {
            let text = text.as_bytes();
            assert_eq!(needle.forward(0, text, 0), Reach::Whole(text.len()), "{text:?}");
            assert_eq!(
                needle.backward(needle.text.len(), text, text.len(), false),
                Some(0),
                "{text:?}"
            );
            for end in 0..text.len() {
                assert_eq!(needle.forward(0, &text[..end], 0), Reach::Open, "{text:?} to {end}");
            }
        }
        assert_eq!(needle.forward(0, b"a+b/d", 0), Reach::No);
    }

    #[test]
    fn many_that_read_both_ways() {
        let needle = exact("%a%b%c%d%e%f%g\\h\\i\\j\\k\\l\\m&n&o&p&q&r&s");
        let twice =
            |text: &str| text.replace('%', "%25").replace('\\', "\\\\").replace('&', "&amp;");
        let plain = String::from_utf8(needle.text.to_vec()).unwrap();
        let once = twice(&plain);
        for text in [once.clone(), plain.replace('%', "%2525"), plain.replace('\\', "\\\\\\\\")] {
            assert_eq!(needle.forward(0, text.as_bytes(), 0), Reach::Whole(text.len()), "{text}");
            let back = needle.backward(needle.text.len(), text.as_bytes(), text.len(), false);
            assert_eq!(back, Some(0), "{text}");
        }
    }

    #[test]
    fn base64_in_lines() {
        let needle = Needle::new(Kind::Base64, b"abcd+/ghij".to_vec());
        for text in
            ["abcd+/ghij", "abcd-_ghij", "abcd\r\n+/ghij", "abcd+\\/\\nghij", "abcd%2B%2Fgh\nij"]
        {
            let text = text.as_bytes();
            assert_eq!(needle.forward(0, text, 0), Reach::Whole(text.len()), "{text:?}");
            assert_eq!(needle.backward(10, text, text.len(), false), Some(0), "{text:?}");
        }
        // What stands before an early break is given up, the rest is not.
        assert_eq!(needle.backward(10, b"ab\ncd+/ghij", 11, false), Some(3));
        // It may have been before this text.
        assert_eq!(needle.backward(10, b"cd+/ghij", 8, true), Some(0));
        assert_eq!(needle.backward(10, b"cd+/ghij", 8, false), None);
        assert_eq!(needle.forward(0, b"ab\ncd", 0), Reach::No);
    }

    #[test]
    fn what_reads_both_ways_ends() {
        let needle = exact(&"\\".repeat(60));
        assert_eq!(needle.forward(0, &[b'\\'; 60], 0), Reach::Whole(60));
        assert_ne!(needle.forward(0, &[b'\\'; 4000], 0), Reach::No);
        needle.backward(60, &[b'\\'; 4000], 4000, false);
    }
}
