//! Taking content codings off a body (RFC 9110 section 8.4) as it comes: gzip, deflate, br and
//! zstd, also one over the other, in bounded memory and up to a bounded ratio. What stands behind
//! the end of one is left out; `named` says which names are codings at all.

mod checksum;
mod inflate;
mod named;
mod unbrotli;
mod unzstd;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

pub(super) use named::is_asked_for;

use inflate::Inflate;
use named::{Coding, CodingName};
use unbrotli::Unbrotli;
use unzstd::Unzstd;

/// Bytes that a stage gives at once; zstd may give a window more.
const DECODED_PIECE: usize = 64 * 1024;
/// Pieces that are decoded in a row without a byte to pass on, before others have their turn.
const MOST_IN_A_ROW: u32 = 16;
pub(super) const MAX_STAGES: usize = 4;
/// From this many decoded bytes on their ratio counts.
const SUSPICIOUS: u64 = 16 * 1024 * 1024;
/// More than this many times the encoded bytes is a bomb.
const MAX_RATIO: u64 = 256;
/// A gzip member or zstd frame counts as so many decoded bytes, whatever is in it: that is about
/// its cost. The least of one coding is within the ratio, what one coding makes of another is not.
const MEMBER: u64 = 4 * 1024;
/// Decoded bytes of one body.
const MAX_DECODED: u64 = 16 * 1024 * 1024 * 1024;

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not what its coding says.
    #[error("a body that is not in its content coding")]
    Invalid,
    /// It grows beyond the caps.
    #[error("a body that decodes to too much")]
    TooMuch,
    /// A word stands in it, and what it stands in has been begun as it came.
    #[error("an encoded body that holds what must not come back")]
    Told,
    /// The coded bytes end in the middle.
    #[error("an encoded body that breaks off")]
    Truncated,
}

/// One coding being taken off.
trait Decode: Send + Sync {
    /// Takes some of `input` and gives what it decodes to, about a [`DECODED_PIECE`] at most. Where
    /// it gives nothing, it has taken all.
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError>;
    /// Whether the input may end here: the content is whole, and its check sum is right or missing.
    fn is_whole(&self) -> bool;
    /// So many bytes may have been decoded and not given yet, at most.
    fn retains(&self) -> u64 {
        0
    }
    /// Whether it gives all that there is as soon as there is.
    fn is_prompt(&self) -> bool {
        true
    }
    /// Whether another reader may make something else of the same bytes.
    fn is_doubtful(&self) -> bool {
        false
    }
    /// What it did besides what it gave, as decoded bytes that cost as much.
    fn work(&self) -> u64 {
        0
    }
}

/// What there is of a body for now.
#[derive(Debug)]
pub(super) enum Pulled {
    /// Decoded bytes, one at least.
    Piece(Bytes),
    /// It takes more encoded bytes to say more.
    All,
    /// There may be more, but others should have their turn first.
    Tired,
}

struct Stage {
    decoder: Box<dyn Decode>,
    input: Bytes,
    output: u64,
}

/// The codings of one body, the one put on last first.
pub(super) struct Codings {
    stages: Vec<Stage>,
    encoded: Bytes,
    taken: u64,
}

/// Codings that cannot be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl Codings {
    /// Those that an answer names; `None` where there are none.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Unknown> {
        let mut stages: Vec<Stage> = Vec::new();
        for name in headers.get_all(CONTENT_ENCODING).iter().flat_map(names) {
            let decoder: Box<dyn Decode> = match CodingName::of(name.ok_or(Unknown)?) {
                CodingName::Nothing => continue,
                CodingName::Unread => return Err(Unknown),
                CodingName::Coding(Coding::Brotli) => Box::new(Unbrotli::new()),
                CodingName::Coding(Coding::Deflate) => Box::new(Inflate::deflate()),
                CodingName::Coding(Coding::Gzip) => Box::new(Inflate::gzip()),
                CodingName::Coding(Coding::Zstd) => Box::new(Unzstd::new()),
            };
            stages.push(Stage { decoder, input: Bytes::new(), output: 0 });
        }
        if stages.len() > MAX_STAGES {
            return Err(Unknown);
        }
        stages.reverse();
        Ok((!stages.is_empty()).then_some(Self { stages, encoded: Bytes::new(), taken: 0 }))
    }

    /// Takes encoded bytes; all that it had before must have been pulled out.
    pub(super) fn push(&mut self, encoded: Bytes) {
        self.taken += encoded.len() as u64;
        self.encoded = encoded;
    }

    pub(super) fn pull(&mut self) -> Result<Pulled, DecodeError> {
        self.pull_seen(&mut |_, _| {})
    }

    /// The same where all that is between is seen, too: the encoded bytes, and what each coding but
    /// the last to come off makes of them. `see` is told how many have come off.
    pub(super) fn pull_seen(
        &mut self,
        see: &mut dyn FnMut(usize, &Bytes),
    ) -> Result<Pulled, DecodeError> {
        let Self { stages, encoded, taken } = self;
        pull(stages, encoded, *taken, &mut MOST_IN_A_ROW.clone(), see)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.stages.len()
    }

    /// Whether it can be told at any time how much of the text may have been decoded.
    pub(super) fn are_prompt(&self) -> bool {
        let before = self.stages.split_last().map_or(&[][..], |(_, before)| before);
        before.iter().all(|stage| stage.decoder.is_prompt())
    }

    /// So many bytes of the text may have been decoded and not given yet, at most.
    pub(super) fn retains(&self) -> u64 {
        self.stages.last().map_or(0, |stage| stage.decoder.retains())
    }

    /// Whether another reader may make something else of the same bytes.
    pub(super) fn are_doubtful(&self) -> bool {
        self.stages.iter().any(|stage| stage.decoder.is_doubtful())
    }

    /// Whether the body may end here. One without a byte is as good as none.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        let whole = self.taken == 0 || self.stages.iter().all(|stage| stage.decoder.is_whole());
        if whole { Ok(()) } else { Err(DecodeError::Truncated) }
    }
}

fn pull(
    stages: &mut [Stage],
    encoded: &mut Bytes,
    taken: u64,
    left: &mut u32,
    see: &mut dyn FnMut(usize, &Bytes),
) -> Result<Pulled, DecodeError> {
    let Some((stage, before)) = stages.split_last_mut() else {
        let bytes = std::mem::take(encoded);
        return Ok(if bytes.is_empty() { Pulled::All } else { Pulled::Piece(bytes) });
    };
    loop {
        let Some(less) = left.checked_sub(1) else { return Ok(Pulled::Tired) };
        *left = less;
        let piece = stage.decoder.decode(&mut stage.input)?;
        stage.output += piece.len() as u64;
        let output = stage.output + stage.decoder.work();
        let bomb = output > SUSPICIOUS && output / MAX_RATIO > taken;
        if bomb || stage.output > MAX_DECODED {
            return Err(DecodeError::TooMuch);
        }
        if !piece.is_empty() {
            return Ok(Pulled::Piece(piece.into()));
        }
        match pull(before, encoded, taken, left, see)? {
            Pulled::Piece(input) => {
                see(before.len(), &input);
                stage.input = input;
            }
            other => return Ok(other),
        }
    }
}

/// The names in a field of a list.
fn names(value: &HeaderValue) -> impl Iterator<Item = Option<&str>> {
    let text = value.to_str().ok();
    let parts = text.into_iter().flat_map(|text| text.split(','));
    parts.map(|part| Some(part.trim())).chain(text.is_none().then_some(None))
}
