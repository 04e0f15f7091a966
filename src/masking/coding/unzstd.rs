//! zstd (RFC 8878), frame by frame and block by block: the library decodes as much as it is given,
//! so that it is given no more than one block.

use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::checksum::Checksum;
use super::{DECODED_PIECE, Decode, DecodeError, MEMBER};

/// The largest window of a content coding (RFC 9659).
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
const MAX_BLOCK: usize = 128 * 1024;
const MAGIC: u32 = 0xfd2f_b528;
/// Frames to be skipped have sixteen magic numbers from here on.
const SKIPPED: u32 = 0x184d_2a50;
/// Other versions of the format have magic numbers with these last bytes, and some clients read them.
const VERSIONS: [u8; 3] = [0xb5, 0x2f, 0xfd];
const CHECKSUM: usize = 4;
/// A block or a frame that is skipped costs less than a frame with its tables.
const BLOCK: u64 = MEMBER / 16;

pub(super) struct Unzstd {
    decoder: FrameDecoder,
    state: ZstdState,
    pending: Vec<u8>,
    checksum: Checksum,
    /// Of the frame that is being read.
    window: u64,
    /// A frame was read.
    begun: bool,
    work: u64,
}

enum ZstdState {
    Head,
    /// What is named zstd and begins like no version of it: it passes as it is.
    Plain,
    Blocks,
    /// Behind the last block: what the decoder still has.
    Rest,
    /// Behind a frame's content, where its check sum is.
    Tail,
    /// Behind all of it; whatever comes is none of it.
    End,
    /// In a frame that is skipped, with so much left.
    Skip(u32),
}

impl Unzstd {
    pub(super) fn new() -> Self {
        Self {
            decoder: FrameDecoder::new(),
            state: ZstdState::Head,
            pending: Vec::new(),
            checksum: Checksum::Nothing,
            window: 0,
            begun: false,
            work: 0,
        }
    }

    /// Takes until `length` bytes are pending. `false`: there are not so many yet.
    fn gather(&mut self, length: usize, input: &mut Bytes) -> bool {
        let take = length.saturating_sub(self.pending.len()).min(input.len());
        self.pending.extend_from_slice(&input.split_to(take));
        self.pending.len() >= length
    }

    /// Reads a head. `true`: it is whole, or none.
    fn head(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        if !self.gather(4, input) {
            return Ok(false);
        }
        let first = self.work == 0;
        if (self.begun || first) && !self.begins_frame()? {
            let pending = std::mem::take(&mut self.pending);
            self.state = ZstdState::End;
            if first {
                *input = [&pending[..], input].concat().into();
                self.state = ZstdState::Plain;
            }
            return Ok(true);
        }
        if !self.gather(5, input) {
            return Ok(false);
        }
        let [a, b, c, d, descriptor] = self.pending[..5] else { return Ok(false) };
        let magic = u32::from_le_bytes([a, b, c, d]);
        if magic & !0xf == SKIPPED {
            if !self.gather(8, input) {
                return Ok(false);
            }
            let length = [4, 5, 6, 7].map(|at| self.pending[at]);
            self.state = ZstdState::Skip(u32::from_le_bytes(length));
            self.work += BLOCK;
            self.pending.clear();
            return Ok(true);
        }
        // RFC 8878 section 3.1.1.1.
        let single = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size = match descriptor >> 6 {
            0 => usize::from(single),
            flag => 1 << flag,
        };
        let before = 5 + usize::from(!single) + dictionary;
        if magic != MAGIC || dictionary > 0 {
            return Err(DecodeError::Invalid);
        }
        if !self.gather(before + size, input) {
            return Ok(false);
        }
        let window = if single {
            let bytes = self.pending[before..].iter().rev();
            let written = bytes.fold(0, |size, byte| size << 8 | u64::from(*byte));
            // Two bytes begin to count where one ends.
            if size == 2 { written + 256 } else { written }
        } else {
            let (exponent, mantissa) = (self.pending[5] >> 3, u64::from(self.pending[5] & 7));
            let base = 1u64 << (10 + exponent);
            base + base / 8 * mantissa
        };
        if window > MAX_WINDOW {
            return Err(DecodeError::TooMuch);
        }
        self.decoder.reset(&self.pending[..]).map_err(|_| DecodeError::Invalid)?;
        self.pending.clear();
        self.state = ZstdState::Blocks;
        self.checksum = if descriptor & 4 != 0 { Checksum::xxh64() } else { Checksum::Nothing };
        self.window = window;
        self.begun = true;
        self.work += MEMBER;
        Ok(true)
    }

    /// Whether what is pending behind a frame is the beginning of another.
    fn begins_frame(&self) -> Result<bool, DecodeError> {
        let [a, b, c, d] = self.pending[..4] else { return Ok(false) };
        let magic = u32::from_le_bytes([a, b, c, d]);
        if magic == MAGIC || magic & !0xf == SKIPPED {
            return Ok(true);
        }
        if [b, c, d] == VERSIONS { Err(DecodeError::Invalid) } else { Ok(false) }
    }

    fn block(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        if !self.gather(3, input) {
            return Ok(false);
        }
        let header = u32::from_le_bytes([self.pending[0], self.pending[1], self.pending[2], 0]);
        let last = header & 1 == 1;
        // RFC 8878 section 3.1.1.2; a run is one byte.
        let size = (header >> 3) as usize;
        let length = if header >> 1 & 3 == 1 { 1 } else { size };
        if size > MAX_BLOCK {
            return Err(DecodeError::Invalid);
        }
        if !self.gather(3 + length, input) {
            return Ok(false);
        }
        // The library wants the check sum with the last block, and does not look at it.
        self.pending.extend_from_slice(&[0; CHECKSUM]);
        self.decoder
            .decode_blocks(&self.pending[..], BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|_| DecodeError::Invalid)?;
        self.pending.clear();
        self.work += BLOCK;
        if last {
            self.state = ZstdState::Rest;
        }
        Ok(true)
    }

    /// What the decoder gives: all but a window, and at the end that too.
    fn read(&mut self) -> Result<Vec<u8>, DecodeError> {
        let mut piece = vec![0; DECODED_PIECE.min(self.decoder.can_collect())];
        let length = self.decoder.read(&mut piece).map_err(|_| DecodeError::Invalid)?;
        piece.truncate(length);
        self.checksum.update(&piece);
        Ok(piece)
    }

    /// Reads a tail. `true`: it is whole.
    fn tail(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        let expected = self.checksum.bytes();
        if !self.gather(expected.len(), input) {
            return Ok(false);
        }
        if self.pending != expected {
            return Err(DecodeError::Invalid);
        }
        self.pending.clear();
        // Another frame may follow.
        self.state = ZstdState::Head;
        Ok(true)
    }
}

impl Decode for Unzstd {
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError> {
        loop {
            let more = match self.state {
                ZstdState::Head => self.head(input)?,
                ZstdState::Plain => return Ok(std::mem::take(input).into()),
                ZstdState::Blocks => {
                    let piece = self.read()?;
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                    self.block(input)?
                }
                ZstdState::Rest => {
                    let piece = self.read()?;
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                    self.state = ZstdState::Tail;
                    true
                }
                ZstdState::Tail => self.tail(input)?,
                ZstdState::End => {
                    input.clear();
                    false
                }
                ZstdState::Skip(left) => {
                    let skip = input.len().min(left as usize);
                    input.advance(skip);
                    // No more than there was left.
                    let left = left - skip as u32;
                    self.state = if left == 0 { ZstdState::Head } else { ZstdState::Skip(left) };
                    left == 0
                }
            };
            if !more {
                return Ok(Vec::new());
            }
        }
    }

    fn is_whole(&self) -> bool {
        match self.state {
            // Four bytes tell a frame from what is none.
            ZstdState::Head => self.pending.is_empty() || self.begun && self.pending.len() < 4,
            ZstdState::Blocks | ZstdState::Rest | ZstdState::Skip(_) => false,
            // Some servers send none; a part of one is one that breaks off.
            ZstdState::Tail => self.pending.is_empty(),
            ZstdState::End | ZstdState::Plain => true,
        }
    }

    fn is_prompt(&self) -> bool {
        false
    }

    fn retains(&self) -> u64 {
        match self.state {
            // Some of a block that is not compressed may be read before all of it is there.
            ZstdState::Blocks => self.window + self.pending.len() as u64,
            ZstdState::Rest => self.window,
            ZstdState::Head
            | ZstdState::Plain
            | ZstdState::Tail
            | ZstdState::End
            | ZstdState::Skip(_) => 0,
        }
    }

    fn work(&self) -> u64 {
        self.work
    }
}
