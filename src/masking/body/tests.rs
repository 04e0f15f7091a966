//! Tests of bodies: no form of a token passes in any pieces and any spelling, nothing else changes,
//! and nothing waits that could not be one.

use std::io::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use proptest::prelude::*;

use super::super::needle::{BEFORE_BREAK, Spelt};
use super::super::*;

pub(in crate::masking) fn redactor(token: &str) -> Arc<Redactor> {
    Arc::new(Redactor::new(token.as_bytes()))
}

/// Cuts a text into pieces of these lengths, over and over.
pub(in crate::masking) fn pieces(text: &[u8], lengths: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut pieces) = (text, Vec::new());
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at((*length).clamp(1, rest.len().max(1)).min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = after;
        if rest.is_empty() {
            return pieces;
        }
    }
    pieces
}

/// Why, where it was the decoding.
#[derive(Debug, PartialEq)]
pub(in crate::masking) struct Failed(pub(in crate::masking) Option<DecodeError>);

impl From<DecodeError> for Failed {
    fn from(error: DecodeError) -> Self {
        Self(Some(error))
    }
}

/// What comes out of a body in these pieces.
pub(in crate::masking) fn through(
    redactor: &Arc<Redactor>,
    headers: &mut HeaderMap,
    pieces: Vec<Bytes>,
) -> Result<Vec<u8>, Failed> {
    let (out, failed) = as_far_as_it_goes(redactor, headers, pieces);
    failed.map_or(Ok(out), Err)
}

/// What comes out of it before it fails, and why it does.
pub(in crate::masking) fn as_far_as_it_goes(
    redactor: &Arc<Redactor>,
    headers: &mut HeaderMap,
    pieces: Vec<Bytes>,
) -> (Vec<u8>, Option<Failed>) {
    let body = BodyRedactor::begin(Arc::clone(redactor), StatusCode::OK, headers);
    let Ok(mut body) = body else { return (Vec::new(), Some(Failed(None))) };
    let mut pieces = pieces.into_iter();
    let mut inner =
        |_: &mut Context<'_>| Poll::Ready(pieces.next().map(|p| Ok::<_, Failed>(Frame::data(p))));
    let mut out = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    // The pieces are all there; where it is pending, others have their turn.
    loop {
        match body.poll_look(&mut context, headers, &mut inner, &mut || None) {
            Poll::Ready(Ok(())) => break,
            Poll::Ready(Err(failed)) => return (out, Some(failed)),
            Poll::Pending => {}
        }
    }
    loop {
        match body.poll(&mut context, &mut inner) {
            Poll::Ready(None) => return (out, None),
            Poll::Ready(Some(Ok(frame))) => out.extend(frame.into_data().unwrap()),
            Poll::Ready(Some(Err(failed))) => return (out, Some(failed)),
            Poll::Pending => {}
        }
    }
}

fn masked(redactor: &Arc<Redactor>, text: &[u8], lengths: &[usize]) -> Vec<u8> {
    through(redactor, &mut HeaderMap::new(), pieces(text, lengths)).unwrap()
}

/// One byte in one of the ways in which it may be written.
fn spell(byte: u8, how: usize) -> Vec<u8> {
    let text = match how {
        1 => format!("%{byte:02x}"),
        2 => format!("%{byte:02X}"),
        3 => format!("\\u{byte:04x}"),
        4 => format!("\\u{byte:04X}"),
        5 => format!("&#{byte};"),
        6 => format!("&#x{byte:X};"),
        7 => format!("%25{byte:02X}"),
        8 => format!("\\\\u{byte:04x}"),
        9 => format!("\\x{byte:02x}"),
        10 if byte == b'/' => "\\/".to_owned(),
        11 if byte == b'+' => "&plus;".to_owned(),
        _ => return vec![byte],
    };
    text.into_bytes()
}

/// How text comes to stand in text.
const WRITERS: [fn(&str) -> String; 7] = [
    |text| text.replace('\\', "\\\\").replace('"', "\\\""),
    // As PHP and Go write JSON.
    |text| text.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/"),
    |text| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('&', "\\u0026");
        text.replace('<', "\\u003c").replace('>', "\\u003e")
    },
    |text| percent_encoding::percent_encode(text.as_bytes(), QUERY).to_string(),
    |text| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    },
    |text| {
        text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
    },
    |text| {
        text.replace('&', "&#38;")
            .replace('"', "&#34;")
            .replace('+', "&#x2b;")
            .replace('\'', "&#x27;")
    },
];
const QUERY: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b'%').add(b'&').add(b'"');

fn token() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9._~+/=-]{20,60}", "[A-Za-z0-9_-]{8,19}", "[A-Za-z0-9+/]{200,700}"]
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![usize::MAX]),
        Just(vec![1]),
        proptest::collection::vec(1usize..80, 1..6),
        proptest::collection::vec(1usize..5, 1..6),
    ]
}

/// Text around a token: of a kind that neither completes nor mimics one.
fn around() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[ -~\n]{0,200}".prop_map(String::into_bytes),
        "(\\\\|%|&|%2|&#4|\\\\u00|\\\\n|&amp;| |a){0,60}".prop_map(String::into_bytes),
    ]
}

/// Whether `text` holds the token in a form that the oracle below knows.
fn holds(text: &[u8], token: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let hex: String = token.bytes().map(|b| format!("{b:02x}")).collect();
    memchr::memmem::find(text, token.as_bytes()).is_some()
        || memchr::memmem::find(&lower, hex.as_bytes()).is_some()
        || (0..3).any(|skip| {
            let inner = inner_base64(token.as_bytes(), skip);
            let text: Vec<u8> = text
                .iter()
                .filter(|b| !b.is_ascii_whitespace())
                .map(|b| match b {
                    b'-' => b'+',
                    b'_' => b'/',
                    b => *b,
                })
                .collect();
            inner.len() >= MIN_BASE64 && memchr::memmem::find(&text, &inner).is_some()
        })
}

/// Small pieces are searched together, but not those that may come some day.
#[test]
fn what_is_not_searched_yet_waits_for_nothing() {
    let token = "canary-0123456789-0123456789-0123456789";
    for (last, wanted) in [("-", Some("canary-0123456789-012-")), ("3", None)] {
        let text = format!("canary-0123456789-012{last}");
        let (first, last) = text.split_at(text.len() - 1);
        let mut body = BodyRedactor::begin(redactor(token), StatusCode::OK, &mut HeaderMap::new());
        let body = body.as_mut().unwrap();
        let mut pieces =
            [first, last].map(|piece| Bytes::copy_from_slice(piece.as_bytes())).into_iter();
        let mut next = move |_: &mut Context<'_>| match pieces.next() {
            Some(piece) => Poll::Ready(Some(Ok::<_, Failed>(Frame::data(piece)))),
            None => Poll::Pending,
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        while let Poll::Ready(frame) = body.poll(&mut context, &mut next) {
            out.extend(frame.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(out, wanted.unwrap_or_default().as_bytes());
    }
}

/// The `a` of a spelt line break may be the first of a form, and is the last that came so far.
#[test]
fn a_line_break_that_ends_as_a_form_begins() {
    let token = "ha0A-a_-a0-a_";
    for (line_end, url) in [("\\u000a", false), ("%0D%0a", true), ("\\\\u000a", false)] {
        let pair = format!("{}{token} and more", "-".repeat(47));
        let encoded = if url { URL_SAFE_NO_PAD.encode(&pair) } else { STANDARD.encode(&pair) };
        let (line, next) = encoded.split_at(64);
        let text = format!("{line}{line_end}{next}");
        for length in 1..text.len() {
            let out = masked(&redactor(token), text.as_bytes(), &[length]);
            let out = String::from_utf8_lossy(&out);
            assert!(!out.contains(&next[..12]), "{length}: {out}");
        }
    }
}

proptest! {
    // Debug builds are slow, and each case has many pieces.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_spelling_passes_in_any_pieces(
        token in token(),
        hows in proptest::collection::vec(0usize..12, 1..8),
        before in around(),
        after in around(),
        lengths in lengths(),
    ) {
        let redactor = redactor(&token);
        let spelt: Vec<u8> = token.bytes().zip(hows.iter().cycle()).flat_map(|(b, how)| spell(b, *how)).collect();
        let text = [&before[..], b" ", &spelt, b" ", &after].concat();
        let out = masked(&redactor, &text, &lengths);
        prop_assert_eq!(out.len(), text.len());
        let at = before.len() + 1;
        prop_assert!(out[at..at + spelt.len()].iter().all(|b| *b == MASK), "{}", String::from_utf8_lossy(&out));
        if !holds(&before, &token) && !holds(&after, &token) && before.last() != Some(&b'\\') {
            prop_assert_eq!(&out[..at - 1], &before[..]);
            prop_assert_eq!(&out[at + spelt.len() + 1..], &after[..]);
        }
    }

    #[test]
    fn no_encoding_passes_in_any_pieces(
        token in token(),
        before in "[ -~]{0,60}",
        after in "[ -~]{0,9}",
        lengths in lengths(),
        line in prop_oneof![Just(usize::MAX), Just(76usize), Just(64), Just(60)],
        line_end in prop_oneof![Just("\r\n"), Just("\\n"), Just("\n"), Just("%0D%0A"), Just("\\r\\n"), Just("\\u000a"), Just("&#10;")],
        url in any::<bool>(),
    ) {
        let redactor = redactor(&token);
        let pair = format!("{before}{token}{after}");
        let encoded = if url { URL_SAFE_NO_PAD.encode(&pair) } else { STANDARD.encode(&pair) };
        let lines: Vec<String> = encoded.as_bytes().chunks(line.min(encoded.len())).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
        let text = format!("x {} y", lines.join(line_end));
        let out = masked(&redactor, text.as_bytes(), &lengths);
        prop_assert_eq!(out.len(), text.len());
        prop_assert!(!holds(&out, &token));
        // What is left of it: a character at each end, those before an early line break, and line
        // ends.
        let left = out.iter().filter(|b| **b != MASK).count();
        let most = (before.len() + after.len()) * 4 / 3 + 8 + BEFORE_BREAK + lines.len() * line_end.len() + 4;
        prop_assert!(left <= most, "{left} of {most}: {}", String::from_utf8_lossy(&out));
        let hex: String = pair.bytes().zip("01".chars().cycle()).map(|(b, c)| if c == '0' { format!("{b:02x}") } else { format!("{b:02X}") }).collect();
        let out = masked(&redactor, hex.as_bytes(), &lengths);
        prop_assert_eq!(out.iter().filter(|b| **b != MASK).count(), 2 * (before.len() + after.len()));
    }

    /// Any text that a token can be (RFC 6749 appendix A.12), as text in text in text.
    #[test]
    fn no_text_in_text_passes_in_any_pieces(
        token in prop_oneof!["[!-~]{8,40}", "[A-Za-z0-9%&\\\\/+\"]{12,30}", "[a%&25\\\\\"]{12,20}"],
        ways in proptest::collection::vec(0..WRITERS.len(), 0..4),
        before in "[ -\\[\\]-~]{0,60}",
        after in "[ -~]{0,9}",
        lengths in lengths(),
    ) {
        let written = ways.iter().fold(token.clone(), |text, way| WRITERS[*way](&text));
        let text = format!("{before} {written} {after}");
        let out = masked(&redactor(&token), text.as_bytes(), &lengths);
        let at = before.len() + 1;
        let left = &out[at..at + written.len()];
        prop_assert!(left.iter().all(|b| *b == MASK), "{written}: {}", String::from_utf8_lossy(left));
    }

    #[test]
    fn what_holds_none_passes_unchanged(token in token(), parts in proptest::collection::vec(around(), 1..4), lengths in lengths()) {
        let text = parts.concat();
        if !holds(&text, &token) {
            let out = masked(&redactor(&token), &text, &lengths);
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn ends_and_short_beginnings_pass(token in "[A-Za-z0-9+/]{24,50}", from in 0usize..20, to in 0usize..20, lengths in lengths()) {
        let to = if from == 0 { token.len() * 3 / 4 - 1 } else { token.len() - to };
        let part = &token[from..to.max(from)];
        // What comes next may be the next byte of the token.
        let text = format!("{part}.{part} {part}");
        if !holds(text.as_bytes(), &token) {
            prop_assert_eq!(masked(&redactor(&token), text.as_bytes(), &lengths), text.into_bytes());
        }
    }

    /// An upstream may give only the beginning, at the end of its answer or before something else.
    #[test]
    fn what_is_cut_short_is_masked(
        (token, enough) in prop_oneof![
            "[A-Za-z0-9+/_-]{20,200}".prop_map(|token| (token.clone(), (token.len() * 3).div_ceil(4))),
            ("eyJ[A-Za-z0-9]{9,30}\\.[A-Za-z0-9]{4,60}", "[A-Za-z0-9_-]{20,43}")
                .prop_map(|(signed, signature)| {
                    let token = format!("{signed}.{signature}");
                    let most = (token.len() * 3).div_ceil(4);
                    (token, most.max(signed.len() + 13))
                }),
        ],
        missing in 1usize..40,
        how in 0usize..15,
        before in "[ -~]{0,90}",
        after in prop_oneof![Just(""), Just("..."), Just("\n"), Just("*"), Just("\"}")],
        lengths in lengths(),
    ) {
        let part = &token.as_bytes()[..(token.len() - missing.min(token.len())).max(enough)];
        let echo = match how {
            12 => part.iter().flat_map(|byte| hex(*byte)).collect(),
            13 => STANDARD.encode(part).into_bytes(),
            // In lines, as in mail.
            14 => {
                let lines = STANDARD.encode(part).into_bytes();
                lines.chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..])
            }
            how => part.iter().flat_map(|byte| spell(*byte, how)).collect::<Vec<u8>>(),
        };
        let text = [before.as_bytes(), b" ", &echo, after.as_bytes()].concat();
        let out = masked(&redactor(&token), &text, &lengths);
        // The last bytes depend on what comes next in base64.
        let shown = if how > 12 { 4 } else { 0 };
        let masks = before.len() + 1..text.len() - after.len() - shown;
        prop_assert!(out[masks].iter().all(|byte| matches!(*byte, b'*')), "{} for {}", String::from_utf8_lossy(&out), token);
        prop_assert!(out.starts_with(before.as_bytes()) && out.ends_with(after.as_bytes()));
    }

    /// The search that looks at few places finds what a look at each place finds.
    #[test]
    fn few_looks_find_what_all_find(
        token in prop_oneof!["[ab+]{8,40}", "[A-Za-z0-9+/]{16,80}", "([%&\\\\]{0,6}[ab]){4,8}"],
        parts in proptest::collection::vec((0usize..30, 0usize..90, 0usize..12, 0usize..5), 1..12),
    ) {
        let redactor = redactor(&token);
        let needles = redactor.search.needles();
        let mut text = Vec::new();
        for (from, length, how, needle) in parts {
            let needle = &needles[needle % needles.len()].text;
            let from = from.min(needle.len());
            let to = (from + length).min(needle.len());
            text.extend(needle[from..to].iter().flat_map(|b| spell(*b, how)));
        }
        let found = redactor.search.through(&text, false);
        let (mut open, mut seen) = (text.len(), vec![false; text.len()]);
        for at in 0..text.len() {
            for needle in needles {
                if let Some(end) = needle.follow(0, &text, at).1 {
                    seen[at..end].fill(true);
                }
                match needle.forward(0, &text, at) {
                    Spelt::Whole(end) => seen[at..end].fill(true),
                    Spelt::Open => open = open.min(at),
                    Spelt::Both(end) => {
                        seen[at..end].fill(true);
                        open = open.min(at);
                    }
                    Spelt::No => {}
                }
            }
        }
        let mut marked = vec![false; text.len()];
        for (from, to) in found.whole {
            marked[from..to].fill(true);
        }
        let shown = String::from_utf8_lossy(&text);
        for at in 0..text.len() {
            prop_assert!(marked[at] || !seen[at], "{} of {}: {}", at, token, shown);
        }
        prop_assert!(found.open <= open, "open {} not {} of {}: {}", found.open, open, token, shown);
    }
}

/// What a byte is spelt with may be in the token itself, and is then spelt anew at each level.
#[test]
fn a_token_of_marks_is_masked_at_every_level() {
    for token in ["a\"b\\c%41&d/e+f0123456", "%a%b%c%d%e\\f\\g\\h\\i&j&k&l0123456"] {
        let redactor = redactor(token);
        let json = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let html = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;");
        let mut spelt: Vec<String> = vec![json(token), html(&html(token)), html(token)];
        for how in [1, 2, 3, 5, 7, 8] {
            let bytes: Vec<u8> = token.bytes().flat_map(|byte| spell(byte, how)).collect();
            spelt.push(String::from_utf8(bytes).unwrap());
        }
        for spelt in spelt {
            for lengths in [[usize::MAX], [7], [1]] {
                let out = masked(&redactor, format!("x {spelt} y").as_bytes(), &lengths);
                let wanted = format!("x {} y", "*".repeat(spelt.len()));
                assert_eq!(String::from_utf8_lossy(&out), wanted, "{spelt}");
            }
        }
    }
}

/// Its last characters may be read as themselves, or as the first of what spells them.
#[test]
fn an_end_that_reads_both_ways_is_masked_to_its_end() {
    for token in ["canary-0123456789%25", "canary-0123456789\\\\", "canary-0123456789&amp;"] {
        let redactor = redactor(token);
        let percent: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for written in WRITERS.map(|write| write(token)).into_iter().chain([percent]) {
            for lengths in [1, 2, 3, 7, usize::MAX] {
                let text = format!("x {written} y");
                let out = masked(&redactor, text.as_bytes(), &[lengths]);
                let wanted = format!("x {} y", "*".repeat(written.len()));
                assert_eq!(String::from_utf8_lossy(&out), wanted, "{written}");
            }
        }
    }
}

#[test]
fn what_cannot_be_one_passes_at_once() {
    let redactor = redactor("canary-0123456789abcdef");
    for text in ["data: {\"a\": 1}\n\n", "<p>Done.</p>", "x", "\0\0\0\0\x05hello"] {
        let mut body =
            BodyRedactor::begin(Arc::clone(&redactor), StatusCode::OK, &mut HeaderMap::new())
                .unwrap();
        let mut once = Some(Bytes::from(text));
        let polled = body.poll::<Failed>(&mut Context::from_waker(Waker::noop()), |_| {
            once.take().map_or(Poll::Pending, |text| Poll::Ready(Some(Ok(Frame::data(text)))))
        });
        let Poll::Ready(Some(Ok(frame))) = polled else { panic!("{text} waits") };
        assert_eq!(frame.into_data().unwrap(), text);
    }
}

/// What comes of this piece, if anything does before long.
async fn next(body: &mut BodyRedactor, piece: &'static str) -> Option<Bytes> {
    let mut piece = Some(Bytes::from(piece));
    let polled = std::future::poll_fn(|cx| {
        body.poll::<Failed>(cx, |_| {
            piece.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        })
    });
    let frame = tokio::time::timeout(Duration::from_secs(1), polled).await.ok()?;
    Some(frame.unwrap().unwrap().into_data().unwrap())
}

/// A few bytes that may begin a token go on after a while, and the rest of the token does not.
#[tokio::test(start_paused = true)]
async fn a_beginning_waits_for_a_while_only() {
    let redactor = redactor("canary-0123456789abcdef");
    let mut body =
        BodyRedactor::begin(Arc::clone(&redactor), StatusCode::OK, &mut HeaderMap::new()).unwrap();
    assert_eq!(next(&mut body, "x c").await.unwrap(), "x ");
    assert_eq!(next(&mut body, "").await.unwrap(), "c");
    assert_eq!(next(&mut body, "anary").await, None, "more of it waits");
    assert_eq!(next(&mut body, "-0123456789abcdef c").await.unwrap(), "********************** ");
    assert_eq!(next(&mut body, "olour").await.unwrap(), "colour");
}

pub(in crate::masking) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::masking) fn best(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::masking) fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::masking) fn raw_deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::masking) fn br(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut &text[..], &mut out, &Default::default()).unwrap();
    out
}

pub(in crate::masking) fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

pub(in crate::masking) type Encoder = fn(&[u8]) -> Vec<u8>;
pub(in crate::masking) const ENCODERS: &[(&str, Encoder)] = &[
    ("gzip", gzip),
    ("X-GZip", gzip),
    ("deflate", zlib),
    ("deflate", raw_deflate),
    ("br", br),
    ("zstd", zstd),
];

pub(in crate::masking) fn encoded(names: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in names {
        headers.append("content-encoding", HeaderValue::from_str(name).unwrap());
    }
    headers.insert("content-length", HeaderValue::from_static("7"));
    headers.insert("etag", HeaderValue::from_static("\"strong\""));
    headers.insert("accept-ranges", HeaderValue::from_static("bytes"));
    headers.insert("repr-digest", HeaderValue::from_static("sha-256=:x:"));
    headers
}

#[test]
fn every_coding_comes_off_in_any_pieces() {
    let redactor = redactor("canary-0123456789abcdef");
    // A word in it, near enough to its beginning.
    let plain = "before canary-0123456789abcdef after ".repeat(5_000);
    let wanted = plain.replace("canary-0123456789abcdef", "***********************");
    for (name, encode) in ENCODERS {
        for lengths in [&[usize::MAX][..], &[1], &[3, 1000, 70_000]] {
            let mut headers = encoded(&[name]);
            let body = pieces(&encode(plain.as_bytes()), lengths);
            let out = through(&redactor, &mut headers, body).unwrap();
            assert!(out == wanted.as_bytes(), "{name} in {lengths:?}");
            assert!(headers.is_empty(), "{headers:?}");
        }
        for (other, encode_again) in ENCODERS {
            let body = encode_again(&encode(plain.as_bytes()));
            let mut headers = encoded(&[name, other]);
            let out = through(&redactor, &mut headers, pieces(&body, &[999])).unwrap();
            assert!(out == wanted.as_bytes(), "{other} over {name}");
        }
        // A body without a byte is as good as none.
        assert_eq!(through(&redactor, &mut encoded(&[name]), vec![]).unwrap(), b"");
    }
    let two_members = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(
        through(&redactor, &mut encoded(&["gzip"]), pieces(&two_members, &[5])).unwrap(),
        two_members
    );
    let two_frames =
        [zstd(b"one "), b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(b"two")].concat();
    assert_eq!(
        through(&redactor, &mut encoded(&["zstd"]), pieces(&two_frames, &[5])).unwrap(),
        two_frames
    );
}

#[test]
fn what_is_not_in_its_coding_is_an_error() {
    let redactor = redactor("canary-0123456789abcdef");
    let text = "some text that goes on, and on, and on".repeat(100);
    for (name, encode) in ENCODERS {
        let body = encode(text.as_bytes());
        for end in [1, 5, body.len() / 2, body.len() - 1] {
            let cut = pieces(&body[..end], &[7]);
            assert!(through(&redactor, &mut encoded(&[name]), cut).is_err(), "{name} to {end}");
        }
        // Behind the end of deflate, which is soon in a text, nothing is wrong.
        for bad in [text.clone().replace('s', "\x07").into_bytes(), vec![0xff; 50]] {
            // What has a beginning of its own is missed there, and passes as it is.
            let plain = ["gzip", "X-GZip", "zstd"].contains(name);
            let out = through(&redactor, &mut encoded(&[name]), pieces(&bad, &[11]));
            assert_eq!(out.ok(), plain.then_some(bad), "{name}");
        }
    }
    for name in ["compress", "gzip, exi", "br,,x y", "gzip,gzip,gzip,gzip,gzip"] {
        assert!(through(&redactor, &mut encoded(&[name]), vec![]).is_err(), "{name}");
    }
    let mut headers = encoded(&["gzip"]);
    let begin = |status, headers: &mut HeaderMap| {
        BodyRedactor::begin(Arc::clone(&redactor), status, headers).map(|_| ())
    };
    assert_eq!(begin(StatusCode::PARTIAL_CONTENT, &mut headers), Err(Unsearchable));
    headers.remove("content-encoding");
    assert_eq!(begin(StatusCode::PARTIAL_CONTENT, &mut headers), Ok(()));
    assert_eq!(headers.len(), 4, "what is passed on as it is keeps its fields");
    headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(begin(StatusCode::OK, &mut headers), Err(Unsearchable));
}

#[test]
fn bombs_end_early() {
    let redactor = redactor("canary-0123456789abcdef");
    let zeros = vec![0; 64 * 1024 * 1024];
    let gzip = best(&zeros);
    assert!(through(&redactor, &mut encoded(&["gzip"]), pieces(&gzip, &[4096])).is_err());
    let twice = best(&gzip);
    assert!(through(&redactor, &mut encoded(&["gzip, gzip"]), pieces(&twice, &[4096])).is_err());
    // A window of 16 MiB.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3, 1, 0, 0];
    assert!(through(&redactor, &mut encoded(&["zstd"]), pieces(&frame, &[99])).is_err());
}

/// Members without a byte cost what they cost, and 200 bytes can be millions of them.
#[test]
fn empty_members_are_a_bomb_as_well() {
    let redactor = redactor("canary-0123456789abcdef");
    let members = |count: usize| gzip(b"").repeat(count);
    let (mut three, mut twice) = (encoded(&["gzip, gzip, gzip"]), encoded(&["gzip, gzip"]));
    let bomb = best(&best(&members(400_000)));
    assert!(bomb.len() < 1000, "{}", bomb.len());
    assert!(through(&redactor, &mut three, pieces(&bomb, &[4096])).is_err());
    assert!(through(&redactor, &mut twice, pieces(&best(&members(200_000)), &[4096])).is_err());
    // As many as there are, with what is in them.
    let text = [members(20_000), gzip(b"all of it")].concat();
    let out = through(&redactor, &mut encoded(&["gzip"]), pieces(&text, &[65_536])).unwrap();
    assert_eq!(out, text);
    let blocks = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0].repeat(20_000);
    assert!(
        through(&redactor, &mut encoded(&["zstd, gzip"]), pieces(&best(&blocks), &[99])).is_err()
    );
}

/// The library's own format has windows of 1 GiB.
#[test]
fn br_has_windows_of_16_mib_at_most() {
    let redactor = redactor("canary-0123456789abcdef");
    let large = [0x11, 0x1c, 0, 0, 0, 0, 0];
    let out = through(&redactor, &mut encoded(&["br"]), pieces(&large, &[99]));
    assert_eq!(out, Err(Failed(Some(DecodeError::Invalid))));
}

#[test]
fn the_upstream_is_asked_for_what_can_be_searched() {
    let asked = |fields: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        ask(&mut headers);
        headers.get("accept-encoding").map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(asked(&[]), None);
    let narrowed = asked(&[("accept-encoding", "gzip;q=0.8, deflate, br, zstd, x, *;q=0.1")]);
    assert_eq!(narrowed.unwrap(), "gzip;q=0.8, deflate, br");
    assert_eq!(
        asked(&[("accept-encoding", "zstd"), ("accept-encoding", "*")]).unwrap(),
        "identity"
    );
    assert_eq!(asked(&[("accept-encoding", "gzip"), ("range", "bytes=0-1")]).unwrap(), "identity");
    assert_eq!(asked(&[("range", "bytes=0-1")]).unwrap(), "identity");
}

/// A frame of a server.
fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![flags];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    [&frame[..], payload].concat()
}

/// What may be the beginning of a token holds up no ping for ever, and no number of frames waits
/// behind it.
#[test]
fn control_frames_wait_for_a_while() {
    let redactor = redactor("canary-0123456789abcdef");
    let begun = frame(0x01, b"x canary-012");
    let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
    let mut out = switched.pass(begun.clone().into()).to_vec();
    assert_eq!(out, b"\x01\x0cx ");
    assert_eq!(switched.patience(), None);
    assert!(switched.pass(frame(0x89, b"a").into()).is_empty());
    assert_eq!(switched.patience(), Some(Duration::from_secs(1)));
    out.extend(switched.release());
    assert_eq!(out, [&begun[..], &frame(0x89, b"a")].concat());
    out.extend(switched.pass(frame(0x80, b"3456789abcdef.").into()));
    assert!(out.ends_with(&frame(0x80, b"*************.")), "{}", String::from_utf8_lossy(&out));

    for sent in [frame(0x89, b"a"), frame(0x00, b"")] {
        let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
        let mut out = switched.pass(begun.clone().into()).to_vec();
        for _ in 0..200 {
            out.extend(switched.pass(sent.clone().into()));
        }
        assert_eq!(out, [&begun[..], &sent.repeat(200)].concat());
    }
}

#[test]
fn web_socket_frames_hide_nothing() {
    let redactor = redactor("canary-0123456789abcdef");
    let long = "y".repeat(300);
    let parts = |first: &str, ping: &str, second: &str| {
        [
            frame(0x01, first.as_bytes()),
            frame(0x89, ping.as_bytes()),
            frame(0x80, second.as_bytes()),
            frame(0x82, long.as_bytes()),
            frame(0x81, b""),
        ]
        .concat()
    };
    let sent = parts("x canary-0123", "canary-0123456789abcdef", "456789abcdef y");
    let wanted = parts("x ***********", "***********************", "************ y");
    for length in 1..sent.len() {
        let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
        let mut out = Vec::new();
        for piece in pieces(&sent, &[length]) {
            out.extend(switched.pass(piece));
        }
        out.extend(switched.end());
        assert!(out == wanted, "in pieces of {length}");
    }
    let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
    let message = Bytes::from(frame(0x81, b"hello"));
    assert_eq!(switched.pass(message.clone()), message, "at once");
    for length in 1..9 {
        let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
        let mut out: Vec<u8> = pieces(b"canary-0123456789abcdef", &[length])
            .into_iter()
            .flat_map(|piece| switched.pass(piece))
            .collect();
        out.extend(switched.end());
        assert_eq!(out, [MASK; 23], "no frame at all, in pieces of {length}");
    }
    let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
    assert_eq!(switched.pass(Bytes::from_static(&[0x81])), "");
    assert_eq!(switched.end(), &[0x81][..], "a head that breaks off");
    // What are no frames are bytes.
    for bad in [&[0xc1, 0][..], &[0x81, 0x80], &[0x89, 126], b"raw"] {
        let mut switched = SwitchedRedactor::new(Arc::clone(&redactor), "websocket");
        let sent = [bad, b"x canary-0123456789abcdef"].concat();
        let out: Vec<u8> = pieces(&sent, &[1]).into_iter().flat_map(|p| switched.pass(p)).collect();
        assert_eq!(out, [bad, b"x ***********************"].concat());
    }
    let mut raw = SwitchedRedactor::new(redactor, "other");
    assert_eq!(raw.pass(Bytes::from("x canary-0123456789abcdef")), "x ***********************");
}

#[test]
fn lines_of_base64_in_pieces_of_a_line() {
    let token = "canary-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789";
    for (length, line_end) in
        [(76, "\n"), (76, "\r\n"), (64, "\\n"), (76, "%0A"), (64, "&#10;"), (76, "\\u000a")]
    {
        for before in 0..80 {
            let encoded =
                STANDARD.encode(format!("{}{token}, and so on and on", ".".repeat(before)));
            let lines: Vec<&str> = encoded
                .as_bytes()
                .chunks(length)
                .map(|l| std::str::from_utf8(l).unwrap())
                .collect();
            let text = lines.join(line_end);
            let whole = masked(&redactor(token), text.as_bytes(), &[usize::MAX]);
            for cut in [length + line_end.len(), 1, 7] {
                let out = masked(&redactor(token), text.as_bytes(), &[cut]);
                let left = |out: &[u8]| out.iter().filter(|b| **b != MASK).count();
                assert_eq!(
                    left(&out),
                    left(&whole),
                    "{before} {cut} {line_end:?}: {}",
                    String::from_utf8_lossy(&out)
                );
            }
        }
    }
}

#[test]
fn escapes_in_a_token_that_are_escaped() {
    let tokens = [
        "TbihZ%2F8wSGipgEjXuIAtr2B%2Behesvh9JWiDc44tDpDs%3D",
        "x%2By%2Fz-0123456789%3D%3D",
        "p%41ss-0123456789;x",
    ];
    for (token, before) in
        tokens.iter().flat_map(|token| (0..50).map(move |before| (token, before)))
    {
        let mut echoed = (*token).to_owned();
        for level in 0..=3 {
            let text = format!("{} {echoed} and so on, and on, and on", ".".repeat(before));
            for cut in [usize::MAX, 9] {
                let out = masked(&redactor(token), text.as_bytes(), &[cut]);
                assert!(
                    !holds(&out, &echoed),
                    "{level} {before}: {}",
                    String::from_utf8_lossy(&out)
                );
            }
            echoed = percent_encoding::percent_encode(
                echoed.as_bytes(),
                percent_encoding::NON_ALPHANUMERIC,
            )
            .to_string();
        }
    }
}
/// A fuzzer found it: `%252` is `%2` of the token, and `%25` of more of it.
#[test]
fn what_is_cut_short_in_two_readings_is_masked_to_the_further_end() {
    let part = format!("{}%2562%2", "ab".repeat(20));
    let (token, echo) = (format!("{part}532%254"), part.replace('%', "%25"));
    let out = masked(&redactor(&token), format!("{echo} ").as_bytes(), &[usize::MAX]);
    assert_eq!(String::from_utf8_lossy(&out), format!("{} ", "*".repeat(echo.len())));
}

/// Wherever the token and its lines begin.
#[test]
fn lines_of_50_characters_are_masked() {
    let token: String = (0..400usize).map(|n| char::from(b'!' + (n * n * 7 % 89) as u8)).collect();
    let redactor = redactor(&token);
    for before in (0..38).step_by(2) {
        for start in (0..50).step_by(3) {
            let text = STANDARD.encode(format!("{}{token}", ".".repeat(before)));
            let lines = text.as_bytes().chunks(50).collect::<Vec<_>>().join(&b'\n');
            let text = [&vec![b' '; start][..], &lines].concat();
            let out = masked(&redactor, &text, &[usize::MAX]);
            let shown = out.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
            assert!(
                shown < before * 4 / 3 + 12,
                "{before} {start}: {}",
                String::from_utf8_lossy(&out)
            );
        }
    }
}

/// Of one issuer, with white space in its header or a prefix before it.
#[test]
fn another_jwt_of_the_issuer_passes() {
    for header in
        ["eyJhbGciOiJIUzI1NiJ9", "ewogICJhbGciIDogIkhTMjU2Igp9", "prefix_eyJhbGciOiJIUzI1NiJ9"]
    {
        let shared = format!("{header}.{}", "eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxl".repeat(6));
        let token = format!("{shared}MX0.{}", "a1B2c3D4e5".repeat(4));
        let other = format!("{shared}Mn0.{}", "f6G7h8I9j0".repeat(4));
        let text = format!("{{\"refreshed\": \"{other}\", \"was\": \"{token}\"}}");
        let wanted = text.replace(&token, &"*".repeat(token.len()));
        let out = masked(&redactor(&token), text.as_bytes(), &[usize::MAX]);
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }
}

/// Found by a fuzzer: 40 s in a release build for 1.5 KB, where marks in a row were read in all
/// ways from each place.
#[test]
fn marks_in_a_row_are_read_in_time() {
    for times in [1, 5] {
        let token = format!("carn{}0123", "\\".repeat(16)).repeat(times);
        let twice = token.replace('\\', "\\\\\\\\");
        let text = format!("{twice} {twice} {twice}");
        let out = masked(&redactor(&token), text.as_bytes(), &[usize::MAX]);
        assert!(
            out.iter().all(|byte| matches!(byte, b'*' | b' ')),
            "{}",
            String::from_utf8_lossy(&out)
        );
    }
}
