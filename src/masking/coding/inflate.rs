//! gzip (RFC 1952) and deflate (RFC 1950; raw RFC 1951 as some servers send it).

use bytes::{Buf as _, Bytes};
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{DECODED_PIECE, Decode, DecodeError, MEMBER};

/// A gzip member's head with its name and comment.
const MAX_GZIP_HEAD: usize = 4 * 1024;
const HEAD: usize = 10;
/// CRC and length behind a member.
const TAIL: usize = 8;
/// Flags of a member's head.
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;

pub(super) struct Inflate {
    gzip: bool,
    state: InflateState,
    /// For one member after the other: it takes longer to make than a small member to decode.
    inflate: Box<Decompress>,
    /// Of a head or tail that is not whole yet.
    pending: Vec<u8>,
    crc: Crc,
    members: u64,
}

enum InflateState {
    Head,
    Data,
    /// Behind the data of a gzip member.
    Tail,
    /// Behind all of it.
    End,
}

impl Inflate {
    pub(super) fn gzip() -> Self {
        let inflate = Box::new(Decompress::new(false));
        let (pending, crc) = (Vec::new(), Crc::new());
        Self { gzip: true, state: InflateState::Head, inflate, pending, crc, members: 0 }
    }

    pub(super) fn deflate() -> Self {
        Self { gzip: false, ..Self::gzip() }
    }

    /// Reads a head. `true`: it is whole.
    fn head(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        self.pending.extend_from_slice(&std::mem::take(input));
        let (length, wrapped) = if self.gzip {
            let Some(length) = gzip_head(&self.pending)? else { return Ok(false) };
            (length, false)
        } else {
            let [cmf, flg, ..] = self.pending[..] else { return Ok(false) };
            // RFC 1950 section 2.2, or no head at all.
            let check = u16::from_be_bytes([cmf, flg]);
            (0, cmf & 0x0f == 8 && cmf >> 4 <= 7 && check.is_multiple_of(31))
        };
        let mut rest = Bytes::from(std::mem::take(&mut self.pending));
        rest.advance(length);
        *input = rest;
        self.crc = Crc::new();
        self.inflate.reset(wrapped);
        self.state = InflateState::Data;
        self.members += 1;
        Ok(true)
    }

    fn tail(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        let take = input.len().min(TAIL - self.pending.len());
        self.pending.extend_from_slice(&input.split_to(take));
        let Ok([a, b, c, d, w, x, y, z]) = <[u8; TAIL]>::try_from(&self.pending[..]) else {
            return Ok(false);
        };
        let sound = self.crc.sum() == u32::from_le_bytes([a, b, c, d])
            && self.crc.amount() == u32::from_le_bytes([w, x, y, z]);
        if !sound {
            return Err(DecodeError::Invalid);
        }
        self.pending.clear();
        // Another member may follow.
        self.state = InflateState::Head;
        Ok(true)
    }
}

impl Decode for Inflate {
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError> {
        loop {
            match self.state {
                InflateState::Head => {
                    if !self.head(input)? {
                        return Ok(Vec::new());
                    }
                }
                InflateState::Data => {
                    let (inflate, mut piece) =
                        (&mut self.inflate, Vec::with_capacity(DECODED_PIECE));
                    let before = inflate.total_in();
                    let status = inflate
                        .decompress_vec(input, &mut piece, FlushDecompress::None)
                        .map_err(|_| DecodeError::Invalid)?;
                    // No more than there was.
                    let taken = (inflate.total_in() - before) as usize;
                    input.advance(taken.min(input.len()));
                    self.crc.update(&piece);
                    if status == Status::StreamEnd {
                        self.state = if self.gzip { InflateState::Tail } else { InflateState::End };
                    }
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                    if status != Status::StreamEnd && (input.is_empty() || taken == 0) {
                        // Nothing comes of what is left without more.
                        return if input.is_empty() {
                            Ok(piece)
                        } else {
                            Err(DecodeError::Invalid)
                        };
                    }
                }
                InflateState::Tail => {
                    if !self.tail(input)? {
                        return Ok(Vec::new());
                    }
                }
                InflateState::End if input.is_empty() => return Ok(Vec::new()),
                InflateState::End => return Err(DecodeError::Invalid),
            }
        }
    }

    fn is_whole(&self) -> bool {
        match self.state {
            // Behind a member, not before the first: that one has been read.
            InflateState::Head => self.gzip && self.pending.is_empty(),
            InflateState::Data | InflateState::Tail => false,
            InflateState::End => true,
        }
    }

    fn work(&self) -> u64 {
        self.members * MEMBER
    }
}

/// The length of a member's head, once it is whole.
fn gzip_head(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let expected = [0x1f, 0x8b, 8];
    let known = bytes.len().min(expected.len());
    if bytes[..known] != expected[..known] {
        return Err(DecodeError::Invalid);
    }
    let length = head_length(bytes);
    if length.unwrap_or(bytes.len()) > MAX_GZIP_HEAD {
        Err(DecodeError::Invalid)
    } else {
        Ok(length)
    }
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    let flags = bytes.get(3)?;
    let mut rest = bytes.get(HEAD..)?;
    if flags & FEXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FHCRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(bytes.len() - rest.len())
}
