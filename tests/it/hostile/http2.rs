//! I3: HTTP/2 that could not be said in HTTP/1.1, or says who is meant in two ways, is an error of its stream or its
//! connection, and nothing goes upstream (RFC 9113 sections 8.2 and 8.3).

use super::hosts::{same, strange};
use crate::harness::stage::{ORDERS, Stage};
use crate::torture::raw_h2::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, Raw,
};

/// A field as HPACK's literal, whatever its bytes and length.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        // RFC 7541 section 5.1, seven bits of prefix.
        match u8::try_from(text.len()) {
            Ok(length) if length < 127 => bytes.push(length),
            _ => {
                let mut rest = text.len() - 127;
                bytes.push(127);
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
            }
        }
        bytes.extend(text);
    }
    bytes
}

type Field = (Vec<u8>, Vec<u8>);

fn pair(name: &str, value: &str) -> Field {
    (name.into(), value.into())
}

fn good() -> Vec<Field> {
    vec![
        pair(":method", "POST"),
        pair(":scheme", "https"),
        pair(":authority", ORDERS),
        pair(":path", "/v1/x"),
    ]
}

/// The good head with a field replaced.
fn with(name: &str, value: &[u8]) -> Vec<Field> {
    let mut fields = good();
    fields.iter_mut().find(|(known, _)| known == name.as_bytes()).unwrap().1 = value.to_vec();
    fields
}

fn and(more: &[Field]) -> Vec<Field> {
    [good(), more.to_vec()].concat()
}

/// Heads that are no request.
fn heads() -> Vec<(String, Vec<Field>)> {
    let mut all: Vec<(String, Vec<Field>)> = Vec::new();
    for at in 0..4 {
        let name = String::from_utf8(good()[at].0.clone()).unwrap();
        let mut without = good();
        without.remove(at);
        // Without `:authority` there is the host of the tunnel, as HTTP/1.1's absolute form would have it.
        if name != ":authority" {
            all.push((format!("no {name}"), without.clone()));
        }
        let twice = and(&[good()[at].clone()]);
        all.push((format!("{name} twice"), twice));
        let mut late = without;
        late.push(pair("x-before", "y"));
        late.push(good()[at].clone());
        all.push((format!("{name} behind a field"), late));
    }
    for name in [":status", ":foo", ":protocol", ":", ":Method"] {
        all.push((name.to_owned(), and(&[pair(name, "200")])));
    }
    for path in [
        "",
        "x",
        "*",
        "v1/x",
        "/v1/x y",
        "/v1/x HTTP/1.1\r\nX: y",
        "/v1/x\0",
        "/v1/\n",
        "/v1/\t",
        "http://evil.example/",
        "\\v1",
        " /v1/x",
        "/v1/\u{7f}",
    ] {
        all.push((format!(":path {path:?}"), with(":path", path.as_bytes())));
    }
    for method in [
        "",
        "GE T",
        "GET /evil HTTP/1.1\r\nHost: x\r\n\r\nGET",
        "G\0T",
        "GET\r\n",
        "(GET)",
        "CONNECT",
    ] {
        all.push((format!(":method {method:?}"), with(":method", method.as_bytes())));
    }
    for scheme in ["", "http", "file", "ftp", "https ", "h\0", "javascript"] {
        all.push((format!(":scheme {scheme:?}"), with(":scheme", scheme.as_bytes())));
    }
    all.extend(fields());
    all
}

/// Good heads with a field that HTTP/2 does not have.
fn fields() -> Vec<(String, Vec<Field>)> {
    let mut all: Vec<(String, Vec<Field>)> = Vec::new();
    for byte in (0..=0x20u8).chain(*b"\"(),/:;<=>?@[\\]{}ABZ").chain([0x7f, 0x80, 0xff]) {
        for name in [vec![b'x', byte, b'y'], vec![byte, b'y'], vec![b'x', byte]] {
            // Pseudo fields are above.
            if name[0] != b':' {
                all.push((format!("name {name:?}"), and(&[(name, b"v".to_vec())])));
            }
        }
    }
    for byte in (0..0x20u8).chain([0x7f]).filter(|byte| *byte != b'\t') {
        all.push((format!("value {byte}"), and(&[(b"x-a".to_vec(), vec![b'a', byte, b'b'])])));
    }
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-api-key"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, chunked"),
        ("content-length", "1"),
        ("content-length", "-1"),
        ("content-length", "+0"),
        ("content-length", "0, 0"),
        ("content-length", "x"),
        ("content-length", "18446744073709551616"),
        ("host", "evil.example"),
        ("host", ""),
    ] {
        all.push((format!("{name}: {value}"), and(&[pair(name, value)])));
    }
    let lengths = [pair("content-length", "0"), pair("content-length", "1")];
    all.push(("two lengths".to_owned(), and(&lengths)));
    let hosts = [pair("host", ORDERS), pair("host", "evil.example")];
    all.push(("two hosts".to_owned(), and(&hosts)));
    all
}

/// Sends one request on a connection of its own and waits for whatever ends its stream.
async fn sent(stage: &Stage, fields: &[Field], data: Option<&[u8]>) -> bool {
    let mut raw = Raw::open(stage, ORDERS, &[]).await;
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let flags = if data.is_none() { END_STREAM | END_HEADERS } else { END_HEADERS };
    let mut frames = vec![Frame::new(HEADERS, flags, 1, block)];
    frames.extend(data.map(|data| Frame::new(DATA, END_STREAM, 1, data)));
    raw.send(&frames).await;
    let mut index = 0;
    let over = async {
        loop {
            let frame = raw.seen.at("the end of a stream", index).await;
            index += 1;
            match frame.kind {
                GOAWAY => return false,
                RST_STREAM if frame.stream == 1 => return false,
                // A bare `:status 200` (RFC 7541 appendix A) begins an answer that is the API's.
                HEADERS if frame.stream == 1 => return frame.payload.first() == Some(&0x88),
                _ => {}
            }
        }
    };
    tokio::select! {
        answered = over => answered,
        _ = raw.ends(crate::harness::PATIENCE) => false,
    }
}

#[tokio::test]
async fn what_is_no_request_goes_nowhere() {
    let stage = Stage::valetkey().await;
    let heads = heads();
    for (name, fields) in &heads {
        let answered = sent(&stage, fields, None).await;
        assert!(!answered, "{name} was served");
        let seen = stage.orders.requests();
        assert!(seen.is_empty(), "{name}: the API got {seen:#?}");
    }
    for (length, data) in [("5", "four"), ("3", "four"), ("0", "x"), ("1", "")] {
        let fields = and(&[pair("content-length", length)]);
        sent(&stage, &fields, Some(data.as_bytes())).await;
    }
    for host in strange() {
        let answered = sent(&stage, &with(":authority", host.as_bytes()), None).await;
        assert!(!answered, ":authority {host:?} was served");
    }
    // A body that is not as long as was said may have been on its way: none arrived whole.
    for seen in stage.orders.requests() {
        let length = seen.all("content-length").join(",");
        assert!(!length.is_empty() && length != seen.body.len().to_string(), "{seen:#?}");
    }
    let before = stage.orders.requests().len();
    for (at, host) in same().iter().enumerate() {
        assert!(sent(&stage, &with(":authority", host.as_bytes()), None).await, "{host}");
        let seen = stage.orders.request(before + at).await;
        assert_eq!(seen.authority, ORDERS, "{host}");
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    }
    stage.control().await.unwrap();
    println!("sent: {} heads over HTTP/2 that are no request", heads.len() + strange().len());
}
