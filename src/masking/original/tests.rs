//! Tests of coded bodies that pass as they came: to the byte where no word is in them, and where one
//! is, nothing of it, however it stands in the coding.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use proptest::prelude::*;

use super::super::body::tests::*;
use super::super::coding::{Codings, Pulled};
use super::super::*;

const TOKEN: &str = "canary-0123456789abcdef";

/// Text that no coding makes much shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz.,:;!?()[]{}<>=+*#@$^~|_"[(state % 64) as usize]
    };
    (0..length).map(|_| byte()).collect()
}

/// All that anybody may make of the beginning of a coded body.
fn decoded(name: &str, body: &[u8]) -> Vec<u8> {
    let mut codings = Codings::of(&encoded(&[name])).unwrap().unwrap();
    let mut out = Vec::new();
    for piece in pieces(body, &[usize::MAX]) {
        codings.push(piece);
        loop {
            match codings.pull() {
                Ok(Pulled::Piece(piece)) => out.extend(piece),
                Ok(Pulled::Tired) => {}
                Ok(Pulled::All) | Err(_) => break,
            }
        }
    }
    out
}

/// A frame of zstd with a text of less than 256 bytes as it is, and its check sum.
fn zstd_checked(text: &[u8], sum: &[u8]) -> Vec<u8> {
    let size = text.len() as u8;
    let block = (u32::from(size) << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x24, size][..], &block[..3], text, sum].concat()
}

#[test]
fn what_holds_none_passes_as_it_came() {
    let redactor = redactor(TOKEN);
    let long = [noise(140_000), b"the same again ".repeat(10_000)].concat();
    for plain in [&b""[..], b"short", &long] {
        for (name, encode) in ENCODERS {
            let body = encode(plain);
            for lengths in [&[usize::MAX][..], &[3, 1000, 70_000]] {
                let mut headers = encoded(&[name]);
                let out = through(&redactor, &mut headers, pieces(&body, lengths));
                assert!(out.as_deref() == Ok(&body[..]), "{name} in {lengths:?}: {out:?}");
                assert_eq!(headers, encoded(&[name]));
            }
            for (other, encode_again) in ENCODERS {
                let (body, mut headers) = (encode_again(&body), encoded(&[name, other]));
                let out = through(&redactor, &mut headers, pieces(&body, &[9_999])).unwrap();
                // zstd below another coding gives all of its text late: it comes decoded.
                assert!(out == body || (*other == "zstd" && out == plain), "{other} over {name}");
            }
        }
    }
}

/// More than may wait passes where it may, however late the decoder tells of it and however long a
/// piece is.
#[test]
fn long_windows_and_long_pieces_pass() {
    let redactor = redactor(TOKEN);
    let text = noise(2_500_000);
    for (name, body) in [("zstd", zstd(&text)), ("gzip", gzip(&text))] {
        assert!(body.len() > 1_500_000);
        for lengths in [[usize::MAX], [16_384]] {
            let out = through(&redactor, &mut encoded(&[name]), pieces(&body, &lengths));
            assert!(out.as_deref() == Ok(&body[..]), "{name} in {lengths:?}");
        }
    }
}

/// Content that is whole is whole, whatever follows and whether a check sum does.
#[test]
fn what_is_whole_ends_well() {
    let redactor = redactor(TOKEN);
    let text = b"some text that goes on, and on, and on".repeat(100);
    let passes = |name: &str, body: &[u8]| {
        for lengths in [[usize::MAX], [1], [7]] {
            let out = through(&redactor, &mut encoded(&[name]), pieces(body, &lengths));
            assert!(out.as_deref() == Ok(body), "{name} in {lengths:?}: {out:?}");
        }
    };
    let fails = |name: &str, body: &[u8]| {
        let out = through(&redactor, &mut encoded(&[name]), pieces(body, &[7]));
        assert!(out.is_err(), "{name}");
    };
    for (name, encode) in ENCODERS {
        let body = encode(&text);
        let nothing_more =
            [&b"more"[..], &[0; 600], b"\r\n", &[0x1f], &[0x1f, 0x8b], &[0x28, 0xb5]];
        for behind in nothing_more {
            passes(name, &[&body[..], behind].concat());
        }
        let over = [&gzip(&[&body[..], b"inside"].concat())[..], b"outside"].concat();
        passes(&format!("{name}, gzip"), &over);
    }
    for (name, body, sum) in [
        ("gzip", gzip(&text), 8),
        ("deflate", zlib(&text), 4),
        ("zstd", zstd_checked(b"abc", &[0x99, 0x09, 0x77, 0xad]), 4),
    ] {
        let content = body.len() - sum;
        passes(name, &body);
        passes(name, &body[..content]);
        (1..sum).for_each(|part| fails(name, &body[..content + part]));
        fails(name, &[&body[..content], &vec![0x55; sum]].concat());
        fails(name, &body[..content - 1]);
    }
    let member = gzip(b"another");
    passes("gzip", &[&gzip(&text)[..], &[0; 512], &member].concat());
    fails("gzip", &[&gzip(&text)[..], &member[..15]].concat());
    // A frame of an older zstd, which some clients read and nobody here.
    fails("zstd", &[&zstd(&text)[..], &[0x27, 0xb5, 0x2f, 0xfd, 0, 0]].concat());
}

/// What is named a coding and begins like nothing that any client takes off: a server's error of a
/// stored file, for one. It passes as it is, and a word in it is masked where it stands.
#[test]
fn what_is_in_no_coding_passes_as_it_is() {
    let redactor = redactor(TOKEN);
    let text = b"invalid range: failed to overlap\n".repeat(30);
    let told = [&text[..], TOKEN.as_bytes(), b" of the token\n"].concat();
    let masked = [&text[..], &b"*".repeat(TOKEN.len()), b" of the token\n"].concat();
    for name in ["gzip", "x-gzip", "zstd"] {
        for lengths in [[usize::MAX], [1], [7]] {
            let mut headers = encoded(&[name]);
            let out = through(&redactor, &mut headers, pieces(&text, &lengths));
            assert_eq!(out.as_deref(), Ok(&text[..]), "{name} in {lengths:?}");
            assert_eq!(headers, encoded(&[name]));
            let out = through(&redactor, &mut headers, pieces(&told, &lengths));
            assert_eq!(out.as_deref(), Ok(&masked[..]), "{name} in {lengths:?}");
            assert!(!headers.contains_key("content-encoding"), "{name}");
        }
        // Inside another coding, too.
        let (body, mut headers) = (gzip(&text), encoded(&[name, "gzip"]));
        let out = through(&redactor, &mut headers, pieces(&body, &[9])).unwrap();
        assert!(out == body || (name == "zstd" && out == text), "{name}");
    }
    // What some client may read in another way, or as far as it goes.
    for (name, body) in [
        ("gzip", zlib(&text)),
        ("gzip", [&[0x1f, 0x9d][..], &text].concat()),
        ("gzip", [&[0x1f, 0x8b, 7][..], &text].concat()),
        ("zstd", [&[0x27, 0xb5, 0x2f, 0xfd][..], &text].concat()),
        ("zstd", [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0][..], &text].concat()),
        ("deflate", text.clone()),
        ("br", text.clone()),
    ] {
        for lengths in [[usize::MAX], [1]] {
            let out = through(&redactor, &mut encoded(&[name]), pieces(&body, &lengths));
            assert!(out.is_err(), "{name} {:?}", &body[..3]);
        }
    }
}

/// Where no decoder of text looks, and some other reader may.
#[test]
fn no_hiding_place_passes() {
    let redactor = redactor(TOKEN);
    let named = |name: &str| {
        let mut head = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0xff];
        head.extend([name.as_bytes(), &[0]].concat());
        [&head[..], &gzip(b"text")[10..]].concat()
    };
    let told = named(TOKEN);
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 23, 0, 0, 0][..], TOKEN.as_bytes()].concat();
    let hidden = gzip(TOKEN.as_bytes());
    // With a head of deflate one text, and without one another.
    let stored = [0x78, 0x01, 0x00, 0xfe, 0xff, 0x01, 0x00];
    let twice = [&stored[..], &noise(0xfffe), &[0x03, 0x00]].concat();
    for (name, body) in [
        ("gzip", told.clone()),
        ("gzip, gzip", gzip(&told)),
        ("gzip", [&gzip(b"text")[..], TOKEN.as_bytes()].concat()),
        ("gzip", [&gzip(b"text")[..], &hidden].concat()),
        ("gzip", [&gzip(b"text")[..], &[0; 512], &hidden].concat()),
        ("gzip", [gzip(b"text canary-01"), gzip(b"23456789abcdef")].concat()),
        ("br", [&br(b"text")[..], TOKEN.as_bytes()].concat()),
        ("br, gzip", gzip(&[&br(b"text")[..], TOKEN.as_bytes()].concat())),
        ("zstd", [&zstd(b"text")[..], &skipped].concat()),
        ("zstd", [zstd(b"text canary-01"), zstd(b"23456789abcdef")].concat()),
        ("deflate", [&zlib(b"text")[..], TOKEN.as_bytes()].concat()),
        ("aws-chunked, gzip", gzip(TOKEN.as_bytes())),
        ("deflate", twice),
    ] {
        for lengths in [[usize::MAX], [1], [5]] {
            let mut headers = encoded(&[name]);
            let (out, _) = as_far_as_it_goes(&redactor, &mut headers, pieces(&body, &lengths));
            assert!(!headers.contains_key("content-encoding"), "{name} passes as it came");
            assert!(memchr::memmem::find(&out, TOKEN.as_bytes()).is_none(), "{name}");
        }
        // Behind as much as is looked at before the head goes.
        let far = [gzip(&noise(200_000)), body].concat();
        let mut headers = encoded(&["gzip"]);
        let (out, failed) = as_far_as_it_goes(&redactor, &mut headers, pieces(&far, &[16_384]));
        if name == "gzip" {
            assert_eq!(failed, Some(Failed(Some(DecodeError::Told))), "{name}");
            assert!(out.len() > 64 * 1024 && far.starts_with(&out), "{name}");
        }
    }
}

/// Names that are no coding change nothing, beside one that is, too.
#[test]
fn what_is_no_coding_is_none() {
    let redactor = redactor(TOKEN);
    for name in ["aws-chunked", "UTF-8", "none", "binary", "8bit", "x", "identity, utf-8"] {
        let text = format!("before {TOKEN} after");
        let mut headers = encoded(&[name]);
        let out = through(&redactor, &mut headers, pieces(text.as_bytes(), &[5])).unwrap();
        assert_eq!(out, text.replace(TOKEN, &"*".repeat(TOKEN.len())).as_bytes(), "{name}");
        assert_eq!(headers, encoded(&[name]));
        for names in [format!("{name}, gzip"), format!("gzip, {name}")] {
            let (body, mut headers) = (gzip(b"some text"), encoded(&[&names]));
            assert_eq!(through(&redactor, &mut headers, pieces(&body, &[5])).unwrap(), body);
            let body = gzip(text.as_bytes());
            let out = through(&redactor, &mut headers, pieces(&body, &[5])).unwrap();
            assert!(memchr::memmem::find(&out, TOKEN.as_bytes()).is_none() && out != body);
        }
    }
}

/// Bytes that decode to nothing wait behind what may begin a word, and not without end.
#[test]
fn what_waits_is_bounded() {
    let redactor = redactor(TOKEN);
    let mut body = raw_deflate_open(b"text canary-012345");
    body.extend([0, 0, 0, 0xff, 0xff].repeat(800_000));
    let out = through(&redactor, &mut encoded(&["deflate"]), pieces(&body, &[16_384]));
    assert_eq!(out, Err(Failed(Some(DecodeError::TooMuch))));
    // Where nothing waits they pass.
    let mut body = raw_deflate_open(b"text.");
    body.extend([0, 0, 0, 0xff, 0xff].repeat(800_000));
    body.extend([3, 0]);
    let out = through(&redactor, &mut encoded(&["deflate"]), pieces(&body, &[16_384]));
    assert!(out.as_deref() == Ok(&body[..]));
}

/// A block that is stored, and not the last.
fn raw_deflate_open(text: &[u8]) -> Vec<u8> {
    let length = text.len() as u16;
    [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
}

/// What was flushed passes as soon as it is there.
#[test]
fn what_was_flushed_passes_at_once() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut headers = encoded(&["gzip"]);
    let mut body = BodyRedactor::begin(redactor(TOKEN), StatusCode::OK, &mut headers).unwrap();
    for at in 0..50 {
        encoder.write_all(format!("{{\"line\": {at}}}\n").as_bytes()).unwrap();
        encoder.flush().unwrap();
        let sent = Bytes::from(std::mem::take(encoder.get_mut()));
        let mut once = Some(sent.clone());
        let polled = body.poll::<Failed>(&mut Context::from_waker(Waker::noop()), |_| {
            once.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        });
        let Poll::Ready(Some(Ok(frame))) = polled else { panic!("{at} waits") };
        assert_eq!(frame.into_data().unwrap(), sent);
    }
}

/// Events are masked where they stand, and go on.
#[test]
fn events_come_decoded() {
    let text = [noise(200_000), format!("data: {TOKEN}\n\ndata: more\n\n").into_bytes()].concat();
    let mut headers = encoded(&["gzip"]);
    headers.remove("content-length");
    headers.insert("content-type", HeaderValue::from_static("Text/Event-Stream; charset=utf-8"));
    let out = through(&redactor(TOKEN), &mut headers, pieces(&gzip(&text), &[16_384])).unwrap();
    assert!(out.len() == text.len() && out.ends_with(b"data: more\n\n"));
    assert!(memchr::memmem::find(&out, TOKEN.as_bytes()).is_none());
    assert!(!headers.contains_key("content-encoding") && !headers.contains_key("repr-digest"));
}

proptest! {
    // Debug builds are slow.
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A word far in: what came before it is as it was, and nothing of the word can be read from it.
    #[test]
    fn nothing_of_a_word_passes(
        at in 0_usize..150_000,
        way in 0..ENCODERS.len(),
        lengths in proptest::collection::vec(1_usize..40_000, 1..5),
        last in any::<bool>(),
    ) {
        let (name, encode) = ENCODERS[way];
        let mut text = noise(150_000);
        let at = if last { text.len() } else { at };
        text.splice(at..at, TOKEN.bytes());
        let body = encode(&text);
        let mut headers = encoded(&[name]);
        let cut = pieces(&body, &lengths);
        let (out, failed) = as_far_as_it_goes(&redactor(TOKEN), &mut headers, cut);
        if headers.contains_key("content-encoding") {
            prop_assert_eq!(failed, Some(Failed(Some(DecodeError::Told))));
            prop_assert!(body.starts_with(&out));
            let told = decoded(name, &out);
            prop_assert!(told.len() <= at + 6, "{} of {}", told.len(), at);
        } else {
            prop_assert_eq!(failed, None);
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(memchr::memmem::find(&out, TOKEN.as_bytes()).is_none());
        }
    }
}
