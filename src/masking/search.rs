//! Where a text spells a form. Not every byte is looked at: a form is longer than what is looked
//! up, so one look at every so many bytes hits each occurrence, and only a hit is compared.

use std::collections::HashSet;
use std::ops::Range;

use zeroize::Zeroizing;

use super::breaks::{before_break, ends_line};
use super::filter::Filter;
use super::needle::{Comparison, Endings, Needle, Spelt};
use super::spelling::{self, LONGEST, Readings};

/// Bytes that are looked up at once, where the forms are long enough for it.
const WIDTH: usize = 6;
/// Bytes from one look to the next, at most: in a line of 50 characters of base64 one is whole.
const MAX_STRIDE: usize = 51 - WIDTH;
/// Upper and lower case are looked up as one: hexadecimal digits come in both.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// All forms of some tokens, made ready to be looked for.
pub(super) struct Search {
    needles: Vec<Needle>,
    width: usize,
    /// The bits of eight bytes that are looked up.
    mask: u64,
    stride: usize,
    /// Says of most bytes that no gram begins there.
    filter: Filter,
    /// Sorted; each with the form it is part of, and where in it, at the same index of `places`.
    grams: Zeroizing<Vec<u64>>,
    places: Vec<(u16, u16)>,
    /// Bytes that what is looked up begins with, as they are looked up.
    begun: [bool; 256],
    /// Bytes that a form begins with.
    first: [bool; 256],
    /// Bytes that stand anywhere in a form.
    known: [bool; 256],
    shortest: usize,
}

/// What is in a text.
#[derive(Debug)]
pub(super) struct Found {
    /// Forms that are whole or begun far enough, as ranges that may overlap.
    pub(super) whole: Vec<(usize, usize)>,
    /// From here on the text may be the beginning of one; its length if it is not.
    pub(super) open: usize,
    /// The text stands behind a line break.
    behind_break: bool,
    /// Which forms were followed, and from where.
    followed: HashSet<(u16, usize)>,
    endings: Endings,
}

/// What is looked up, read so far.
#[derive(PartialEq)]
struct Begun {
    /// How far it was read.
    at: usize,
    /// All that begin with what was read.
    known: Range<usize>,
}

impl Search {
    pub(super) fn new(mut needles: Vec<Needle>) -> Self {
        needles.retain(|needle| !needle.text.is_empty());
        let shortest = needles.iter().map(|n| n.enough).min().unwrap_or(usize::MAX);
        let width = (shortest / 2).clamp(1, WIDTH);
        let stride = needles.iter().map(|needle| stride(needle, width)).min().unwrap_or(1);
        let mut search = Self {
            width,
            mask: u64::MAX << (64 - 8 * width),
            stride,
            filter: Filter::new(),
            grams: Zeroizing::new(Vec::new()),
            places: Vec::new(),
            begun: [false; 256],
            first: [false; 256],
            known: [false; 256],
            shortest,
            needles,
        };
        search.index();
        search
    }

    pub(super) fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Bytes of what is masked, at least.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    fn index(&mut self) {
        let mut all: Vec<(u64, u16, u16)> = Vec::new();
        for (at, needle) in self.needles.iter().enumerate() {
            let text = &*needle.text;
            for byte in 0..=u8::MAX {
                self.first[usize::from(byte)] |= needle.begins_with(byte);
                self.known[usize::from(byte)] |= needle.has(byte);
            }
            // Base64 may have a line break before the place that is looked at.
            let lines = needle.kind == Comparison::Base64;
            let most = if lines { 2 * self.stride + self.width } else { self.stride };
            let url: Vec<u8> = text.iter().map(|byte| other_alphabet(*byte)).collect();
            for text in [text, &url].into_iter().take(if lines { 2 } else { 1 }) {
                for (offset, gram) in text.windows(self.width).take(most).enumerate() {
                    // A token has a bound, and so have its forms.
                    all.push((self.gram(gram), at as u16, offset as u16));
                }
            }
        }
        all.sort_unstable();
        all.dedup();
        for (gram, needle, offset) in &all {
            self.begun[usize::from(self.nth(*gram, 0))] = true;
            self.filter.note(*gram);
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
        self.folded(padded)
    }

    /// The first of them in the highest bits, so that those that begin alike stand together.
    fn folded(&self, bytes: [u8; 8]) -> u64 {
        (u64::from_be_bytes(bytes) | FOLD) & self.mask
    }

    fn nth(&self, gram: u64, at: usize) -> u8 {
        (gram >> (56 - 8 * at)) as u8
    }

    /// Looks through a text that goes on behind its end. `behind_break`: what was before it ended
    /// in a line break.
    pub(super) fn through(&self, text: &[u8], behind_break: bool) -> Found {
        let mut found = self.look(text, behind_break);
        self.open_at_end(text, &mut found);
        found.open = before_break(text, found.open);
        found
    }

    /// Looks through a text that is all; `open` says nothing.
    pub(super) fn whole(&self, text: &[u8]) -> Found {
        self.look(text, false)
    }

    fn look(&self, text: &[u8], behind_break: bool) -> Found {
        let (followed, endings) = (HashSet::new(), Endings::default());
        let mut found =
            Found { whole: Vec::new(), open: text.len(), behind_break, followed, endings };
        if self.needles.is_empty() {
            return found;
        }
        let mut at = 0;
        while let Some(bytes) = text[at.min(text.len())..].first_chunk() {
            let gram = self.folded(*bytes);
            if self.filter.may_hold(gram) {
                self.compare(gram, text, at, &mut found);
            }
            at += self.stride;
        }
        while at + self.width <= text.len() {
            let gram = self.gram(&text[at..]);
            if self.filter.may_hold(gram) {
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
            if !self.spells_some(&text[begin..]) {
                from = begin + 1;
                continue;
            }
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

    /// Whether a text begins with a byte of a form that is spelt otherwise: nothing else makes a
    /// difference.
    fn spells_some(&self, text: &[u8]) -> bool {
        let known = |byte: u8| self.known[usize::from(byte)];
        match *text {
            // Nearly all there is in JSON in JSON.
            [b'\\', byte, ..] if byte.is_ascii_punctuation() && !spelling::begins(byte) => {
                known(byte)
            }
            [begin, byte, ..] if spelling::may_begin(begin, byte) => {
                Readings::of(text).all().any(|(byte, length)| length > 1 && known(byte))
            }
            _ => false,
        }
    }

    fn compare(&self, gram: u64, text: &[u8], at: usize, found: &mut Found) {
        let first = self.grams.partition_point(|known| *known < gram);
        let known = self.grams[first..].iter().take_while(|known| **known == gram).count();
        self.prove(first..first + known, text, at, found);
    }

    /// Looks whether what is known there is part of a form here.
    fn prove(&self, known: Range<usize>, text: &[u8], at: usize, found: &mut Found) {
        for (number, offset) in &self.places[known] {
            let (needle, offset) = (&self.needles[usize::from(*number)], usize::from(*offset));
            let Some(start) =
                needle.backward(offset, &text[..at], &mut found.endings, found.behind_break)
            else {
                continue;
            };
            // Several looks hit one occurrence, and where marks stand in a row very many.
            if !found.followed.insert((*number, start)) {
                continue;
            }
            let (mut reach, begun) = needle.follow(0, text, start);
            if reach == Spelt::No && needle.kind == Comparison::Base64 {
                // Its first characters may stand before a line break, and are given up.
                reach = needle.forward(offset, text, at);
            }
            let whole = reach.end().or(begun);
            found.whole.extend(whole.map(|end| (start, end)));
            if reach.is_open() {
                found.open = found.open.min(start);
            }
        }
    }

    /// As [`Self::whole`] at one place, but of all that may be read there.
    fn look_closer(&self, text: &[u8], at: usize, found: &mut Found) {
        for start in (at.saturating_sub(LONGEST)..=at).rev() {
            if start < at && !spelling::begins(text[start]) {
                // Nothing before this reaches as far as `at`.
                if spelling::continues(text[start]) { continue } else { break }
            }
            let spans = |(_, length): &(u8, usize)| start == at || start + length > at;
            self.read_on(text, start, spans, found);
        }
    }

    /// Reads as much as is looked up from `start` on, in every way in which it is known; its first
    /// byte in those that are allowed.
    fn read_on(
        &self,
        text: &[u8],
        start: usize,
        allowed: impl Fn(&(u8, usize)) -> bool,
        found: &mut Found,
    ) {
        let mut ways = Vec::new();
        for reading in Readings::of(&text[start..]).all().filter(allowed) {
            if self.begun[usize::from(reading.0 | FOLD as u8)] {
                self.read_one(
                    &Begun { at: start, known: 0..self.grams.len() },
                    0,
                    reading,
                    &mut ways,
                );
            }
        }
        for length in 1..self.width {
            for begun in std::mem::take(&mut ways) {
                for reading in Readings::of(text.get(begun.at..).unwrap_or_default()).all() {
                    self.read_one(&begun, length, reading, &mut ways);
                }
            }
        }
        // As it stands there it was looked up already. How far each was read makes no difference.
        ways.retain(|begun| begun.at > start + self.width);
        ways.sort_unstable_by_key(|begun| begun.known.start);
        ways.dedup_by_key(|begun| begun.known.start);
        for begun in ways {
            self.prove(begun.known, text, start, found);
        }
    }

    /// One byte more, if it is known there.
    fn read_one(&self, begun: &Begun, length: usize, reading: (u8, usize), ways: &mut Vec<Begun>) {
        let byte = reading.0 | FOLD as u8;
        let known = &self.grams[begun.known.clone()];
        let nth = |gram: &u64| self.nth(*gram, length);
        let first = begun.known.start + known.partition_point(|gram| nth(gram) < byte);
        let last = begun.known.start + known.partition_point(|gram| nth(gram) <= byte);
        let begun = Begun { at: begun.at + reading.1, known: first..last };
        if !begun.known.is_empty() && !ways.contains(&begun) {
            ways.push(begun);
        }
    }

    /// Beginnings too short to have been looked up.
    fn open_at_end(&self, text: &[u8], found: &mut Found) {
        let plain = 2 * (self.stride + self.width) + 8;
        let far = text.len().saturating_sub(plain + self.width * LONGEST);
        let near = text.len().saturating_sub(plain);
        let spells = memchr::memchr3_iter(b'%', b'&', b'\\', &text[far..])
            .any(|at| self.spells_at_end(&text[far + at..]));
        let from = if spells { far } else { near };
        for at in from..found.open {
            let line = match at.checked_sub(1) {
                None => found.behind_break,
                Some(_) if spells => ends_line(&text[..at]),
                Some(before) => matches!(text[before], b'\n' | b'\r'),
            };
            let spelt = spells && spelling::begins(text[at]) && self.spells_first(&text[at..]);
            if !spelt && !line && !self.first[usize::from(text[at])] {
                continue;
            }
            for needle in &self.needles {
                let first = spelt || needle.begins_with(text[at]);
                let open = (first && needle.forward(0, text, at).is_open())
                    || (line && needle.goes_on(text, at));
                if open {
                    found.open = at;
                    return;
                }
            }
        }
    }

    /// As [`Self::spells_some`], where what is not whole counts, and line breaks do.
    fn spells_at_end(&self, text: &[u8]) -> bool {
        let readings = Readings::of(text);
        let breaks = |byte| matches!(byte, b'\n' | b'\r');
        let known = |byte: u8| self.known[usize::from(byte)] || breaks(byte);
        readings.cut || readings.all().any(|(byte, length)| length > 1 && known(byte))
    }

    /// Whether a text begins with a byte, however spelt, that a form begins with, or may.
    fn spells_first(&self, text: &[u8]) -> bool {
        let readings = Readings::of(text);
        readings.cut || readings.all().any(|(byte, _)| self.first[usize::from(byte)])
    }
}

/// So many bytes from one look to the next hit this form wherever it begins: the look must be whole
/// in what is enough of it, and for base64 in what is left of that on one of two lines.
fn stride(needle: &Needle, width: usize) -> usize {
    let whole = |length: usize| (length + 1).saturating_sub(width);
    let in_lines = |length: usize| (length + 3).saturating_sub(2 * width) / 2;
    let most = match needle.kind {
        Comparison::Base64 if needle.over_lines() => in_lines(needle.enough),
        Comparison::Base64 => in_lines(needle.text.len()).min(whole(needle.enough)),
        Comparison::Exact | Comparison::Hex => whole(needle.enough),
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
