//! Floor 2: HTTP/1.1 on both sides of a request, read strictly and written anew (invariant I3).
//!
//! Our own because the library reads more than one message where another reader sees one, cannot
//! pass on 1xx answers, and costs a request a task and two queues: here one task carries a request
//! from the client's socket to the upstream's and the answer back. What has two readings is refused
//! on the way in (400) and on the way back (502); `httparse` reads the lines.
//!
//! It knows nobody: bodies are `http_body::Body`, and who answers is a [`Service`]. `head` (of
//! requests), `answer`, `spelling` and `chunks` are pure; `buffered` is a stream with what was read
//! ahead and what is still to be written; `decode` takes a body from it; `server` and `writer` are
//! the side towards clients, with `connection` between them; `client` is the side towards
//! upstreams. `challenge` reads the one field of answers that is a language of its own.

#![warn(missing_docs)]

pub mod answer;
mod buffered;
pub mod challenge;
mod chunks;
mod client;
mod connection;
mod decode;
pub mod encode;
pub mod head;
mod server;
mod spelling;
#[cfg(test)]
mod tests;
mod watchdog;
mod writer;

pub use buffered::Buffered;
pub use client::{Answer, Connection, Exchange, Failure, Io};
pub use connection::{AnswerPatience, Inbound, Patience};
pub use decode::Decoder;
pub use head::{
    Framing, HeadError, MAX_FIELDS, MAX_HEAD, MAX_URI, connection_names, connection_options,
    expects_continue,
};
pub use server::{Arrived, Service, serve};
pub use spelling::Spelling;
pub use writer::{AnswerBody, Unsent};

/// A body that ended before its end, or had two readings.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not framed as RFC 9112 section 7 has it.
    #[error("a body with two readings")]
    Malformed,
    /// The peer closed in the middle of it.
    #[error("a body that breaks off")]
    Incomplete,
    /// TLS ended without saying so (RFC 8446 section 6.1), and nothing else says where the body
    /// ends: it may have been cut.
    #[error("a body whose end nobody vouches for")]
    Unvouched,
    /// The socket failed under it.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
}
