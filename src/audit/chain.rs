//! The hash chain: what makes a changed, missing or reordered record visible.
//!
//! A line is `{…,"prev":"P","hash":"H"}` and a newline. H is SHA-256, in 64 lower-case hex digits,
//! over the line's bytes from `{` up to and excluding `,"hash":`; P is the H of the record before,
//! 64 zeros for the first. The chain is computed over bytes as they stand in the file, so that
//! checking it needs no JSON reader that agrees with ours about spelling.

use aws_lc_rs::digest;

use crate::model::hex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

/// What the first record names as its predecessor.
pub(crate) const GENESIS: Hash = Hash([0; 32]);

/// The end of a chain: what the next record continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Sequence number of the last record, 0 before the first.
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Link {
    pub(crate) const START: Self = Self { seq: 0, hash: GENESIS };
}

/// A line whose hash fits its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) hash: Hash,
}

impl Sealed {
    pub(crate) fn link(&self) -> Link {
        Link { seq: self.seq, hash: self.hash }
    }

    pub(crate) fn follows(&self, link: &Link) -> bool {
        self.prev == link.hash && link.seq.checked_add(1) == Some(self.seq)
    }
}

impl Hash {
    pub(crate) fn hex(&self) -> String {
        hex::hex(&self.0)
    }

    /// As [`Hash::hex`], without an allocation.
    fn digits(&self) -> [u8; 64] {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&hex::digits(byte));
        }
        text
    }

    /// The opposite of [`Hash::hex`]; upper case is another spelling and refused.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex::byte([pair[0], pair[1]])?;
        }
        Some(Self(bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(hash)
    }
}

/// Completes the record that starts at `start` of `lines` and still ends in `}`.
pub(crate) fn seal(lines: &mut Vec<u8>, start: usize, prev: &Hash) -> Hash {
    debug_assert_eq!(lines.last(), Some(&b'}'));
    lines.pop();
    lines.extend_from_slice(PREV);
    lines.extend_from_slice(&prev.digits());
    lines.push(b'"');
    let hash = Hash::of(&lines[start..]);
    lines.extend_from_slice(HASH);
    lines.extend_from_slice(&hash.digits());
    lines.extend_from_slice(b"\"}\n");
    hash
}

/// Reads a line without its newline. `None`: its hash does not fit its bytes, or it is no record.
pub(crate) fn unseal(line: &[u8]) -> Option<Sealed> {
    let (body, hash) = split_end(line.strip_suffix(b"\"}")?, HASH)?;
    if Hash::of(body) != hash {
        return None;
    }
    let (_, prev) = split_end(body.strip_suffix(b"\"")?, PREV)?;
    let digits = body.strip_prefix(FRONT)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    let seq = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    Some(Sealed { seq, prev, hash })
}

/// `…,"key":"<64 digits>` into what stands before the key, and the digits.
fn split_end<'a>(text: &'a [u8], key: &[u8]) -> Option<(&'a [u8], Hash)> {
    let (front, digits) = text.split_at_checked(text.len().checked_sub(64)?)?;
    Some((front.strip_suffix(key)?, Hash::parse(digits)?))
}

/// How every line begins, up to its number.
pub(super) const FRONT: &[u8] = b"{\"v\":1,\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b",\"hash\":\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seq: u64, prev: &Hash) -> (Vec<u8>, Hash) {
        let mut line = format!("{{\"v\":1,\"seq\":{seq},\"x\":\"y\"}}").into_bytes();
        let hash = seal(&mut line, 0, prev);
        (line, hash)
    }

    #[test]
    fn seals_and_unseals() {
        let (line, hash) = sealed(1, &GENESIS);
        let one = unseal(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(one, Sealed { seq: 1, prev: GENESIS, hash });
        assert!(one.follows(&Link::START));
        let (line, _) = sealed(2, &hash);
        assert!(unseal(&line[..line.len() - 1]).unwrap().follows(&one.link()));
    }

    #[test]
    fn every_flipped_bit_shows() {
        let (line, _) = sealed(7, &GENESIS);
        let line = &line[..line.len() - 1];
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut bad = line.to_vec();
                bad[at] ^= 1 << bit;
                assert_eq!(unseal(&bad), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn short_lines_are_no_records() {
        for line in ["", "{}", "\"}", ",\"hash\":\"\"}"] {
            assert_eq!(unseal(line.as_bytes()), None);
        }
    }
}
