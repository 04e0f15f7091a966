//! Encoded bodies: any bytes as gzip, deflate, br and zstd, also one over the other, in any pieces. What passes as it
//! came is the input, and what comes decoded holds no word. A long time is a crash (`-timeout`), and so is much
//! memory (`-rss_limit_mb`).
//!
//! The input: a byte that says which codings, one that says how long the pieces are, and the body.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use libfuzzer_sys::fuzz_target;
use valetkey::masking::{BodyRedactor, DecodeError, Redactor};

const CODINGS: [&str; 8] =
    ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate", "deflate, gzip", "br, zstd"];
const WORD: &[u8] = b"canary-0123456789abcdef";

static REDACTOR: LazyLock<Arc<Redactor>> = LazyLock::new(|| Arc::new(Redactor::new(WORD)));

fuzz_target!(|input: &[u8]| {
    let [coding, length, body @ ..] = input else { return };
    let coding = CODINGS[usize::from(*coding) % CODINGS.len()];
    // Where two codings are broken, pieces decide which is found first.
    let whole = through(coding, body, body.len()).ok();
    let cut = through(coding, body, usize::from(*length).max(1)).ok();
    assert_eq!(whole, cut, "pieces make a difference");
});

fn through(coding: &'static str, body: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
    let mut headers =
        HeaderMap::from_iter([(http::header::CONTENT_ENCODING, HeaderValue::from_static(coding))]);
    let begun = BodyRedactor::begin(Arc::clone(&REDACTOR), StatusCode::OK, &mut headers);
    let mut redactor = begun.expect("a coding that is known");
    let mut context = Context::from_waker(Waker::noop());
    let mut rest = body;
    let mut next = |_: &mut Context<'_>| {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Poll::Ready(
            (!piece.is_empty())
                .then(|| Ok::<_, DecodeError>(Frame::data(Bytes::copy_from_slice(piece)))),
        )
    };
    // The pieces are all there; where it is pending, others have their turn.
    loop {
        match redactor.poll_look(&mut context, &mut headers, &mut next, &mut || None) {
            Poll::Ready(looked) => break looked?,
            Poll::Pending => {}
        }
    }
    let mut out = Vec::new();
    loop {
        match redactor.poll(&mut context, &mut next) {
            Poll::Ready(Some(frame)) => out.extend(frame?.into_data().expect("no trailers")),
            Poll::Ready(None) => break,
            Poll::Pending => {}
        }
    }
    if headers.contains_key(http::header::CONTENT_ENCODING) {
        assert!(out == body, "what passes as it came is not");
    } else {
        assert!(!out.windows(WORD.len()).any(|text| text == WORD), "a word passes");
    }
    Ok(out)
}
