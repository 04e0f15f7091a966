//! A first look at bytes: whether they may be among some that were noted. Never a wrong no, and a
//! wrong yes of a few in a thousand: a Bloom filter of two bits in one word.

use zeroize::Zeroizing;

/// For some hundred that are noted.
const WORDS: usize = 1 << WORD_BITS;
const WORD_BITS: u32 = 9;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) struct Filter(Box<Zeroizing<[u64; WORDS]>>);

impl Filter {
    pub(super) fn new() -> Self {
        Self(Box::new(Zeroizing::new([0; WORDS])))
    }

    pub(super) fn note(&mut self, bytes: u64) {
        let (word, bits) = place(bytes);
        for bit in bits {
            self.0[word] |= 1 << bit;
        }
    }

    pub(super) fn may_hold(&self, bytes: u64) -> bool {
        let (word, [first, second]) = place(bytes);
        let word = self.0[word];
        word >> first & 1 == 1 && word >> second & 1 == 1
    }
}

/// Its word, and its bits there. The high bits of a product depend on all that was multiplied.
fn place(bytes: u64) -> (usize, [u64; 2]) {
    let hash = bytes.wrapping_mul(MULTIPLIER);
    let bit = |up: u32| hash >> (64 - WORD_BITS - up) & 63;
    ((hash >> (64 - WORD_BITS)) as usize, [bit(6), bit(12)])
}
