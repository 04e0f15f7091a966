//! A stream with bytes in front of it that were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// `buffer` first, then the stream.
#[derive(Debug)]
pub struct Prefixed<T> {
    buffer: BytesMut,
    io: T,
}

impl<T: AsyncRead + Unpin> Prefixed<T> {
    /// `buffer` was read from `io` already.
    pub fn new(buffer: BytesMut, io: T) -> Self {
        Self { buffer, io }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// What was read already, and the stream.
    pub fn into_parts(self) -> (BytesMut, T) {
        (self.buffer, self.io)
    }

    /// Its first byte, waited for and not taken; `None`: it has ended.
    pub async fn first(&mut self) -> io::Result<Option<u8>> {
        if self.buffer.is_empty() && self.io.read_buf(&mut self.buffer).await? == 0 {
            return Ok(None);
        }
        Ok(self.buffer.first().copied())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, out);
        }
        let take = out.remaining().min(self.buffer.len());
        out.put_slice(&self.buffer[..take]);
        self.buffer.advance(take);
        if self.buffer.is_empty() {
            // Most connections never need it again.
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
