//! A blind copy in both directions, for hosts that no route names. Nothing of ours goes in.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_util::io::InspectReader;

use crate::audit::Outcome;
use crate::model::reason::Reason;
use crate::proxy::live::LiveRequest;
use crate::proxy::shared::{Proxy, TUNNEL_IDLE_TIMEOUT};

/// How often a silent tunnel is looked at.
const TICK: Duration = Duration::from_secs(60);
/// What a tunnel may still take when the daemon stops.
const TUNNEL_DRAIN: Duration = Duration::from_secs(25);

/// Copies until both sides are done, it is ended from outside, the daemon has drained, or nothing
/// moves.
pub async fn copy(
    proxy: &Proxy,
    live: &LiveRequest,
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
) -> Outcome {
    let read = AtomicU64::new(0);
    let mut client = InspectReader::new(client, |bytes: &[u8]| {
        read.fetch_add(bytes.len() as u64, Relaxed);
    });
    let back = AtomicU64::new(0);
    let mut upstream = InspectReader::new(upstream, |bytes: &[u8]| {
        back.fetch_add(bytes.len() as u64, Relaxed);
    });
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
        done = copy_bidirectional(&mut client, &mut upstream) => done.err().map(|_| Reason::ClientGone),
        () = drained => Some(Reason::ShuttingDown),
        () = silent => Some(Reason::ClientTimeout),
    };
    Outcome { status: None, bytes_in: read.load(Relaxed), bytes_out: back.load(Relaxed), code }
}
