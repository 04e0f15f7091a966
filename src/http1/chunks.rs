//! How far a chunked body has one reading (RFC 9112 section 7.1).

/// Hex digits of a chunk's size: 2^60 bytes.
const MAX_SIZE_DIGITS: u8 = 15;
/// A line of size and extensions, in bytes.
const MAX_LINE: u16 = 1024;
/// All trailer lines together, in bytes.
const MAX_TRAILERS: u16 = 8 * 1024;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    state: ChunkState,
    size: u64,
    digits: u8,
    line: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    Data,
    /// CR after a chunk's bytes.
    DataCr,
    /// The LF after a chunk's bytes.
    DataLf,
    /// Behind the last byte.
    Done,
    /// An extension, up to its CR.
    Extension,
    /// The last LF of all.
    FinalLf,
    #[default]
    Size,
    /// LF after the size line.
    SizeLf,
    /// A trailer line, up to its CR.
    Trailer,
    /// LF after a trailer line.
    TrailerLf,
    /// The start of a trailer line, or the final CR.
    TrailerStart,
}

/// What [`Chunks::read`] found at the front of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkRead {
    /// So many bytes of content.
    Data(usize),
    End,
    /// All of the input is framing; the body goes on.
    Framing,
}

impl Chunks {
    /// Whether the body has ended.
    pub(super) fn done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Bytes of content that this chunk still has, as far as is known.
    pub(super) fn left(&self) -> u64 {
        if self.state == ChunkState::Data { self.size } else { 0 }
    }

    /// Takes framing from the front of `input` up to content or the end: its length, and what
    /// follows. Bytes of trailer lines, their line ends included, are appended to `trailers`.
    /// `None`: the body has two readings.
    pub(super) fn read(
        &mut self,
        input: &[u8],
        trailers: &mut Vec<u8>,
    ) -> Option<(usize, ChunkRead)> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                ChunkState::Data => {
                    let most = usize::try_from(self.size).unwrap_or(usize::MAX);
                    let take = (input.len() - at).min(most);
                    self.size -= take as u64;
                    if self.size == 0 {
                        self.state = ChunkState::DataCr;
                    }
                    return Some((at, ChunkRead::Data(take)));
                }
                ChunkState::Done => break,
                ChunkState::Trailer | ChunkState::TrailerLf | ChunkState::TrailerStart => {
                    trailers.push(input[at])
                }
                _ => {}
            }
            self.state = self.next(input[at])?;
            at += 1;
        }
        Some((at, if self.done() { ChunkRead::End } else { ChunkRead::Framing }))
    }

    fn next(&mut self, byte: u8) -> Option<ChunkState> {
        let next = match (self.state, byte) {
            (ChunkState::Size, b'\r') if self.digits > 0 => ChunkState::SizeLf,
            (ChunkState::Size, b';') if self.digits > 0 => ChunkState::Extension,
            (ChunkState::Size, _) if self.digits < MAX_SIZE_DIGITS => {
                self.size = self.size * 16 + u64::from(char::from(byte).to_digit(16)?);
                self.digits += 1;
                ChunkState::Size
            }
            (ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, b'\t' | b' '..=0x7e | 0x80..) => {
                self.counted(ChunkState::Extension, MAX_LINE)?
            }
            (ChunkState::SizeLf, b'\n') => {
                let last = self.size == 0;
                (self.digits, self.line) = (0, 0);
                if last { ChunkState::TrailerStart } else { ChunkState::Data }
            }
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Size,
            (ChunkState::TrailerStart, b'\r') => ChunkState::FinalLf,
            // A line that begins with white space would continue the one before (obs-fold).
            (ChunkState::TrailerStart, b'!'..=0x7e) => {
                self.counted(ChunkState::Trailer, MAX_TRAILERS)?
            }
            (ChunkState::Trailer, b'\r') => ChunkState::TrailerLf,
            (ChunkState::Trailer, b'\t' | b' '..=0x7e | 0x80..) => {
                self.counted(ChunkState::Trailer, MAX_TRAILERS)?
            }
            (ChunkState::TrailerLf, b'\n') => ChunkState::TrailerStart,
            (ChunkState::FinalLf, b'\n') => ChunkState::Done,
            _ => return None,
        };
        Some(next)
    }

    fn counted(&mut self, state: ChunkState, most: u16) -> Option<ChunkState> {
        self.line += 1;
        (self.line <= most).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Content, trailer lines, bytes taken and whether it ended.
    fn read(text: &str) -> Option<(String, String, usize, bool)> {
        let (mut chunks, mut at) = (Chunks::default(), 0);
        let (mut content, mut trailers) = (String::new(), Vec::new());
        loop {
            let (framing, read) = chunks.read(&text.as_bytes()[at..], &mut trailers)?;
            at += framing;
            if let ChunkRead::Data(length) = read {
                content.push_str(&text[at..at + length]);
                at += length;
                continue;
            }
            let trailers = String::from_utf8(trailers).unwrap();
            return Some((content, trailers, at, chunks.done()));
        }
    }

    #[test]
    fn one_reading() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;x=\"y\"\r\n0123456789\r\n00\r\nT: v\r\nU: w\r\n\r\n",
        ] {
            let (_, _, taken, done) = read(&format!("{body}NEXT")).unwrap();
            assert_eq!((taken, done), (body.len(), true), "{body}");
        }
        assert_eq!(read("5\r\nhel"), Some(("hel".into(), String::new(), 6, false)));
        let (content, trailers, ..) = read("3\r\nabc\r\n1\r\nd\r\n0\r\nT: v\r\n\r\n").unwrap();
        assert_eq!((content.as_str(), trailers.as_str()), ("abcd", "T: v\r\n\r"));
    }

    #[test]
    fn two_readings() {
        for body in [
            "\r\n",
            "g\r\n",
            "0x5\r\n",
            "+5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5\rx",
            "10000000000000000\r\n",
            "0;a\nb\r\n\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX: a\nb\r\n\r\n",
            "5;\0\r\n",
        ] {
            assert_eq!(read(body), None, "{body:?}");
        }
        assert_eq!(read(&format!("5;{}\r\n", "a".repeat(2000))), None);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(sizes in proptest::collection::vec(0usize..40, 0..5), cut in 0usize..200) {
            let mut body: String = sizes.iter().filter(|s| **s > 0).map(|s| format!("{s:x}\r\n{}\r\n", "d".repeat(*s))).collect();
            body.push_str("0\r\n\r\n");
            let cut = cut.min(body.len());
            let (mut chunks, mut content, mut trailers) = (Chunks::default(), 0, Vec::new());
            for mut piece in [&body.as_bytes()[..cut], &body.as_bytes()[cut..]] {
                while !piece.is_empty() {
                    let (framing, read) = chunks.read(piece, &mut trailers).unwrap();
                    let ChunkRead::Data(length) = read else { break };
                    content += length;
                    piece = &piece[framing + length..];
                }
            }
            prop_assert!(chunks.done());
            prop_assert_eq!(content, sizes.iter().sum::<usize>());
        }
    }
}
