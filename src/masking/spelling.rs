//! How one byte may be spelt in an answer, besides as it is: percent-encoded (RFC 3986), escaped as
//! JSON (RFC 8259) and JavaScript do it, or as a character reference of HTML. Each character of
//! such a spelling may be spelt itself, in the same way or another, as happens to text in text:
//! `%5C%2F`, `\\u0026quot;`, `%252F`.

/// The longest spelling of one byte that is read.
pub(super) const LONGEST: usize = 32;
/// Text in text in text.
const LEVELS: usize = 3;

/// Whether a byte may begin a spelling.
pub(super) fn begins(byte: u8) -> bool {
    matches!(byte, b'%' | b'&' | b'\\')
}

/// Whether a byte may begin a spelling where this one is next.
pub(super) fn may_begin(byte: u8, next: u8) -> bool {
    begins(next)
        || match byte {
            b'%' => next.is_ascii_hexdigit(),
            b'&' => next.is_ascii_alphanumeric() || next == b'#',
            b'\\' => next.is_ascii_punctuation() || matches!(next, b'n' | b'r' | b'u' | b'x'),
            _ => false,
        }
}

/// Whether a byte may stand in a spelling behind its first.
pub(super) fn continues(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b';') || begins(byte)
}

/// All that may be read at one place: what stands there, and what it spells at each level. Nothing
/// is chosen: `%252F` is `%`, `%2F` and `/`, and which of them was meant only the token tells.
#[derive(Default)]
pub(super) struct Readings {
    /// Bytes, and by how many bytes each is spelt.
    known: [(u8, u8); LEVELS + 1],
    length: usize,
    /// There may be more: the text ends in the middle of a spelling.
    pub(super) cut: bool,
}

impl Readings {
    /// What may be read at the start of `text`.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut readings = Self::default();
        for level in 0..=LEVELS {
            let mut characters = Characters { text, at: 0, level, cut: false };
            let byte = characters.next();
            readings.cut |= characters.cut;
            let Some(byte) = byte else { break };
            readings.add(byte, characters.at);
            if !begins(byte) {
                break;
            }
        }
        readings
    }

    /// Each byte, and by how many bytes it is spelt. The first is what stands there.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, usize)> + use<> {
        let known = self.known.into_iter().take(self.length);
        known.map(|(byte, length)| (byte, usize::from(length)))
    }

    fn add(&mut self, byte: u8, length: usize) {
        let reading = (byte, length as u8);
        if length <= LONGEST && !self.known[..self.length].contains(&reading) {
            self.known[self.length] = reading;
            self.length += 1;
        }
    }
}

/// A text as the characters that it spells at one level, of those that it spells a level below.
struct Characters<'a> {
    text: &'a [u8],
    at: usize,
    level: usize,
    /// The text ends too early for one of them, or perhaps does.
    cut: bool,
}

impl Characters<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at).or_else(|| {
            self.cut = true;
            None
        })?;
        if self.level == 0 || !begins(byte) {
            self.at += 1;
            return Some(byte);
        }
        let mut below = Characters { level: self.level - 1, ..*self };
        let byte = below.next()?;
        self.at = below.at;
        let spelt = match byte {
            b'%' => below.hex(2),
            b'&' => below.reference(),
            b'\\' => below.escape(),
            _ => None,
        };
        self.cut |= below.cut;
        if spelt.is_some() {
            self.at = below.at;
        }
        spelt.or(Some(byte))
    }

    /// `41` behind a percent sign, `0041` behind `\u`.
    fn hex(&mut self, digits: usize) -> Option<u8> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = char::from(self.next()?).to_digit(16)?;
            value = value * 16 + digit;
        }
        u8::try_from(value).ok()
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Option<u8> {
        match self.next()? {
            b'u' => self.hex(4),
            b'x' => self.hex(2),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            byte => byte.is_ascii_punctuation().then_some(byte),
        }
    }

    /// `#65;`, `#x41;` and `plus;` behind an ampersand.
    fn reference(&mut self) -> Option<u8> {
        let (mut name, mut length) = ([0; LONGEST_NAME], 0);
        loop {
            match self.next()? {
                b';' => break,
                byte if length < name.len() && (byte.is_ascii_alphanumeric() || byte == b'#') => {
                    name[length] = byte;
                    length += 1;
                }
                _ => return None,
            }
        }
        let number = |digits: &[u8], radix| {
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
        };
        match &name[..length] {
            [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
            [b'#', digits @ ..] => number(digits, 10),
            name => named(name),
        }
    }
}

/// `#0000043`.
const LONGEST_NAME: usize = 8;

/// Named references for visible ASCII (the HTML standard, section 13.5).
fn named(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"amp" => b'&',
        b"apos" => b'\'',
        b"ast" => b'*',
        b"bsol" => b'\\',
        b"colon" => b':',
        b"comma" => b',',
        b"commat" => b'@',
        b"dollar" => b'$',
        b"equals" => b'=',
        b"excl" => b'!',
        b"grave" => b'`',
        b"gt" => b'>',
        b"Hat" => b'^',
        b"lbrack" | b"lsqb" => b'[',
        b"lcub" => b'{',
        b"lowbar" => b'_',
        b"lpar" => b'(',
        b"lt" => b'<',
        b"num" => b'#',
        b"percnt" => b'%',
        b"period" => b'.',
        b"plus" => b'+',
        b"quest" => b'?',
        b"quot" => b'"',
        b"rbrack" | b"rsqb" => b']',
        b"rcub" => b'}',
        b"rpar" => b')',
        b"semi" => b';',
        b"sol" => b'/',
        b"verbar" | b"vert" => b'|',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str, byte: u8, length: usize) -> bool {
        Readings::of(text.as_bytes()).all().any(|reading| reading == (byte, length))
    }

    #[test]
    fn spellings() {
        for (text, byte, length) in [
            ("%41x", b'A', 3),
            ("%2b", b'+', 3),
            ("%252B", b'+', 5),
            ("%252B", b'%', 3),
            ("%252B", b'%', 1),
            ("%25252B", b'+', 7),
            ("%25252B", b'%', 5),
            ("%25zz", b'%', 3),
            ("%%34%31", b'A', 7),
            ("\\u002b1", b'+', 6),
            ("\\u002B", b'+', 6),
            ("\\\\u002B", b'+', 7),
            ("\\x41", b'A', 4),
            ("\\/", b'/', 2),
            ("\\\\/", b'/', 3),
            ("\\\\\\/", b'/', 4),
            ("\\\\\\\\\\\\\\/", b'/', 8),
            ("\\\\a", b'\\', 2),
            ("\\\\\\\\", b'\\', 4),
            ("\\\\\\\\\\\\\\\\", b'\\', 8),
            ("\\n", b'\n', 2),
            ("&#43;", b'+', 5),
            ("&#00043;", b'+', 8),
            ("&#x2B;", b'+', 6),
            ("&#X2b;", b'+', 6),
            ("&plus;", b'+', 6),
            ("&amp;plus;", b'+', 10),
            ("&amp;plus;", b'&', 5),
            ("&amp;amp;plus;", b'+', 14),
            ("&amp; x", b'&', 5),
            // One kind in another.
            ("%5C%2F", b'/', 6),
            ("%255C%252F", b'/', 10),
            ("\\u0026#43;", b'+', 10),
            ("\\&quot;", b'"', 7),
            ("%26plus%3B", b'+', 10),
            ("%5Cu002b", b'+', 8),
        ] {
            assert!(reads(text, byte, length), "{text}");
            for end in 1..length.min(text.len()) {
                let part = Readings::of(&text.as_bytes()[..end]);
                assert!(part.cut || part.all().any(|r| r == (byte, end)), "{text} up to {end}");
            }
            assert!(length <= LONGEST);
        }
        for text in [
            "%4g", "%zz", "\\u1234", "\\u00zz", "\\a", "&x;", "&#;", "&#300;", "&plus ", "&#+1;",
            "a",
        ] {
            let readings = Readings::of(text.as_bytes());
            assert!(!readings.cut && readings.all().count() == 1, "{text}");
        }
    }

    #[test]
    fn any_text_is_read_and_ends() {
        for text in ["\\", "%", "&", "%25", "&amp;", "\\\\&", "\\u0026", "%5c", "&#x"] {
            let text = text.repeat(200);
            for at in 0..text.len() {
                let readings = Readings::of(&text.as_bytes()[at..]);
                assert!(readings.all().all(|(_, length)| length <= LONGEST.min(text.len() - at)));
            }
        }
    }
}
