//! zstd (RFC 8878), frame by frame and block by block: the library decodes as much as it is given,
//! so that it is given no more than one block.

use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{DECODED_PIECE, Decode, DecodeError, MEMBER};

/// The largest window of a content coding (RFC 9659).
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
const MAX_BLOCK: usize = 128 * 1024;
const MAGIC: u32 = 0xfd2f_b528;
/// Frames to be skipped have sixteen magic numbers from here on.
const SKIPPED: u32 = 0x184d_2a50;
const CHECKSUM: usize = 4;
/// A block or a frame that is skipped costs less than a frame with its tables.
const BLOCK: u64 = MEMBER / 16;

pub(super) struct Unzstd {
    decoder: FrameDecoder,
    state: ZstdState,
    pending: Vec<u8>,
    work: u64,
}

enum ZstdState {
    Head,
    /// In a frame; whether a checksum ends it.
    Blocks(bool),
    /// Behind the last block: what the decoder still has.
    Rest,
    /// In a frame that is skipped, with so much left.
    Skip(u32),
}

impl Unzstd {
    pub(super) fn new() -> Self {
        Self { decoder: FrameDecoder::new(), state: ZstdState::Head, pending: Vec::new(), work: 0 }
    }

    /// Takes until `length` bytes are pending. `false`: there are not so many yet.
    fn gather(&mut self, length: usize, input: &mut Bytes) -> bool {
        let take = length.saturating_sub(self.pending.len()).min(input.len());
        self.pending.extend_from_slice(&input.split_to(take));
        self.pending.len() >= length
    }

    fn head(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
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
            bytes.fold(0, |size, byte| size << 8 | u64::from(*byte))
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
        self.state = ZstdState::Blocks(descriptor & 4 != 0);
        self.work += MEMBER;
        Ok(true)
    }

    fn block(&mut self, checksum: bool, input: &mut Bytes) -> Result<bool, DecodeError> {
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
        let tail = if last && checksum { CHECKSUM } else { 0 };
        if !self.gather(3 + length + tail, input) {
            return Ok(false);
        }
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
        Ok(piece)
    }
}

impl Decode for Unzstd {
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError> {
        loop {
            let more = match self.state {
                ZstdState::Head => self.head(input)?,
                ZstdState::Blocks(checksum) => {
                    let piece = self.read()?;
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                    self.block(checksum, input)?
                }
                ZstdState::Rest => {
                    let piece = self.read()?;
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                    self.state = ZstdState::Head;
                    true
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
        matches!(self.state, ZstdState::Head) && self.pending.is_empty()
    }

    fn work(&self) -> u64 {
        self.work
    }
}
