//! One authority (invariant I1): CONNECT, absolute-form, `Host` and `:authority` name one target.
//! And whether a head is of a size and a spelling that can be judged.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};

use crate::http1::head::encode_raw;
use crate::http1::{MAX_FIELDS, MAX_HEAD, MAX_URI};
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};

/// Whether everything in the request that names a host names the tunnel's (invariant I1).
pub fn agree(tunnel: &Target, parts: &Parts) -> Result<(), Reason> {
    let default = Some(Scheme::Https.default_port());
    let mut named = None;
    if let Some(authority) = parts.uri.authority() {
        if parts.uri.scheme_str().is_some_and(|scheme| scheme != "https") {
            return Err(Reason::MalformedRequest);
        }
        named =
            Some(Target::parse(authority.as_str(), default).map_err(|_| Reason::MalformedRequest)?);
    }
    let host = host(&parts.headers)?;
    if named.is_none() && host.is_some_and(|text| is_written(tunnel, text)) {
        return Ok(());
    }
    let host = host
        .map(|text| Target::parse(text, default))
        .transpose()
        .map_err(|_| Reason::MalformedRequest)?;
    match (&named, &host) {
        (Some(named), Some(host)) if named != host => return Err(Reason::MalformedRequest),
        // RFC 9112 section 3.2: HTTP/1.1 must have Host. HTTP/1.0 may do without, the tunnel names
        // it.
        (_, None) if parts.version == Version::HTTP_11 => return Err(Reason::MalformedRequest),
        (None, None) if parts.version == Version::HTTP_2 => return Err(Reason::MalformedRequest),
        _ => {}
    }
    match named.as_ref().or(host.as_ref()) {
        Some(target) if target != tunnel => Err(Reason::AuthorityMismatch),
        _ => Ok(()),
    }
}

/// Whether a text is how the tunnel's authority is written, as nearly all clients do: then there is
/// nothing to be read.
fn is_written(tunnel: &Target, text: &str) -> bool {
    tunnel.port == Scheme::Https.default_port() && tunnel.host.name() == Some(text)
}

/// Whether the URI, as the client sent it, is over the limit.
fn is_too_long(uri: &Uri) -> bool {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let rest = uri.path_and_query().map_or(0, |rest| rest.as_str().len());
    scheme + authority + rest > MAX_URI
}

/// Whether the fields are over a limit. Over HTTP/1.1 the head was counted as it came.
fn are_too_large(headers: &HeaderMap) -> bool {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    headers.len() > MAX_FIELDS || headers.iter().map(bytes).sum::<usize>() > MAX_HEAD
}

/// Whether the request asks for a WebSocket, in whatever spelling: its sender can't go on without,
/// while any other offer to upgrade may be ignored (RFC 9110 section 7.8).
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::UPGRADE).iter();
    let mut offers = offers.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    offers.any(|offer| {
        offer.trim_ascii().get(..9).is_some_and(|o| o.eq_ignore_ascii_case(b"websocket"))
    })
}

/// Whether HTTP/1.1 can say these fields: the library takes a quote for a letter of a name, which
/// it is not (RFC 9110 section 5.6.2), and over HTTP/2 nothing has looked at them before.
fn is_sayable(headers: &HeaderMap) -> bool {
    headers.keys().all(|name| !name.as_str().contains('"'))
}

/// The one `Host` field, if any.
pub fn host(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Reason::MalformedRequest);
    }
    first.map(|value| value.to_str().map_err(|_| Reason::MalformedRequest)).transpose()
}

/// What an absolute-form request in the clear is for, if it is one and nothing in it disagrees.
pub fn absolute(parts: &Parts) -> Result<Target, Reason> {
    let (Some(scheme), Some(authority)) = (parts.uri.scheme_str(), parts.uri.authority()) else {
        return Err(Reason::NotAProxyRequest);
    };
    if is_too_long(&parts.uri) {
        return Err(Reason::UriTooLong);
    }
    match scheme {
        "http" => {}
        "https" => return Err(Reason::HttpsOverPlainProxy),
        _ => return Err(Reason::MalformedRequest),
    }
    let default = Some(Scheme::Http.default_port());
    let parse = |text: &str| Target::parse(text, default).map_err(|_| Reason::MalformedRequest);
    let target = parse(authority.as_str())?;
    match host(&parts.headers)?.map(parse).transpose()? {
        Some(host) if host != target => Err(Reason::MalformedRequest),
        _ => Ok(target),
    }
}

/// Percent-encodes what HTTP/2 let through to us raw; over HTTP/1 it was done with the head.
pub fn encode_target(uri: &mut Uri) {
    let raw = |target: &&PathAndQuery| !target.as_str().is_ascii();
    let Some(raw) = uri.path_and_query().filter(raw) else { return };
    let encoded = PathAndQuery::try_from(encode_raw(raw.as_str().as_bytes()));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = encoded.ok();
    // What can't be put together stays as it is, and is refused by `fits`.
    if let Ok(encoded) = Uri::from_parts(parts) {
        *uri = encoded;
    }
}

/// Whether a head is of a size and a spelling that is judged: what policy sees is what is sent.
pub fn fits(parts: &Parts) -> Result<(), Reason> {
    let visible =
        |target: &PathAndQuery| target.as_str().bytes().all(|b| (0x21..0x7f).contains(&b));
    if !parts.uri.path_and_query().is_none_or(visible) {
        return Err(Reason::MalformedRequest);
    }
    if is_too_long(&parts.uri) {
        return Err(Reason::UriTooLong);
    }
    if are_too_large(&parts.headers) {
        return Err(Reason::HeadersTooLarge);
    }
    if !is_sayable(&parts.headers) {
        return Err(Reason::MalformedRequest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(uri: &str, hosts: &[&str], version: Version) -> Result<(), Reason> {
        let tunnel = Target::parse("good.example:443", None).unwrap();
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        agree(&tunnel, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn one_authority() {
        let h1 = Version::HTTP_11;
        for host in ["good.example", "GOOD.example.", "good.example:443", "good.example.:443"] {
            assert_eq!(check("/", &[host], h1), Ok(()), "{host}");
        }
        for host in ["evil.example", "good.example:80", "good.example:8443", "a.good.example"] {
            assert_eq!(check("/", &[host], h1), Err(Reason::AuthorityMismatch), "{host}");
        }
        for host in [
            "good@evil",
            "evil#good",
            "good:443:80",
            "good.example,evil.example",
            "",
            "good.example:0443",
        ] {
            assert_eq!(check("/", &[host], h1), Err(Reason::MalformedRequest), "{host}");
        }
        assert_eq!(
            check("/", &["good.example", "good.example"], h1),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(check("/", &[], h1), Err(Reason::MalformedRequest));
        assert_eq!(check("/", &[], Version::HTTP_10), Ok(()));
    }

    #[test]
    fn what_http2_lets_through_is_encoded() {
        for (raw, encoded) in [
            ("https://good.example/caf\u{e9}?q=\u{e9}<", None),
            (
                "https://good.example/caf\u{e9}?q=\u{e9}",
                Some("https://good.example/caf%C3%A9?q=%C3%A9"),
            ),
            ("/a%c3%a9", Some("/a%c3%a9")),
        ] {
            let uri = raw.parse::<Uri>().ok().map(|mut uri| {
                encode_target(&mut uri);
                uri.to_string()
            });
            assert_eq!(uri.as_deref(), encoded);
        }
    }

    #[test]
    fn absolute_form_and_http2() {
        assert_eq!(check("https://good.example/", &["good.example"], Version::HTTP_11), Ok(()));
        assert_eq!(
            check("https://evil.example/", &["good.example"], Version::HTTP_11),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(
            check("http://good.example:443/", &["good.example"], Version::HTTP_11),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(check("https://good.example/", &[], Version::HTTP_2), Ok(()));
        assert_eq!(
            check("https://evil.example/", &[], Version::HTTP_2),
            Err(Reason::AuthorityMismatch)
        );
        assert_eq!(
            check("https://good.example/", &["evil.example"], Version::HTTP_2),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(check("/", &[], Version::HTTP_2), Err(Reason::MalformedRequest));
    }
}
