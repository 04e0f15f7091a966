//! What stands behind coded content to tell whether it came right: CRC-32 with a length (RFC 1952),
//! Adler-32 (RFC 1950), the low half of XXH64 (RFC 8878).

use flate2::Crc;

pub(super) enum Checksum {
    Adler {
        a: u32,
        b: u32,
    },
    Crc(Crc),
    /// There is none.
    Nothing,
    Xxh64(Box<Xxh64>),
}

/// Adler-32 may add up so many bytes before it must take the rest.
const ADLER_RUN: usize = 5552;
const ADLER_BASE: u32 = 65_521;

impl Checksum {
    pub(super) fn adler() -> Self {
        Self::Adler { a: 1, b: 0 }
    }

    pub(super) fn crc() -> Self {
        Self::Crc(Crc::new())
    }

    pub(super) fn xxh64() -> Self {
        Self::Xxh64(Box::new(Xxh64::new()))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Adler { a, b } => {
                for run in bytes.chunks(ADLER_RUN) {
                    for byte in run {
                        *a += u32::from(*byte);
                        *b += *a;
                    }
                    *a %= ADLER_BASE;
                    *b %= ADLER_BASE;
                }
            }
            Self::Crc(crc) => crc.update(bytes),
            Self::Nothing => {}
            Self::Xxh64(hash) => hash.update(bytes),
        }
    }

    /// As it stands behind the content.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Adler { a, b } => (b << 16 | a).to_be_bytes().to_vec(),
            Self::Crc(crc) => [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat(),
            Self::Nothing => Vec::new(),
            Self::Xxh64(hash) => hash.digest().to_le_bytes()[..4].to_vec(),
        }
    }
}

/// XXH64 without a seed.
pub(super) struct Xxh64 {
    lanes: [u64; 4],
    /// Less than a stripe.
    rest: Vec<u8>,
    length: u64,
}

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];
const STRIPE: usize = 32;

impl Xxh64 {
    fn new() -> Self {
        let [one, two, ..] = PRIMES;
        let lanes = [one.wrapping_add(two), two, 0, 0_u64.wrapping_sub(one)];
        Self { lanes, rest: Vec::with_capacity(2 * STRIPE), length: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let (first, after) = bytes.split_at(bytes.len().min(STRIPE - self.rest.len()));
            self.rest.extend_from_slice(first);
            bytes = after;
            if let Ok(stripe) = <[u8; STRIPE]>::try_from(&self.rest[..]) {
                self.stripe(&stripe);
                self.rest.clear();
            }
        }
        while let Some((stripe, after)) = bytes.split_first_chunk::<STRIPE>() {
            self.stripe(stripe);
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
    }

    fn stripe(&mut self, stripe: &[u8; STRIPE]) {
        for (lane, word) in self.lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }

    fn digest(&self) -> u64 {
        let [one, two, three, four, five] = PRIMES;
        let mut hash = if self.length < STRIPE as u64 {
            five
        } else {
            let [a, b, c, d] = self.lanes;
            let turned = [a.rotate_left(1), b.rotate_left(7), c.rotate_left(12), d.rotate_left(18)];
            let sum = turned.iter().fold(0, |sum: u64, lane| sum.wrapping_add(*lane));
            self.lanes.iter().fold(sum, |hash, lane| {
                (hash ^ round(0, *lane)).wrapping_mul(one).wrapping_add(four)
            })
        };
        hash = hash.wrapping_add(self.length);
        let (words, mut rest) = self.rest.as_chunks::<8>();
        for word in words {
            hash ^= round(0, u64::from_le_bytes(*word));
            hash = hash.rotate_left(27).wrapping_mul(one).wrapping_add(four);
        }
        if let Some((half, after)) = rest.split_first_chunk::<4>() {
            hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(one);
            hash = hash.rotate_left(23).wrapping_mul(two).wrapping_add(three);
            rest = after;
        }
        for byte in rest {
            hash ^= u64::from(*byte).wrapping_mul(five);
            hash = hash.rotate_left(11).wrapping_mul(one);
        }
        hash = (hash ^ hash >> 33).wrapping_mul(two);
        hash = (hash ^ hash >> 29).wrapping_mul(three);
        hash ^ hash >> 32
    }
}

fn round(lane: u64, word: u64) -> u64 {
    let [one, two, ..] = PRIMES;
    lane.wrapping_add(word.wrapping_mul(two)).rotate_left(31).wrapping_mul(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the algorithms' own documents; `a` to `z` over and over for the long one.
    #[test]
    fn sums_are_those_of_others() {
        let hash = |text: &[u8]| {
            let mut hash = Xxh64::new();
            text.chunks(7).for_each(|piece| hash.update(piece));
            hash.digest()
        };
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(hash(b"abc"), 0x44bc_2cf5_ad77_0999);
        let text = b"Nobody inspects the spammish repetition";
        assert_eq!(hash(text), 0xfbce_a83c_8a37_8bf1);
        let mut adler = Checksum::adler();
        adler.update(b"Wikipedia");
        assert_eq!(adler.bytes(), 0x11e6_0398_u32.to_be_bytes());
        let mut adler = Checksum::adler();
        vec![0xff; 100_000].chunks(30_000).for_each(|piece| adler.update(piece));
        let (a, b) = (0..100_000_u64).fold((1, 0), |(a, b), _| {
            let a = (a + 255) % 65_521;
            (a, (a + b) % 65_521)
        });
        assert_eq!(adler.bytes(), ((b << 16 | a) as u32).to_be_bytes());
    }
}
