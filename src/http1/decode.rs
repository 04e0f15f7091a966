//! Taking a body out of a stream, as its head framed it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncRead;

use super::BodyError;
use super::buffered::Buffered;
use super::chunks::{ChunkRead, Chunks};
use super::head::{self, Framing};

/// From this much on, content is read without a copy.
const LARGE: u64 = 8 * 1024;

/// Takes a body from a stream, frame by frame, as its head framed it.
#[derive(Debug)]
pub struct Decoder {
    state: BodyState,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    /// Read to the end, or broken: nothing more is taken from the stream.
    Broken,
    Chunked(Chunks),
    Close,
    Done,
    Left(u64),
}

impl Decoder {
    /// For a body that its head framed so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => BodyState::Chunked(Chunks::default()),
            Framing::Close => BodyState::Close,
            Framing::Length(0) => BodyState::Done,
            Framing::Length(length) => BodyState::Left(length),
        };
        Self { state, trailers: Vec::new() }
    }

    /// Whether it was read to its end.
    pub fn done(&self) -> bool {
        self.state == BodyState::Done
    }

    /// What is known of the length still to come.
    pub fn size(&self) -> SizeHint {
        match self.state {
            BodyState::Left(left) => SizeHint::with_exact(left),
            BodyState::Done => SizeHint::with_exact(0),
            BodyState::Broken | BodyState::Chunked(_) | BodyState::Close => SizeHint::new(),
        }
    }

    /// The next piece, or the trailers, or `None` at the end.
    pub fn poll<T: AsyncRead + Unpin>(
        &mut self,
        from: &mut Buffered<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(self.poll_frame(from, cx));
        if matches!(polled, Some(Err(_))) {
            self.state = BodyState::Broken;
        }
        Poll::Ready(polled)
    }

    fn poll_frame<T: AsyncRead + Unpin>(
        &mut self,
        from: &mut Buffered<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match &mut self.state {
                BodyState::Done => return Poll::Ready(None),
                BodyState::Broken => return Poll::Ready(Some(Err(BodyError::Incomplete))),
                BodyState::Left(left) if !from.input.is_empty() => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let data = from.input.split_to(from.input.len().min(most)).freeze();
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.state = BodyState::Done;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                BodyState::Close if !from.input.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(from.input.split().freeze()))));
                }
                BodyState::Chunked(chunks) if !from.input.is_empty() => {
                    let (framing, read) =
                        chunks.read(&from.input, &mut self.trailers).ok_or(BodyError::Malformed)?;
                    let _ = from.input.split_to(framing);
                    match read {
                        ChunkRead::Data(length) => {
                            let data = from.input.split_to(length).freeze();
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        ChunkRead::End => {
                            self.state = BodyState::Done;
                            return Poll::Ready(self.trailers()?.map(|t| Ok(Frame::trailers(t))));
                        }
                        ChunkRead::Framing => {}
                    }
                }
                BodyState::Chunked(_) | BodyState::Close | BodyState::Left(_) => {}
            }
            let read = match ready!(self.poll_fill(from, cx)) {
                Err(error)
                    if self.state == BodyState::Close
                        && error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    return Poll::Ready(Some(Err(BodyError::Unvouched)));
                }
                read => read?,
            };
            if read == 0 {
                if self.state == BodyState::Close {
                    self.state = BodyState::Done;
                    continue;
                }
                return Poll::Ready(Some(Err(BodyError::Incomplete)));
            }
        }
    }

    fn poll_fill<T: AsyncRead + Unpin>(
        &self,
        from: &mut Buffered<T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.state {
            _ if from.ended => Poll::Ready(Ok(0)),
            BodyState::Left(left) if left < LARGE => from.poll_fill(cx),
            BodyState::Chunked(chunks) if chunks.left() < LARGE => from.poll_fill(cx),
            _ => from.poll_fill_content(cx),
        }
    }

    /// The trailer section, if there is one (RFC 9112 section 7.1.2).
    fn trailers(&mut self) -> Result<Option<HeaderMap>, BodyError> {
        // The CR of the last line is there, its LF is not.
        if self.trailers.len() <= 1 {
            return Ok(None);
        }
        self.trailers.push(b'\n');
        let lines = Bytes::from(std::mem::take(&mut self.trailers));
        head::trailers(lines).map(Some).ok_or(BodyError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    struct Whole(Buffered<tokio::io::DuplexStream>, Decoder);

    impl http_body::Body for Whole {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let Self(from, decoder) = &mut *self;
            decoder.poll(from, cx)
        }
    }

    /// Content, trailers and what was left in the stream.
    async fn read(
        framing: Framing,
        input: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), BodyError> {
        let (mut far, near) = tokio::io::duplex(piece);
        let input = input.to_vec();
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut far, &input).await });
        let mut whole = Whole(Buffered::new(near, BytesMut::new()), Decoder::new(framing));
        let collected = (&mut whole).collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok((collected.to_bytes().to_vec(), trailers, whole.0.input.to_vec()))
    }

    #[tokio::test]
    async fn every_framing_in_any_pieces() {
        let chunked = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\nU:w\r\n\r\nNEXT";
        for piece in [1, 2, 7, 4096] {
            let (content, trailers, left) = read(Framing::Chunked, chunked, piece).await.unwrap();
            assert_eq!(content, b"abcde");
            assert_eq!(
                (&trailers["t"], &trailers["u"]),
                (&"v".parse().unwrap(), &"w".parse().unwrap())
            );
            assert!(b"NEXT".starts_with(&left));
            let (content, ..) = read(Framing::Length(5), b"abcdeNEXT", piece).await.unwrap();
            assert_eq!(content, b"abcde");
            let (content, ..) = read(Framing::Close, b"abcde", piece).await.unwrap();
            assert_eq!(content, b"abcde");
        }
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_end() {
        for (framing, input) in [
            (Framing::Length(6), &b"abcde"[..]),
            (Framing::Chunked, b"3\r\nab"),
            (Framing::Chunked, b"3\r\nabc\r\n"),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n"),
            (Framing::Chunked, b"0\r\nT: v\r\n"),
        ] {
            assert!(matches!(read(framing, input, 64).await, Err(BodyError::Incomplete)));
        }
        for input in [
            &b"3\r\nabcd\r\n"[..],
            b"0\r\nnonsense\r\n\r\n",
            b"0\r\nT : v\r\n\r\n",
            b"0\r\nT: \0\r\n\r\n",
        ] {
            assert!(matches!(read(Framing::Chunked, input, 64).await, Err(BodyError::Malformed)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(Framing::Chunked, &input, piece));
        }
    }
}
