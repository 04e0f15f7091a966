//! A look at what a tunnel speaks, before anything of it is taken.

use std::io;

use tokio::io::AsyncRead;

use crate::net::prefixed::Prefixed;

/// What the first byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// The client closed without a word.
    Nothing,
    /// Neither: HTTP in the clear, SSH, noise.
    Other,
    /// A TLS handshake record (RFC 8446 section 5.1).
    Tls,
}

/// Waits for one byte, which decides: a ClientHello may come in any pieces.
pub(super) async fn speaks<T: AsyncRead + Unpin>(io: &mut Prefixed<T>) -> io::Result<Speaks> {
    Ok(match io.first().await? {
        None => Speaks::Nothing,
        Some(0x16) => Speaks::Tls,
        Some(_) => Speaks::Other,
    })
}
