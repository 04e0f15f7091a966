//! br (RFC 7932).

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};

use super::{DECODED_PIECE, Decode, DecodeError};

pub(super) struct Unbrotli {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    whole: bool,
}

impl Unbrotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        // Windows of 16 MiB at most: the library also reads a format of its own with 1 GiB.
        Self { state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), whole: false }
    }
}

impl Decode for Unbrotli {
    fn decode(&mut self, input: &mut Bytes) -> Result<Vec<u8>, DecodeError> {
        if self.whole {
            // Whatever comes is none of it.
            input.clear();
            return Ok(Vec::new());
        }
        let mut piece = vec![0; DECODED_PIECE];
        let (mut left, mut taken) = (input.len(), 0);
        let (mut room, mut written, mut total) = (piece.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut taken,
            input,
            &mut room,
            &mut written,
            &mut piece,
            &mut total,
            &mut self.state,
        );
        input.advance(taken.min(input.len()));
        piece.truncate(written);
        match result {
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(piece),
            BrotliResult::ResultFailure => Err(DecodeError::Invalid),
            BrotliResult::ResultSuccess => {
                self.whole = true;
                Ok(piece)
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.whole
    }
}
