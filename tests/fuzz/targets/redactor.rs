//! Bodies in which a token is echoed: in no spelling and under no chunking does it come through, and nothing else changes.
//!
//! The input is text: a line with the token, a line whose bytes are lengths of pieces, and the body, in which the bytes 1
//! to 28 stand for the token, each in a spelling of its own; from 20 on for the beginning of it that is masked as well.

#![no_main]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use libfuzzer_sys::fuzz_target;
use valetkey::masking::{BodyRedactor, DecodeError, Redactor};
use valetkey::model::clock::{Clock as _, Deadline, SystemClock};
use valetkey::model::secret::Secret;
use valetkey::model::token::Token;

/// Shorter ones are hardly tokens, and their parts are in every text.
const SHORTEST: usize = 16;
/// More of them say nothing new, and take their time.
const MOST_ECHOES: usize = 8;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let (Some(token), Some(lengths), Some(body)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    // A token of asterisks is its own mask.
    if token.len() < SHORTEST || token.len() > 200 || body.len() > 4096 || token.contains(&b'*') {
        return;
    }
    let now = SystemClock.now();
    let life = Deadline::after(now, Duration::from_secs(60));
    // One that no answer can be searched for is never minted.
    if Token::new(Secret::new(token), now, life, None).is_err() {
        return;
    }
    let redactor = Arc::new(Redactor::new(token));

    let mut text = Vec::new();
    let mut echoes = Vec::new();
    for byte in body {
        match byte {
            1..=28 if echoes.len() == MOST_ECHOES => {}
            1..=28 if *byte != b'\n' && *byte != b'\r' => {
                // What stands before a form must not be able to change what it says.
                text.push(b' ');
                let (spelt, inner) = match byte.checked_sub(18) {
                    Some(how @ 2..) => spell(beginning(token), how),
                    _ => spell(token, *byte),
                };
                echoes.push((text.len() + inner.0, text.len() + inner.1));
                text.extend(spelt);
                text.push(b' ');
            }
            _ => text.push(*byte),
        }
    }
    let whole = through(&redactor, &text, &[]);
    let cut = through(&redactor, &text, lengths);
    for out in [&whole, &cut] {
        assert_eq!(out.len(), text.len(), "the length changed");
        assert!(out.iter().zip(&text).all(|(out, was)| out == was || *out == b'*'));
        for (from, to) in &echoes {
            let echo = &out[*from..*to];
            assert!(echo.iter().all(|byte| *byte == b'*'), "{}", String::from_utf8_lossy(out));
        }
        let lower = out.to_ascii_lowercase();
        let hex: Vec<u8> =
            token.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
        assert!(!holds(out, token) && !holds(&lower, &hex));
    }
    assert_eq!(whole, cut, "pieces make a difference");
});

/// What an upstream may not give, though it cuts the token short.
fn beginning(token: &[u8]) -> &[u8] {
    let signed = token.iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
    let enough = (token.len() * 3).div_ceil(4).max(signed + 12);
    &token[..enough.min(token.len())]
}

/// One spelling of the token, and which part of it must not be seen.
fn spell(token: &[u8], how: u8) -> (Vec<u8>, (usize, usize)) {
    let each = |spell: fn(u8) -> String| {
        token.iter().flat_map(|byte| spell(*byte).into_bytes()).collect::<Vec<u8>>()
    };
    let encoded = |padding: usize, url: bool| {
        let text = [&vec![b' '; padding][..], token].concat();
        if url { URL_SAFE_NO_PAD.encode(text) } else { STANDARD.encode(text) }.into_bytes()
    };
    let spelt = match how {
        2 => each(|byte| format!("{byte:02x}")),
        3 => each(|byte| format!("{byte:02X}")),
        4 => each(|byte| format!("%{byte:02x}")),
        5 => each(|byte| format!("\\u{byte:04x}")),
        6 => each(|byte| format!("&#{byte};")),
        7 => each(|byte| format!("%25{byte:02X}")),
        8 => each(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).into()
            } else {
                format!("%{byte:02X}")
            }
        }),
        9 => each(|byte| {
            if matches!(byte, b'/' | b'"' | b'\\') {
                format!("\\{}", char::from(byte))
            } else {
                char::from(byte).into()
            }
        }),
        // JSON in JSON, and that once more.
        18 | 19 => {
            let once = |text: &[u8]| -> Vec<u8> {
                let escaped = text.iter().flat_map(|byte| {
                    let more = matches!(byte, b'"' | b'\\').then_some(b'\\');
                    more.into_iter().chain([*byte])
                });
                escaped.collect()
            };
            let twice = once(&once(token));
            if how == 18 { twice } else { once(&twice) }
        }
        // In base64 the characters that depend on the token alone.
        11.. => {
            let padding = usize::from(how % 3);
            let spelt = encoded(padding, how % 2 == 1);
            return (spelt, ([0, 2, 3][padding], (padding + token.len()) * 8 / 6));
        }
        _ => token.to_vec(),
    };
    let length = spelt.len();
    (spelt, (0, length))
}

fn through(redactor: &Arc<Redactor>, mut text: &[u8], lengths: &[u8]) -> Vec<u8> {
    let begun = BodyRedactor::begin(Arc::clone(redactor), StatusCode::OK, &mut HeaderMap::new());
    let mut body = begun.expect("a body without a coding");
    let mut lengths = lengths.iter().cycle();
    let mut context = Context::from_waker(Waker::noop());
    let mut next = || {
        let length = lengths.next().map_or(text.len(), |length| usize::from(*length).max(1));
        let (piece, rest) = text.split_at(length.min(text.len()));
        text = rest;
        (!piece.is_empty())
            .then(|| Ok::<_, DecodeError>(Frame::data(Bytes::copy_from_slice(piece))))
    };
    let mut out = Vec::new();
    while let Poll::Ready(Some(frame)) = body.poll(&mut context, |_| Poll::Ready(next())) {
        out.extend(frame.expect("no coding").into_data().expect("no trailers"));
    }
    out
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
