//! The head of a CONNECT, read by hand: strict, bounded, and without the HTTP library's upgrade
//! machinery. Anything that is not CONNECT is left in the buffer for it.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING, VIA};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::http1::{MAX_FIELDS, MAX_HEAD, MAX_URI, head};
use crate::model::reason::Reason;
use crate::model::target::Target;

/// `Via` of a CONNECT, in bytes: some thirty proxies. Parents get to see it, and take heads of 8
/// KiB or less.
const MAX_VIA: usize = 2048;

/// The first request of a connection.
#[derive(Debug)]
pub enum Head {
    /// CONNECT, taken out of the buffer.
    Connect(Connect),
    /// The client closed without a request.
    End,
    /// Another method; nothing was taken.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Connect {
    pub target: Target,
    /// What `Host` names, where that is not the target: some tools name the proxy there.
    pub host: Option<Box<Target>>,
    /// The value of `Proxy-Authorization`.
    pub credentials: Option<Vec<u8>>,
    /// The proxies that it came through: the values of `Via`, put together.
    pub via: Option<Box<str>>,
}

/// Reads until one head is complete. Bytes behind it stay in `buffer`.
pub async fn read(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Head, Reason> {
    let mut seen = 0;
    loop {
        // What starts otherwise is TLS, SOCKS or noise: no need to wait for a head that never ends.
        if buffer.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
            return Err(Reason::MalformedRequest);
        }
        if let Some(end) = head::end(buffer, seen) {
            return parse(buffer, end);
        }
        if buffer.len() > MAX_HEAD {
            return Err(if first_line_ends(buffer) {
                Reason::HeadersTooLarge
            } else {
                Reason::UriTooLong
            });
        }
        if buffer.len() > MAX_URI + 64 && !first_line_ends(buffer) {
            return Err(Reason::UriTooLong);
        }
        if head::has_bare_line_feed(buffer, seen) {
            return Err(Reason::MalformedRequest);
        }
        seen = buffer.len();
        match io.read_buf(buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(Head::End),
            Ok(0) | Err(_) => return Err(Reason::ClientGone),
            Ok(_) => {}
        }
    }
}

fn first_line_ends(buffer: &[u8]) -> bool {
    memchr::memchr(b'\n', buffer).is_some()
}

fn parse(buffer: &mut BytesMut, end: usize) -> Result<Head, Reason> {
    if !buffer.starts_with(b"CONNECT ") {
        return Ok(Head::Other);
    }
    let connect = parse_connect(&buffer[..end])?;
    buffer.advance(end);
    Ok(Head::Connect(connect))
}

fn parse_connect(head: &[u8]) -> Result<Connect, Reason> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let request = head::lines(head, &mut fields)?;
    let target = request
        .path
        .and_then(|path| Target::parse(path, None).ok())
        .ok_or(Reason::MalformedRequest)?;
    let mut credentials = None;
    let (mut hosts, mut host) = (0, None);
    let mut via = String::new();
    for field in request.headers.iter() {
        let is = |name: http::HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
        if is(PROXY_AUTHORIZATION) {
            if credentials.replace(field.value.to_vec()).is_some() {
                return Err(Reason::MalformedRequest);
            }
        } else if is(HOST) {
            hosts += 1;
            let named = named(field.value, target.port).ok_or(Reason::MalformedRequest)?;
            if hosts > 1 {
                return Err(Reason::MalformedRequest);
            }
            host = (named != target).then(|| Box::new(named));
        } else if is(VIA) {
            let value = std::str::from_utf8(field.value).map_err(|_| Reason::MalformedRequest)?;
            // A value that stands in several fields is one list (RFC 9110 section 5.3).
            via.push_str(if via.is_empty() { "" } else { ", " });
            via.push_str(value);
        } else if is(TRANSFER_ENCODING) || (is(CONTENT_LENGTH) && field.value != b"0") {
            // RFC 9110 section 9.3.6: a CONNECT has no content; what follows must be the tunnel's.
            return Err(Reason::MalformedRequest);
        }
    }
    if via.len() > MAX_VIA {
        return Err(Reason::HeadersTooLarge);
    }
    let via = (!via.is_empty()).then(|| via.into());
    Ok(Connect { target, host, credentials, via })
}

/// What `Host` names; without a port it names the host alone.
fn named(host: &[u8], port: u16) -> Option<Target> {
    std::str::from_utf8(host).ok().and_then(|text| Target::parse(text, Some(port)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connect(text: &str) -> Result<String, Reason> {
        parse_connect(text.as_bytes()).map(|connect| connect.target.to_string())
    }

    #[test]
    fn reads_what_tools_send() {
        for head in [
            "CONNECT Good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.0\r\n\r\n",
            "CONNECT good.example.:443 HTTP/1.1\r\nHost: good.example\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        ] {
            assert_eq!(connect(head), Ok("good.example:443".into()), "{head}");
        }
    }

    #[test]
    fn refuses_what_has_two_readings() {
        for head in [
            "CONNECT good.example HTTP/1.1\r\n\r\n",
            "CONNECT http://good.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT u@good.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nHost: evil.example:443:1\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nHost: good.example\r\nHost: good.example\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\nHost: good.example\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nX: a\rb\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nX : a\r\n\r\n",
            "CONNECT good.example:443 HTTP/1.1\r\nProxy-Authorization: Basic a\r\nProxy-Authorization: Basic b\r\n\r\n",
            "CONNECT  good.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT good.example:443 HTTP/3\r\n\r\n",
        ] {
            assert_eq!(connect(head), Err(Reason::MalformedRequest), "{head}");
        }
    }

    #[test]
    fn a_host_that_is_not_the_target_is_told() {
        let host = |host: &str| {
            let head = format!("CONNECT good.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n");
            parse_connect(head.as_bytes()).unwrap().host.map(|host| host.to_string())
        };
        for same in ["good.example:443", "GOOD.example.", "good.example"] {
            assert_eq!(host(same), None, "{same}");
        }
        assert_eq!(host("127.0.0.1:8383").as_deref(), Some("127.0.0.1:8383"));
        assert_eq!(host("evil.example").as_deref(), Some("evil.example:443"));
        assert_eq!(host("good.example:80").as_deref(), Some("good.example:80"));
    }

    #[test]
    fn the_proxies_before_are_one_list() {
        let via = |fields: &str| {
            let head = format!("CONNECT good.example:443 HTTP/1.1\r\n{fields}\r\n");
            parse_connect(head.as_bytes()).map(|connect| connect.via.map(String::from))
        };
        assert_eq!(via(""), Ok(None));
        assert_eq!(via("Via: \r\n"), Ok(None));
        assert_eq!(via("Via: 1.1 a\r\nvia:1.0 b (c)\r\n"), Ok(Some("1.1 a, 1.0 b (c)".into())));
        assert_eq!(via("Via: 1.1 \u{e4}\r\n").map(|_| ()), Ok(()));
        let long = "a".repeat(MAX_VIA + 1);
        assert_eq!(via(&format!("Via: {long}\r\n")), Err(Reason::HeadersTooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_connect(&bytes);
            let mut head = b"CONNECT good.example:443 HTTP/1.1\r\n".to_vec();
            head.extend(bytes);
            let _ = parse_connect(&head);
        }
    }
}
