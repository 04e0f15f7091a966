//! gzip (RFC 1952) and deflate (RFC 1950; raw RFC 1951 as some servers send it).

use bytes::{Buf as _, Bytes};
use flate2::{Decompress, FlushDecompress, Status};

use super::checksum::Checksum;
use super::{DECODED_PIECE, Decode, DecodeError, MEMBER};

/// A gzip member's head with its name and comment.
const MAX_GZIP_HEAD: usize = 4 * 1024;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEAD: usize = 10;
/// Of deflate: enough to tell with a head from without.
const DEFLATE_HEAD: usize = 2;
/// Of a block of deflate that is stored: its type, its length twice (RFC 1951 section 3.2.4).
const STORED_HEAD: usize = 5;
/// Flags of a gzip member's head.
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
/// Of a deflate head: it needs a dictionary that nobody has.
const FDICT: u8 = 0x20;

pub(super) struct Inflate {
    gzip: bool,
    state: InflateState,
    /// For one member after the other: it takes longer to make than a small member to decode.
    inflate: Box<Decompress>,
    /// Of a head or tail that is not whole yet.
    pending: Vec<u8>,
    checksum: Checksum,
    members: u64,
    /// The first bytes behind a head of deflate, as far as they may also be those of a stored block.
    first: Option<Vec<u8>>,
}

enum InflateState {
    Head,
    /// What is named gzip and is nothing that any client would decode: it passes as it is.
    Plain,
    Data,
    /// Behind the data, where the check sum is.
    Tail,
    /// Behind all of it; whatever comes is none of it.
    End,
}

impl Inflate {
    pub(super) fn gzip() -> Self {
        Self {
            gzip: true,
            state: InflateState::Head,
            inflate: Box::new(Decompress::new(false)),
            pending: Vec::new(),
            checksum: Checksum::Nothing,
            members: 0,
            first: None,
        }
    }

    pub(super) fn deflate() -> Self {
        Self { gzip: false, ..Self::gzip() }
    }

    /// Reads a head. `true`: it is whole, or none.
    fn head(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        let another = self.members > 0;
        if another && self.pending.is_empty() {
            // Tapes and blocks are filled up with zeros, and more may follow behind them.
            let zeros = input.iter().take_while(|byte| **byte == 0).count();
            input.advance(zeros);
        }
        self.pending.extend_from_slice(&std::mem::take(input));
        let (length, checksum) = if self.gzip {
            let known = self.pending.len().min(GZIP_MAGIC.len());
            if self.pending[..known] != GZIP_MAGIC[..known] {
                if another {
                    self.pending.clear();
                    self.state = InflateState::End;
                    return Ok(true);
                }
                return self.plain(input);
            }
            let Some(length) = gzip_head(&self.pending)? else { return Ok(false) };
            (length, Checksum::crc())
        } else {
            let [cmf, flg, ..] = self.pending[..] else { return Ok(false) };
            if is_deflate_head(cmf, flg) {
                if flg & FDICT != 0 {
                    return Err(DecodeError::Invalid);
                }
                self.first = Some(self.pending[..DEFLATE_HEAD].to_vec());
                (DEFLATE_HEAD, Checksum::adler())
            } else {
                (0, Checksum::Nothing)
            }
        };
        let mut rest = Bytes::from(std::mem::take(&mut self.pending));
        rest.advance(length);
        *input = rest;
        self.checksum = checksum;
        self.inflate.reset(false);
        self.state = InflateState::Data;
        self.members += 1;
        Ok(true)
    }

    /// What does not begin as gzip does: servers name gzip what they send as it is, most of all in
    /// errors (416 for a file that is whole). Some clients read deflate under that name, and older
    /// formats begin with the same byte.
    fn plain(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        match self.pending[..] {
            [0x1f, ..] => return Err(DecodeError::Invalid),
            [cmf, flg, ..] if is_deflate_head(cmf, flg) => return Err(DecodeError::Invalid),
            [_] => return Ok(false),
            _ => {}
        }
        *input = Bytes::from(std::mem::take(&mut self.pending));
        self.state = InflateState::Plain;
        Ok(true)
    }

    fn data(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError> {
        if let Some(first) = &mut self.first {
            let more = STORED_HEAD.saturating_sub(first.len()).min(input.len());
            first.extend_from_slice(&input[..more]);
        }
        loop {
            let mut piece = Vec::with_capacity(DECODED_PIECE);
            let before = self.inflate.total_in();
            let status = self
                .inflate
                .decompress_vec(input, &mut piece, FlushDecompress::None)
                .map_err(|_| DecodeError::Invalid)?;
            // No more than there was.
            let taken = (self.inflate.total_in() - before) as usize;
            input.advance(taken.min(input.len()));
            self.checksum.update(&piece);
            if status == Status::StreamEnd {
                self.state = InflateState::Tail;
                return Ok(piece);
            }
            if !piece.is_empty() || input.is_empty() {
                return Ok(piece);
            }
            if taken == 0 {
                // Nothing comes of what is left without more.
                return Err(DecodeError::Invalid);
            }
        }
    }

    /// Reads a tail. `true`: it is whole.
    fn tail(&mut self, input: &mut Bytes) -> Result<bool, DecodeError> {
        let expected = self.checksum.bytes();
        let take = input.len().min(expected.len() - self.pending.len());
        self.pending.extend_from_slice(&input.split_to(take));
        if self.pending.len() < expected.len() {
            return Ok(false);
        }
        if self.pending != expected {
            return Err(DecodeError::Invalid);
        }
        self.pending.clear();
        // Another member may follow.
        self.state = if self.gzip { InflateState::Head } else { InflateState::End };
        Ok(true)
    }
}

impl Decode for Inflate {
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError> {
        loop {
            let more = match self.state {
                InflateState::Head => self.head(input)?,
                InflateState::Plain => return Ok(std::mem::take(input).into()),
                InflateState::Data => {
                    let piece = self.data(input)?;
                    if !piece.is_empty() {
                        return Ok(piece);
                    }
                    matches!(self.state, InflateState::Tail)
                }
                InflateState::Tail => self.tail(input)?,
                InflateState::End => {
                    input.clear();
                    false
                }
            };
            if !more {
                return Ok(Vec::new());
            }
        }
    }

    fn is_whole(&self) -> bool {
        match self.state {
            // Without a byte it was never asked. Three of them tell a member from what is none.
            InflateState::Head => {
                let telling = if self.members > 0 { GZIP_MAGIC.len() } else { 1 };
                self.gzip && self.pending.len() < telling
            }
            InflateState::Data => false,
            // Some servers send none; a part of one is one that breaks off.
            InflateState::Tail => self.pending.is_empty(),
            InflateState::End | InflateState::Plain => true,
        }
    }

    fn work(&self) -> u64 {
        self.members * MEMBER
    }

    /// What has a head of deflate is for who knows of none a stored block, if anything.
    fn is_doubtful(&self) -> bool {
        let Some([_, low, high, not_low, not_high]) = self.first.as_deref() else { return false };
        low ^ not_low == 0xff && high ^ not_high == 0xff
    }
}

/// RFC 1950 section 2.2; else there is no head at all.
fn is_deflate_head(cmf: u8, flg: u8) -> bool {
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && u16::from_be_bytes([cmf, flg]).is_multiple_of(31)
}

/// The length of a member's head, once it is whole.
fn gzip_head(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
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
