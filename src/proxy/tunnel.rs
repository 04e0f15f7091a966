//! A blind copy in both directions, for hosts that no route names. Nothing of ours goes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::{Proxy, TUNNEL_IDLE_TIMEOUT};
use crate::audit::Outcome;
use crate::client::session::Session;
use crate::model::reason::Reason;

/// How often a silent tunnel is looked at.
const TICK: Duration = Duration::from_secs(60);
/// What a tunnel may still take when the daemon stops.
const DRAIN: Duration = Duration::from_secs(25);

/// Copies until both sides are done, the session ends, the daemon has drained, or nothing moves.
pub(super) async fn copy(
    proxy: &Proxy,
    session: Option<&Session>,
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
) -> Outcome {
    let read = Arc::new(AtomicU64::new(0));
    let mut client = Counted { io: client, read: Arc::clone(&read) };
    let back = Arc::new(AtomicU64::new(0));
    let mut upstream = Counted { io: upstream, read: Arc::clone(&back) };
    let ended = async {
        match session {
            Some(session) => session.ended().await,
            None => std::future::pending().await,
        }
    };
    let drained = async {
        proxy.draining().await;
        tokio::time::sleep(DRAIN).await;
    };
    let silent = async {
        let mut quiet = Duration::ZERO;
        let mut last = 0;
        while quiet < TUNNEL_IDLE_TIMEOUT {
            tokio::time::sleep(TICK).await;
            let moved = read.load(Relaxed) + back.load(Relaxed);
            quiet = if moved == last { quiet + TICK } else { Duration::ZERO };
            last = moved;
        }
    };
    let code = tokio::select! {
        done = copy_bidirectional(&mut client, &mut upstream) => done.err().map(|_| Reason::ClientGone),
        () = ended => Some(Reason::SessionEnded),
        () = drained => Some(Reason::ShuttingDown),
        () = silent => Some(Reason::ClientTimeout),
    };
    Outcome { status: None, bytes_in: read.load(Relaxed), bytes_out: back.load(Relaxed), code }
}

/// Counts what is read.
struct Counted<T> {
    io: T,
    read: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        self.read.fetch_add((out.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
