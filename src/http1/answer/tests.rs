use super::*;
use proptest::prelude::*;

/// Reads a head that comes in pieces of so many bytes: the first error ends it, as on the wire.
fn in_pieces(text: &[u8], piece: usize) -> Result<Option<(AnswerHead, Vec<u8>)>, AnswerHeadError> {
    let (mut input, mut seen) = (BytesMut::new(), 0);
    for (at, part) in text.chunks(piece).enumerate() {
        input.extend_from_slice(part);
        if let Some(head) = take(&mut input, &mut seen)? {
            input.extend_from_slice(&text[text.len().min((at + 1) * piece)..]);
            return Ok(Some((head, input.to_vec())));
        }
    }
    Ok(None)
}

fn taken(text: &str) -> Result<Option<(AnswerHead, Vec<u8>)>, AnswerHeadError> {
    let whole = in_pieces(text.as_bytes(), text.len());
    for piece in [1, 2, 7] {
        let other = in_pieces(text.as_bytes(), piece);
        let seen = |taken: &Result<Option<(AnswerHead, Vec<u8>)>, AnswerHeadError>| {
            let taken = taken.as_ref();
            taken
                .map(|taken| {
                    taken.as_ref().map(|(head, rest)| (head.headers.clone(), rest.clone()))
                })
                .map_err(ToString::to_string)
        };
        assert_eq!(seen(&whole).is_ok(), seen(&other).is_ok(), "{text:?} in pieces of {piece}");
        if whole.is_ok() {
            assert_eq!(seen(&whole), seen(&other), "{text:?} in pieces of {piece}");
        }
    }
    whole
}

/// Status, framing, whether it closes; then its fields.
type Said = (u16, Framing, bool, Vec<(String, String)>);

fn read(text: &str) -> Option<Said> {
    let (head, _) = taken(text).ok()??;
    let fields = head.headers.iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Some((head.status.as_u16(), head.framing, head.close, fields.collect()))
}

fn error(text: &str) -> String {
    taken(text).map(|taken| taken.is_some()).unwrap_err().to_string()
}

#[test]
fn as_the_standard_has_them() {
    assert_eq!(read("HTTP/1.1 200 OK\r\n\r\n"), Some((200, Framing::Close, false, vec![])));
    let (status, framing, close, _) = read("HTTP/1.1 200\r\ncontent-length: 3\r\n\r\n").unwrap();
    assert_eq!((status, framing, close), (200, Framing::Length(3), false));
    let closing = "HTTP/1.1 404 N\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let (status, framing, close, _) = read(closing).unwrap();
    assert_eq!((status, framing, close), (404, Framing::Chunked, true));
}

#[test]
fn what_every_client_takes_alike_is_read() {
    let fields = |text: &str| {
        let (_, framing, _, fields) = read(text).unwrap_or_else(|| panic!("{text:?}"));
        (framing, fields)
    };
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let lines = "HTTP/1.1 200 OK\nA: b\nContent-Length: 4\n\n\r\n\r\n";
    let expected = (Framing::Length(4), vec![field("a", "b"), field("content-length", "4")]);
    assert_eq!(fields(lines), expected);
    // What is behind such an end is the body, though it holds an end of another kind.
    assert_eq!(taken(lines).unwrap().unwrap().1, b"\r\n\r\n");
    for text in [
        "HTTP/1.1 200 OK\r\nA: b\r\n  c\r\n\td\r\nE: f\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n  c\n\td\nE: f\n\n",
    ] {
        assert_eq!(fields(text).1, [field("a", "b c d"), field("e", "f")]);
    }
    assert_eq!(fields("HTTP/1.1 200 OK\r\nA : b\r\n\r\n").1, [field("a", "b")]);
    for lines in [
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 003\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
    ] {
        let (framing, fields) = fields(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        assert_eq!(framing, Framing::Length(3), "{lines:?}");
        // What is passed on says it once: an answer to HEAD has these fields and no body.
        let lengths = fields.iter().filter(|(name, _)| name == "content-length");
        assert_eq!(lengths.map(|(_, value)| &**value).collect::<Vec<_>>(), ["3"], "{lines:?}");
    }
}

#[test]
fn two_readings_are_refused_by_name_and_at_once() {
    for (text, said) in [
        ("SMTP ready\r\n", "does not begin"),
        ("HTTP/2 200 OK\r\n", "does not begin"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "does not begin"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "status line"),
        ("HTTP/1.1 099 OK\r\n\r\n", "status line"),
        ("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n", "`a` ends otherwise"),
        ("HTTP/1.1 200 OK\nA: b\r\n", "`a` ends otherwise"),
        ("HTTP/1.1 200 OK\n\r\n", "first line behind the status line ends otherwise"),
        ("HTTP/1.1 200 OK\r\nA: b\rC: d", "first line behind the status line ends otherwise"),
        ("HTTP/1.1 200 OK\rA: b", "first line behind the status line ends otherwise"),
        ("HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n", "first line behind"),
        ("HTTP/1.1 200 OK\r\nX-Odd: b\r\nA\0: b\r\n\r\n", "behind the field `x-odd`"),
        ("HTTP/1.1 200 OK\r\nX-Odd: \0\r\n\r\n", "the field `x-odd`"),
        ("HTTP/1.1 200 OK\r\nX-Odd: a\r\nnonsense\r\n\r\n", "behind the field `x-odd`"),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "first line behind"),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", "first line behind"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", "`content-length`"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3,4\r\n\r\n", "`content-length`"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3,\r\n\r\n", "`content-length`"),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n 3\r\n\r\n", "`content-length`"),
        ("HTTP/1.1 200 OK\r\ncontent-length : 3\r\n\r\n", "`content-length`"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "`content-length`"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n", "`content-length`"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "`transfer-encoding`",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            "`content-length`",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "`transfer-encoding`",
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n", "`transfer-encoding`"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "`transfer-encoding`"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "`transfer-encoding`"),
    ] {
        assert!(error(text).contains(said), "{text:?}: {}", error(text));
    }
    let many: String = (0..=MAX_ANSWER_FIELDS).map(|n| format!("x-{n}: y\r\n")).collect();
    assert!(error(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).contains("more than"));
    let long = "a".repeat(MAX_ANSWER_HEAD);
    assert!(error(&format!("HTTP/1.1 200 OK\r\nA: {long}")).contains("more than"));
}

/// A line that is a token by mistake has a name that no field has.
#[test]
fn a_name_that_may_be_a_token_is_not_said() {
    let long = "a-name-without-digits-of-forty-bytes-aaa";
    let over = format!("{long}a");
    assert_eq!(long.len(), 40);
    for (name, shown) in [
        ("x-ratelimit-limit-24", true),
        ("x-ratelimit-limit-24h", false),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", false),
        (long, true),
        (&over, false),
    ] {
        for (line, place) in
            [(": \0", "the field "), (": x\r\nnonsense", "the line behind the field ")]
        {
            let said = error(&format!("HTTP/1.1 200 OK\r\n{name}{line}\r\n\r\n"));
            assert_eq!(said.contains(&format!("{place}`{name}`")), shown, "{said}");
            assert_eq!(said.contains("a field with a long name"), !shown, "{said}");
            assert!(shown || !said.to_lowercase().contains(&name.to_lowercase()), "{said}");
        }
    }
}

#[test]
fn what_is_not_whole_is_waited_for() {
    for text in
        ["HTT", "HTTP/1.1 200 OK\r", "HTTP/1.1 200 OK\r\nA: b\r\n\r", "HTTP/1.1 200 OK\nA: b\n"]
    {
        assert!(taken(text).unwrap().is_none(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
        let _ = in_pieces(&bytes, piece);
        for end in [&b"\r\n\r\n"[..], b"\n\n"] {
            let _ = in_pieces(&[b"HTTP/1.1 200 OK\r\n", &bytes[..], end].concat(), piece);
        }
    }

    /// Whatever is taken from lines of all kinds, what is written anew from it is read the same.
    #[test]
    fn what_is_taken_has_one_reading(
        lines in proptest::collection::vec("[A-Z-]{1,9} {0,1}:[ a-z,0-9]{0,9}((\r\n|\n)[ \t][a-z]{1,3}){0,2}", 0..6),
        end in prop_oneof![Just("\r\n"), Just("\n")],
    ) {
        let text = format!("HTTP/1.1 200 OK{end}{}{end}", lines.iter().map(|line| format!("{line}{end}")).collect::<String>());
        if let Ok(Some((head, rest))) = in_pieces(text.as_bytes(), text.len()) {
            prop_assert!(rest.is_empty());
            let mut out = b"HTTP/1.1 200 OK\r\n".to_vec();
            for (name, value) in &head.headers {
                out.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            out.extend_from_slice(b"\r\n");
            let again = super::read(&Bytes::from(out)).unwrap();
            prop_assert_eq!(again.headers, head.headers);
            prop_assert_eq!(again.framing, head.framing);
        }
    }
}
