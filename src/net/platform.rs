//! What only the kernel can notice of a connection, and how it is told to: Linux.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A peer that is gone without a word is noticed in a minute although nothing is sent to it.
pub(super) fn keep_alive(socket: &impl AsFd) {
    // A connection without it is as good as it was before; nobody has to be told.
    let _ = sockopt::set_socket_keepalive(socket, true)
        .and_then(|()| sockopt::set_tcp_keepidle(socket, PROBE_AFTER))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, PROBE_EVERY))
        .and_then(|()| sockopt::set_tcp_keepcnt(socket, PROBES));
}

/// What is sent and not acknowledged in this time ends the connection. Also what the peer does not
/// take: only for those whose peer always reads.
pub(super) fn give_up_after(socket: &impl AsFd, time: Duration) {
    let time = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(socket, time);
}

/// Closes it by a reset: nobody must take what came for all (RFC 9293 section 3.5.2).
pub(super) fn reset_on_close(socket: impl AsFd) {
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
}

const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
