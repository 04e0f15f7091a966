//! Protocol upgrades (RFC 9110 section 7.8): asked for by the client, allowed by the route, agreed
//! to by the upstream's own 101, and raw bytes from there on. No token goes into them (invariant
//! I2): the one of the request that asked is all.

use std::sync::Arc;

use bytes::BytesMut;
use http::header::{HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::pool::UpstreamExchange;
use super::tunnel;
use crate::audit::{Outcome, Recorder};
use crate::http1::connection_names;
use crate::model::reason::Reason;
use crate::net::prefixed::Prefixed;
use crate::passage::agree::asks_for_websocket;
use crate::passage::{Followed, Given};
use crate::proxy::live::LiveRequest;
use crate::proxy::shared::Proxy;

/// The protocol that a request asks for, in lower case: put into the request as it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(pub Box<str>);

impl Asked {
    /// The one protocol that the request asks for and can be upgraded to, if `allowed`: by GET
    /// without a body, or by POST. Any other offer is as good as none (RFC 9110 section 7.8), but
    /// who asks for a WebSocket can't go on without.
    pub fn of(
        parts: &Parts,
        has_body: bool,
        allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Option<Self>, Reason> {
        let mut values = parts.headers.get_all(UPGRADE).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let token = value.as_bytes().trim_ascii();
        let plain = !token.is_empty()
            && token.iter().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(b));
        let method = parts.method == Method::GET && !has_body || parts.method == Method::POST;
        let fits = method
            && parts.version == Version::HTTP_11
            && connection_names(&parts.headers, "upgrade");
        let websocket = asks_for_websocket(&parts.headers);
        let asked = String::from_utf8_lossy(token).to_ascii_lowercase();
        if values.next().is_none()
            && plain
            && fits
            && (!websocket || is_websocket(parts))
            && allowed(&asked)
        {
            return Ok(Some(Self(asked.into())));
        }
        if websocket { Err(Reason::UpgradeRefused) } else { Ok(None) }
    }

    /// Whether the upstream's 101 is an answer to this.
    pub fn agreed(&self, answer: &HeaderMap) -> bool {
        let mut values = answer.get_all(UPGRADE).iter();
        let (first, second) = (values.next(), values.next());
        second.is_none()
            && first.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(self.0.as_bytes()))
    }

    /// Says in an answer what was agreed to.
    pub fn confirm(&self, answer: &mut HeaderMap) {
        // Its characters were checked.
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            answer.insert(UPGRADE, value);
        }
    }
}

/// RFC 6455 section 4.1: a GET with exactly one key, one version.
fn is_websocket(parts: &Parts) -> bool {
    let one = |name: HeaderName| parts.headers.get_all(name).iter().count() == 1;
    parts.method == Method::GET && one(SEC_WEBSOCKET_KEY) && one(SEC_WEBSOCKET_VERSION)
}

/// An upgrade that the upstream agreed to.
pub struct Upgraded {
    exchange: UpstreamExchange,
    protocol: Box<str>,
    searched: Option<Arc<Given>>,
    recorder: Recorder,
    live: LiveRequest,
}

impl Upgraded {
    /// `searched`: the tokens that the upstream's bytes are searched for.
    pub fn new(
        exchange: UpstreamExchange,
        agreed: Asked,
        searched: Option<Arc<Given>>,
        recorder: Recorder,
        live: LiveRequest,
    ) -> Self {
        Self { exchange, protocol: agreed.0, searched, recorder, live }
    }

    /// Carries bytes until either side is done; then its record is written.
    pub async fn carry<T>(self, proxy: &Proxy, client: (T, BytesMut))
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (upstream, ahead, _open) = self.exchange.into_stream();
        let mut client = Prefixed::new(client.1, client.0);
        let mut upstream = Prefixed::new(ahead, upstream);
        let outcome = match self.searched {
            None => tunnel::copy(proxy, &self.live, &mut client, &mut upstream).await,
            Some(given) => {
                let mut upstream = Followed::new(upstream, given, &self.protocol);
                tunnel::copy(proxy, &self.live, &mut client, &mut upstream).await
            }
        };
        let status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        self.recorder.finish(Outcome { status, ..outcome });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asked(method: Method, fields: &[(&str, &str)]) -> Result<Option<String>, Reason> {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let allowed = |protocol: &str| ["websocket", "spdy/3.1"].contains(&protocol);
        Asked::of(&parts, false, allowed).map(|asked| asked.map(|asked| asked.0.into()))
    }

    #[test]
    fn what_is_asked_for() {
        let socket = [("sec-websocket-key", "x"), ("sec-websocket-version", "13")];
        let get = |fields: &[(&str, &str)]| asked(Method::GET, fields);
        assert_eq!(get(&[]), Ok(None));
        assert_eq!(get(&[("connection", "upgrade")]), Ok(None));
        let full =
            [&[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")], &socket[..]];
        assert_eq!(get(&full.concat()), Ok(Some("websocket".into())));
        let refused = Err(Reason::UpgradeRefused);
        assert_eq!(asked(Method::POST, &full.concat()), refused);
        assert_eq!(get(&[("upgrade", "websocket"), ("connection", "upgrade")]), refused);
        assert_eq!(get(&[&[("upgrade", "websocket")], &socket[..]].concat()), refused);
        let list = [&[("upgrade", "h2c, WebSocket"), ("connection", "upgrade")], &socket[..]];
        assert_eq!(get(&list.concat()), refused);
    }

    #[test]
    fn an_offer_that_is_not_taken_is_none() {
        let connection = ("connection", "upgrade");
        for offer in ["TLS/1.2", "h2c", "a, b", "", "\u{e9}", "spdy/3.1, x"] {
            for method in [Method::GET, Method::POST, Method::PUT] {
                assert_eq!(asked(method, &[("upgrade", offer), connection]), Ok(None), "{offer}");
            }
        }
        let spdy = ("upgrade", "SPDY/3.1");
        assert_eq!(asked(Method::POST, &[spdy, connection]), Ok(Some("spdy/3.1".into())));
        assert_eq!(asked(Method::POST, &[spdy, spdy, connection]), Ok(None));
        assert_eq!(asked(Method::POST, &[spdy]), Ok(None));
        assert_eq!(asked(Method::PUT, &[spdy, connection]), Ok(None));
    }

    #[test]
    fn what_is_agreed_to() {
        let asked = Asked("websocket".into());
        let mut answer = HeaderMap::new();
        assert!(!asked.agreed(&answer));
        answer.append(UPGRADE, HeaderValue::from_static("WebSocket"));
        assert!(asked.agreed(&answer));
        answer.append(UPGRADE, HeaderValue::from_static("h2c"));
        assert!(!asked.agreed(&answer));
    }
}
