//! A blind copy in both directions, for hosts that no route names. Nothing of ours goes in.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::audit::Outcome;
use crate::model::reason::Reason;
use crate::proxy::live::LiveRequest;
use crate::proxy::shared::{Proxy, TUNNEL_IDLE_TIMEOUT};

/// How often a silent tunnel is looked at.
const TICK: Duration = Duration::from_secs(60);
/// What a tunnel may still take when the daemon stops.
const TUNNEL_DRAIN: Duration = Duration::from_secs(25);

/// Copies until both sides are done, it is ended from outside, the daemon has drained, or nothing
/// moves. The code says which side broke off, if one did: the other must see that, too.
pub async fn copy(
    proxy: &Proxy,
    live: &LiveRequest,
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Outcome {
    let (read, back) = (AtomicU64::new(0), AtomicU64::new(0));
    let broke = AtomicBool::new(false);
    let mut client = Side { io: client, read: &read, broke: None };
    let mut upstream = Side { io: upstream, read: &back, broke: Some(&broke) };
    let mut watch = live.watch();
    let drained = async {
        proxy.draining().await;
        tokio::time::sleep(TUNNEL_DRAIN).await;
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
        biased;
        why = watch.cut() => Some(why),
        done = copy_bidirectional(&mut client, &mut upstream) => done.err().map(|_| {
            if broke.load(Relaxed) { Reason::UpstreamUnreachable } else { Reason::ClientGone }
        }),
        () = drained => Some(Reason::ShuttingDown),
        () = silent => Some(Reason::ClientTimeout),
    };
    Outcome { status: None, bytes_in: read.load(Relaxed), bytes_out: back.load(Relaxed), code }
}

/// One side of a tunnel: what is read of it is counted, and where it fails, that is noted.
struct Side<'a, T> {
    io: &'a mut T,
    read: &'a AtomicU64,
    broke: Option<&'a AtomicBool>,
}

impl<T> Side<'_, T> {
    fn note<V>(&self, polled: Poll<io::Result<V>>) -> Poll<io::Result<V>> {
        if let (Poll::Ready(Err(_)), Some(broke)) = (&polled, self.broke) {
            broke.store(true, Relaxed);
        }
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Side<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut *self.io).poll_read(cx, out);
        self.read.fetch_add((out.filled().len() - before) as u64, Relaxed);
        self.note(polled)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Side<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.io).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.io).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.io).poll_shutdown(cx);
        self.note(polled)
    }
}
