//! How one byte may be spelt in an answer, besides as it is: percent-encoded (RFC 3986), escaped as JSON
//! (RFC 8259) and JavaScript do it, or as a character reference of HTML; each also twice over, as happens
//! to text in text.

/// The longest spelling of one byte that is read.
pub(super) const LONGEST: usize = 20;
/// How often a spelling may itself be spelt anew.
const LEVELS: usize = 3;
/// Backslashes in a row: three levels of JSON in JSON.
const BACKSLASHES: usize = 7;

/// What a place in a text spells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelt {
    /// A byte, by so many bytes.
    Byte(u8, usize),
    /// Perhaps something: the text ends too early.
    Cut,
    /// Nothing but the byte that stands there.
    Plain,
}

/// Whether a byte may begin a spelling.
pub(super) fn begins(byte: u8) -> bool {
    matches!(byte, b'%' | b'&' | b'\\')
}

/// Whether a byte may stand in a spelling behind its first.
pub(super) fn continues(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b';' | b'\\')
}

/// What is spelt at the start of `text`.
pub(super) fn spelt(text: &[u8]) -> Spelt {
    match text.first() {
        Some(b'%') => percent(text),
        Some(b'&') => reference(text),
        Some(b'\\') => escape(text),
        _ => Spelt::Plain,
    }
}

/// `%41`, and `%2541`.
fn percent(text: &[u8]) -> Spelt {
    let mut at = 1;
    for _ in 0..LEVELS {
        let encoded = text[at..].starts_with(b"25");
        if !encoded || !text[at + 2..].iter().take(2).all(u8::is_ascii_hexdigit) {
            break;
        }
        if text.len() < at + 4 {
            // `%25` may be all.
            return Spelt::Cut;
        }
        at += 2;
    }
    match hex(&text[at..], 2) {
        Digits::All(value) => Spelt::Byte(value as u8, at + 2),
        Digits::Cut => Spelt::Cut,
        Digits::None => Spelt::Plain,
    }
}

/// `\u0041`, `\x41`, `\/`, `\n`, and `\\u0041`.
fn escape(text: &[u8]) -> Spelt {
    let run = text.iter().take(BACKSLASHES + 1).take_while(|b| **b == b'\\').count();
    if run > BACKSLASHES {
        return Spelt::Byte(b'\\', 2);
    }
    let digits = |length: usize| match hex(&text[run + 1..], length) {
        Digits::All(value) if value < 0x80 => Spelt::Byte(value as u8, run + 1 + length),
        Digits::Cut => Spelt::Cut,
        Digits::All(_) | Digits::None => Spelt::Plain,
    };
    match text.get(run) {
        None => Spelt::Cut,
        Some(b'u') => digits(4),
        Some(b'x') => digits(2),
        Some(b'n') => Spelt::Byte(b'\n', run + 1),
        Some(b'r') => Spelt::Byte(b'\r', run + 1),
        Some(byte) if byte.is_ascii_punctuation() => Spelt::Byte(*byte, run + 1),
        Some(_) if run > 1 => Spelt::Byte(b'\\', 2),
        Some(_) => Spelt::Plain,
    }
}

/// `&#65;`, `&#x41;`, `&plus;`, and `&amp;plus;`.
fn reference(text: &[u8]) -> Spelt {
    let mut at = 1;
    for _ in 0..LEVELS {
        match inner_reference(&text[at..]) {
            Spelt::Byte(b'&', length) => {
                // What follows may be one as well; if not, this was the byte itself.
                let next = at + length;
                match inner_reference(&text[next..]) {
                    Spelt::Plain => return Spelt::Byte(b'&', next),
                    Spelt::Cut => return Spelt::Cut,
                    Spelt::Byte(..) => at = next,
                }
            }
            Spelt::Byte(byte, length) => return Spelt::Byte(byte, at + length),
            other => return other,
        }
    }
    Spelt::Plain
}

/// What stands after `&`.
fn inner_reference(text: &[u8]) -> Spelt {
    let number = |from: usize, radix: u32, most: usize| {
        let digits = &text[from.min(text.len())..];
        let length =
            digits.iter().take(most).take_while(|b| char::from(**b).is_digit(radix)).count();
        match digits.get(length) {
            None => Spelt::Cut,
            Some(b';') if length > 0 => {
                let value = digits[..length].iter().fold(0, |value, digit| {
                    value * radix + char::from(*digit).to_digit(radix).unwrap_or_default()
                });
                match u8::try_from(value) {
                    Ok(byte) => Spelt::Byte(byte, from + length + 1),
                    Err(_) => Spelt::Plain,
                }
            }
            Some(_) => Spelt::Plain,
        }
    };
    match text {
        [] | [b'#'] => Spelt::Cut,
        [b'#', b'x' | b'X', ..] => number(2, 16, 4),
        [b'#', ..] => number(1, 10, 5),
        _ => match text.iter().take(LONGEST_NAME).position(|byte| *byte == b';') {
            Some(end) => match named(&text[..end]) {
                Some(byte) => Spelt::Byte(byte, end + 1),
                None => Spelt::Plain,
            },
            None if text.len() < LONGEST_NAME && text.iter().all(u8::is_ascii_alphabetic) => {
                Spelt::Cut
            }
            None => Spelt::Plain,
        },
    }
}

enum Digits {
    All(u32),
    Cut,
    None,
}

fn hex(text: &[u8], length: usize) -> Digits {
    let mut value = 0;
    for at in 0..length {
        match text.get(at) {
            None => return Digits::Cut,
            Some(digit) => match char::from(*digit).to_digit(16) {
                Some(digit) => value = value * 16 + digit,
                None => return Digits::None,
            },
        }
    }
    Digits::All(value)
}

/// With its `;`.
const LONGEST_NAME: usize = 7;

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

    #[test]
    fn spellings() {
        for (text, byte, length) in [
            ("%41x", b'A', 3),
            ("%2b", b'+', 3),
            ("%252B", b'+', 5),
            ("%25252B", b'+', 7),
            ("%25zz", b'%', 3),
            ("\\u002b1", b'+', 6),
            ("\\u002B", b'+', 6),
            ("\\\\u002B", b'+', 7),
            ("\\x41", b'A', 4),
            ("\\/", b'/', 2),
            ("\\\\/", b'/', 3),
            ("\\\\a", b'\\', 2),
            ("\\n", b'\n', 2),
            ("&#43;", b'+', 5),
            ("&#00043;", b'+', 8),
            ("&#x2B;", b'+', 6),
            ("&#X2b;", b'+', 6),
            ("&plus;", b'+', 6),
            ("&amp;plus;", b'+', 10),
            ("&amp;amp;plus;", b'+', 14),
            ("&amp; x", b'&', 5),
            ("&amp;", b'&', 5),
        ] {
            let found = spelt(text.as_bytes());
            match (text, found) {
                // The end of the text may be in the middle of one.
                ("&amp;", Spelt::Cut) => {}
                _ => assert_eq!(found, Spelt::Byte(byte, length), "{text}"),
            }
            for end in 1..length.min(text.len()) {
                let part = &text.as_bytes()[..end];
                assert!(
                    matches!(spelt(part), Spelt::Cut | Spelt::Byte(..)),
                    "{text} up to {end}: {:?}",
                    spelt(part)
                );
            }
            assert!(length <= LONGEST);
        }
        for text in
            ["%4g", "%zz", "\\u1234", "\\u00zz", "\\a", "&x;", "&#;", "&#300;", "&plus ", "a"]
        {
            assert_eq!(spelt(text.as_bytes()), Spelt::Plain, "{text}");
        }
    }
}
