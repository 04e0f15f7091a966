//! Connections to upstreams over HTTP/2, and how much may come on them ahead of its readers.

use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_rustls::client::TlsStream;

use super::lent::Lent;
use crate::http1::MAX_HEAD;
use crate::model::reason::Reason;
use crate::net::stream::Stream;
use crate::telemetry::metrics::Held;

/// Bytes on an HTTP/2 connection without an acknowledgement. No PING asks for it: gRPC servers end
/// connections on which they come too often.
const UNANSWERED: Duration = Duration::from_secs(15);
const MIB: u32 = 1 << 20;
/// A handshake that is no longer says nothing of the distance: it may be a busy machine.
const NEAR: Duration = Duration::from_millis(20);
/// What is beyond counts so much more that 100 ms are worth 1 Gbit/s and a third: an update of a
/// window is sent when half of it is used up.
const BYTES_PER_MS: u128 = 210_000;

/// Speaks HTTP/2 on a connection; `open` counts it to its end.
pub async fn begin(
    stream: TlsStream<Stream>,
    open: Held,
    round_trip: Duration,
) -> Result<SendRequest<Lent>, Reason> {
    stream.get_ref().0.give_up_after(UNANSWERED);
    let windows = Windows::across(round_trip);
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_header_list_size(MAX_HEAD as u32)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Reason::UpstreamUnreachable)?;
    tokio::spawn(async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(sender)
}

/// What an upstream may send ahead of its reader: what is under way at 1 Gbit/s. All of it may have
/// to be held where a client reads slowly, so a near upstream is given less than a far one. The
/// library's own measure of the distance holds a connection and each stream on it to one window,
/// which one slow reader would fill for all, and asks by PING.
struct Windows {
    stream: u32,
    connection: u32,
}

impl Windows {
    /// `round_trip`: what a TLS handshake took. Those of TLS 1.3 take one round trip.
    fn across(round_trip: Duration) -> Self {
        let beyond = round_trip.saturating_sub(NEAR);
        let under_way = beyond.as_millis().saturating_mul(BYTES_PER_MS);
        let stream = u32::try_from(under_way).unwrap_or(u32::MAX).clamp(2 * MIB, 16 * MIB);
        Self { stream, connection: (stream + stream.div_ceil(2)).max(5 * MIB) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_with_the_distance_and_are_bounded() {
        for (ms, stream, connection) in
            [(0, 2, 5), (25, 2, 5), (60, 8, 12), (100, 16, 24), (10_000, 16, 24)]
        {
            let windows = Windows::across(Duration::from_millis(ms));
            let mib = |bytes: u32| (f64::from(bytes) / f64::from(MIB)).round() as u32;
            assert_eq!(
                (mib(windows.stream), mib(windows.connection)),
                (stream, connection),
                "{ms}"
            );
        }
    }
}
