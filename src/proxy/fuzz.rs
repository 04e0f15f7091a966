//! What `tests/fuzz` feeds with foreign bytes: the targets that the first head of a connection
//! names, with what must hold of whatever is taken. Compiled for tests and fuzzing alone; the seeds
//! are tests as well.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::front::head::{self as first, Head};
use crate::http1::{HeadError, head};
use crate::model::target::Target;
use crate::passage::agree;

/// The first head of a connection: a CONNECT names the same target in any pieces, and in our own
/// words.
pub fn connect(input: &[u8]) {
    let (cut, bytes) = halves(input);
    let target = connect_target(bytes, 0);
    assert_eq!(target, connect_target(bytes, cut), "pieces make a difference");
    let Some(target) = target else { return };
    let ours = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    assert_eq!(connect_target(ours.as_bytes(), 0), Some(target));
}

/// A request in absolute-form: everything that names a host names the one that is judged.
pub fn absolute(input: &[u8]) {
    let Some(Ok(request)) = request_head(input) else { return };
    let Ok(target) = agree::absolute(&request.parts) else { return };
    let authority = request.parts.uri.authority().map(|authority| authority.as_str());
    for named in authority.into_iter().chain(agree::host(&request.parts.headers).ok().flatten()) {
        assert_eq!(Target::parse(named, Some(80)).as_ref(), Ok(&target));
    }
    let ours = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let ours = request_head(ours.as_bytes()).and_then(Result::ok);
    assert_eq!(ours.map(|ours| agree::absolute(&ours.parts)), Some(Ok(target)));
}

fn connect_target(bytes: &[u8], cut: usize) -> Option<Target> {
    let (front, mut back) = bytes.split_at(cut.min(bytes.len()));
    let mut io = front.chain(&mut back);
    match at_once(first::read(&mut io, &mut BytesMut::new())) {
        Ok(Head::Connect(connect)) => Some(connect.target),
        Ok(Head::End | Head::Other) | Err(_) => None,
    }
}

fn request_head(bytes: &[u8]) -> Option<Result<head::RequestHead, HeadError>> {
    let end = head::end(bytes, 0)?;
    Some(head::request(&Bytes::copy_from_slice(&bytes[..end])))
}

/// Where to cut, and what.
fn halves(input: &[u8]) -> (usize, &[u8]) {
    match input {
        [at, bytes @ ..] => (usize::from(*at), bytes),
        [] => (0, input),
    }
}

fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("memory never waits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seeds;

    #[test]
    fn seeds_hold() {
        seeds::each("connect", |seed| {
            connect(seed);
            absolute(seed);
        });
    }
}
