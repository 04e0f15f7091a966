//! Where a text spells a form. Not every byte is looked at: a form is longer than what is looked up, so
//! one look at every so many bytes hits each occurrence, and only a hit is compared.

use zeroize::Zeroizing;

use super::needle::{Kind, Needle, Reach};
use super::spelling::{self, LONGEST, Spelt};

/// Bytes that are looked up at once, where the forms are long enough for it.
const WIDTH: usize = 6;
/// Bytes from one look to the next, at most: short of a line of base64 less one look.
const MAX_STRIDE: usize = 48;
/// Upper and lower case are looked up as one: hexadecimal digits come in both.
const FOLD: u64 = 0x2020_2020_2020_2020;
/// One bit for each possible hash of what is looked up.
const HASH_BITS: u32 = 14;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// All forms of some tokens, made ready to be looked for.
pub(super) struct Search {
    needles: Vec<Needle>,
    width: usize,
    mask: u64,
    stride: usize,
    bits: Zeroizing<Vec<u64>>,
    /// Sorted; each with the form it is part of, and where in it, at the same index of `places`.
    grams: Zeroizing<Vec<u64>>,
    places: Vec<(u16, u16)>,
    /// Bytes that are in a form.
    used: [bool; 256],
    /// Bytes that may begin one.
    first: [bool; 256],
    /// A form has bytes that may begin a spelling.
    tricky: bool,
    shortest: usize,
}

/// What is in a text.
#[derive(Debug)]
pub(super) struct Found {
    /// Whole forms, as ranges that may overlap.
    pub(super) whole: Vec<(usize, usize)>,
    /// From here on the text may be the beginning of one; its length if it is not.
    pub(super) open: usize,
    /// The text stands behind a line break.
    behind_break: bool,
}

impl Search {
    pub(super) fn new(mut needles: Vec<Needle>) -> Self {
        needles.retain(|needle| !needle.text.is_empty());
        let shortest = needles.iter().map(|n| n.text.len()).min().unwrap_or(usize::MAX);
        let width = (shortest / 2).clamp(1, WIDTH);
        let stride = needles.iter().map(|needle| stride(needle, width)).min().unwrap_or(1);
        let mut search = Self {
            width,
            mask: u64::MAX >> (64 - 8 * width),
            stride,
            bits: Zeroizing::new(vec![0; 1 << (HASH_BITS - 6)]),
            grams: Zeroizing::new(Vec::new()),
            places: Vec::new(),
            used: [false; 256],
            first: [false; 256],
            tricky: false,
            shortest,
            needles,
        };
        search.index();
        search
    }

    pub(super) fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Of the shortest form.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    fn index(&mut self) {
        let mut all: Vec<(u64, u16, u16)> = Vec::new();
        for (at, needle) in self.needles.iter().enumerate() {
            let text = &*needle.text;
            for byte in 0..=u8::MAX {
                self.first[usize::from(byte)] |= spelling::begins(byte) || needle.begins_with(byte);
            }
            self.tricky |= text.iter().any(|byte| spelling::begins(*byte));
            // Base64 may have a line break before the place that is looked at.
            let lines = needle.kind == Kind::Base64;
            let most = if lines { 2 * self.stride + self.width } else { self.stride };
            let url: Vec<u8> = text.iter().map(|byte| other_alphabet(*byte)).collect();
            for text in [text, &url].into_iter().take(if lines { 2 } else { 1 }) {
                for byte in text {
                    self.used[usize::from(byte.to_ascii_lowercase())] = true;
                    self.used[usize::from(byte.to_ascii_uppercase())] = true;
                }
                for (offset, gram) in text.windows(self.width).take(most).enumerate() {
                    // A token has a bound, and so have its forms.
                    all.push((self.gram(gram), at as u16, offset as u16));
                }
            }
        }
        all.sort_unstable();
        all.dedup();
        for (gram, needle, offset) in &all {
            let hash = hash(*gram);
            self.bits[hash / 64] |= 1 << (hash % 64);
            self.grams.push(*gram);
            self.places.push((*needle, *offset));
        }
        all.fill((0, 0, 0));
    }

    /// Up to eight bytes as they are looked up.
    fn gram(&self, bytes: &[u8]) -> u64 {
        let mut padded = [0; 8];
        let length = bytes.len().min(8);
        padded[..length].copy_from_slice(&bytes[..length]);
        (u64::from_le_bytes(padded) | FOLD) & self.mask
    }

    fn may_hold(&self, gram: u64) -> bool {
        let hash = hash(gram);
        self.bits[hash / 64] >> (hash % 64) & 1 == 1
    }

    /// Looks through a text that goes on behind its end. `behind_break`: what was before it ended in a line break.
    pub(super) fn through(&self, text: &[u8], behind_break: bool) -> Found {
        let mut found = self.look(text, behind_break);
        self.open_at_end(text, &mut found);
        found
    }

    /// Looks through a text that is all; `open` says nothing.
    pub(super) fn whole(&self, text: &[u8]) -> Found {
        self.look(text, false)
    }

    fn look(&self, text: &[u8], behind_break: bool) -> Found {
        let mut found = Found { whole: Vec::new(), open: text.len(), behind_break };
        if self.needles.is_empty() {
            return found;
        }
        let mut at = 0;
        while let Some(bytes) = text[at.min(text.len())..].first_chunk() {
            let gram = (u64::from_le_bytes(*bytes) | FOLD) & self.mask;
            if self.may_hold(gram) {
                self.compare(gram, text, at, &mut found);
            }
            at += self.stride;
        }
        while at + self.width <= text.len() {
            let gram = self.gram(&text[at..]);
            if self.may_hold(gram) {
                self.compare(gram, text, at, &mut found);
            }
            at += self.stride;
        }
        self.where_spelt(text, &mut found);
        found
    }

    /// Looks closer at the places that a byte spelt otherwise may reach.
    fn where_spelt(&self, text: &[u8], found: &mut Found) {
        let (mut at, mut from) = (0, 0);
        while let Some(begin) = memchr::memchr3(b'%', b'&', b'\\', &text[from..]) {
            let begin = from + begin;
            let first = (begin + 1).saturating_sub(self.width).next_multiple_of(self.stride);
            at = first.max(at);
            while at <= begin + LONGEST && at < text.len() {
                self.look_closer(text, at, found);
                at += self.stride;
            }
            // What begins before this reaches no place that was not looked at.
            from = (begin + 1).max(at.saturating_sub(LONGEST)).min(text.len());
        }
    }

    fn compare(&self, gram: u64, text: &[u8], at: usize, found: &mut Found) {
        let first = self.grams.partition_point(|known| *known < gram);
        let known = self.grams[first..].iter().take_while(|known| **known == gram).count();
        for (needle, offset) in &self.places[first..first + known] {
            let (needle, offset) = (&self.needles[usize::from(*needle)], usize::from(*offset));
            let Some(start) = needle.backward(offset, text, at, found.behind_break) else {
                continue;
            };
            match needle.forward(offset, text, at) {
                Reach::Whole(end) => found.whole.push((start, end)),
                Reach::Open => found.open = found.open.min(start),
                Reach::No => {}
            }
        }
    }

    /// As [`Self::whole`] at one place, but of the bytes that the text spells there.
    fn look_closer(&self, text: &[u8], at: usize, found: &mut Found) {
        let all: &[&[u8]] = if self.tricky { &[b"%&\\", b"%", b"&", b"\\"] } else { &[b"%&\\"] };
        for start in (at.saturating_sub(LONGEST)..=at).rev() {
            if start < at {
                if !spelling::begins(text[start]) {
                    // Nothing before this reaches as far as `at`.
                    if spelling::continues(text[start]) { continue } else { break }
                }
                match spelling::spelt(&text[start..]) {
                    Spelt::Byte(_, length) if start + length > at => {}
                    Spelt::Byte(..) | Spelt::Cut | Spelt::Plain => continue,
                }
            }
            for kinds in all {
                if let Some(gram) = self.spelt_gram(text, start, kinds)
                    && self.may_hold(gram)
                {
                    self.compare(gram, text, start, found);
                }
            }
        }
    }

    /// What the text spells from `at` on, if all of it is in some form.
    fn spelt_gram(&self, text: &[u8], mut at: usize, kinds: &[u8]) -> Option<u64> {
        let mut bytes = [0; 8];
        let mut otherwise = false;
        for byte in bytes.iter_mut().take(self.width) {
            let plain = *text.get(at)?;
            let (spelt, length) = match kinds.contains(&plain).then(|| spelling::spelt(&text[at..]))
            {
                Some(Spelt::Byte(byte, length)) => (byte, length),
                Some(Spelt::Cut) => return None,
                Some(Spelt::Plain) | None => (plain, 1),
            };
            if !self.used[usize::from(spelt)] {
                return None;
            }
            otherwise |= length > 1;
            at += length;
            *byte = spelt;
        }
        // As it stands there it was looked up already.
        otherwise.then(|| self.gram(&bytes[..self.width]))
    }

    /// Beginnings too short to have been looked up.
    fn open_at_end(&self, text: &[u8], found: &mut Found) {
        let plain = 2 * (self.stride + self.width) + 8;
        let far = text.len().saturating_sub(plain + self.width * LONGEST);
        let near = text.len().saturating_sub(plain);
        let spells = memchr::memchr3(b'%', b'&', b'\\', &text[far..]).is_some();
        let from = if spells { far } else { near };
        for at in from..found.open {
            let line = match at.checked_sub(1) {
                None => found.behind_break,
                Some(_) if spells => ends_line(&text[..at]),
                Some(before) => matches!(text[before], b'\n' | b'\r'),
            };
            if !self.first[usize::from(text[at])] && !line {
                continue;
            }
            for needle in &self.needles {
                let first = needle.begins_with(text[at]) || spelling::begins(text[at]);
                let open = (first && needle.forward(0, text, at) == Reach::Open)
                    || (line && needle.goes_on(text, at));
                if open {
                    found.open = at;
                    return;
                }
            }
        }
    }
}

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

fn spells_line(text: &[u8]) -> bool {
    memchr::memchr3_iter(b'%', b'&', b'\\', text).any(|at| {
        let spelt = spelling::spelt(&text[at..]);
        matches!(spelt, Spelt::Byte(b'\n' | b'\r', length) if at + length == text.len())
    })
}

fn hash(gram: u64) -> usize {
    (gram.wrapping_mul(MULTIPLIER) >> (64 - HASH_BITS)) as usize
}

/// So many bytes from one look to the next hit this form wherever it begins: the look must be whole in it,
/// and for base64 in what is left of it on one of two lines.
fn stride(needle: &Needle, width: usize) -> usize {
    let length = needle.text.len();
    let most = match needle.kind {
        Kind::Base64 => (length + 3).saturating_sub(2 * width) / 2,
        Kind::Exact | Kind::Hex => (length + 1).saturating_sub(width),
    };
    most.clamp(1, MAX_STRIDE)
}

fn other_alphabet(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        byte => byte,
    }
}
