//! Hexadecimal, the one way in which digests are written, and read back.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).map(char::from).collect()
}

/// The two lower-case digits of one byte.
pub fn digits(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The byte of two lower-case digits; upper case is another spelling and refused.
pub fn byte(digits: [u8; 2]) -> Option<u8> {
    Some(nibble(digits[0])? << 4 | nibble(digits[1])?)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for all in 0..=255 {
            assert_eq!(byte(digits(all)), Some(all));
            assert_eq!(hex(&[all]), format!("{all:02x}"));
        }
        assert_eq!(byte(*b"0A"), None);
        assert_eq!(byte(*b"g0"), None);
    }
}
