//! [`Stream`]: a connection to an upstream, direct or through the parent proxy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::budget::Spent;
use super::platform;

/// Bytes to and from the target, whatever carries them there.
#[derive(Debug)]
pub struct Stream {
    /// What the target said in the same segment as the parent's answer.
    ahead: Bytes,
    io: Carrier,
    /// Given back after the descriptor is closed.
    spent: Option<Spent>,
}

#[derive(Debug)]
enum Carrier {
    /// TCP to the target itself, or to an http parent.
    Tcp(TcpStream),
    /// TLS to an https parent.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Puts bytes in front that were read too early.
    pub(super) fn read_ahead(mut self, ahead: Bytes) -> Self {
        self.ahead = ahead;
        self
    }

    /// Keeps this until the stream is closed.
    pub(super) fn spending(mut self, spent: Spent) -> Self {
        self.spent = Some(spent);
        self
    }

    /// Ends when the other side has acknowledged nothing for so long: for a connection that many
    /// requests share, and whose peer always reads. The kernel sends again at ever longer
    /// intervals, long after the network is back.
    pub fn give_up_after(&self, time: Duration) {
        let tcp = match &self.io {
            Carrier::Tcp(io) => io,
            Carrier::Tls(io) => io.get_ref().0,
        };
        platform::give_up_after(tcp, time);
    }

    /// Its end will be a reset, where it leads to the target itself.
    pub fn reset_on_close(self) {
        if let Carrier::Tcp(io) = self.io {
            platform::reset_on_close(io);
        }
    }

    #[cfg(test)]
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Carrier::Tcp(io) => Some(io),
            Carrier::Tls(_) => None,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { ahead: Bytes::new(), io: Carrier::Tcp(stream), spent: None }
    }
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self { ahead: Bytes::new(), io: Carrier::Tls(Box::new(stream)), spent: None }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let take = out.remaining().min(self.ahead.len());
            out.put_slice(&self.ahead[..take]);
            self.ahead.advance(take);
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Carrier::Tcp(io) => Pin::new(io).poll_read(cx, out),
            Carrier::Tls(io) => Pin::new(io).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Carrier::Tcp(io) => Pin::new(io).poll_write(cx, bytes),
            Carrier::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Carrier::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bytes),
            Carrier::Tls(io) => Pin::new(io).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Carrier::Tcp(io) => io.is_write_vectored(),
            Carrier::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Carrier::Tcp(io) => Pin::new(io).poll_flush(cx),
            Carrier::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Carrier::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Carrier::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
