//! HTTP/1.1 on both sides of a request, read strictly and written anew (invariant I3).
//!
//! Our own because the library reads more than one message where another reader sees one, cannot
//! pass on 1xx answers, and costs a request a task and two queues: here one task carries a request
//! from the client's socket to the upstream's and the answer back. What has two readings is refused
//! on the way in (400) and on the way back (502); `httparse` reads the lines.
//!
//! `head` and `chunks` are pure; `buffered` is a stream with what was read ahead and what is still to
//! be written; `decode` takes a body from it; `server` and `writer` are the side towards clients, `client` is
//! the side towards upstreams.

mod buffered;
mod chunks;
mod client;
mod decode;
mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub(super) mod head;
mod server;
mod watchdog;
mod writer;

pub(super) use buffered::Buffered;
pub(super) use client::{Answer, Connection, Exchange, Failure};
pub(super) use head::expects_continue;
pub(super) use server::{Arrived, Inbound, Service, serve};

/// A body that ended before its end, or had two readings.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Not framed as RFC 9112 section 7 has it.
    #[error("a body with two readings")]
    Malformed,
    /// It cannot be searched for tokens.
    #[error("an answer that cannot be searched")]
    Unsearchable(#[from] crate::masking::DecodeError),
    /// We ended it.
    #[error("a body that was cut")]
    Cut,
    /// The peer closed in the middle of it.
    #[error("a body that breaks off")]
    Incomplete,
    /// The socket.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// The HTTP/2 library.
    #[error("an HTTP/2 stream failed")]
    Http2(#[from] hyper::Error),
}
