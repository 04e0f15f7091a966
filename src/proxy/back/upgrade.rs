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
use crate::passage::{Followed, Given};
use crate::proxy::live::LiveRequest;
use crate::proxy::shared::Proxy;

/// The protocol that a request asks for, in lower case: put into the request as it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(pub Box<str>);

impl Asked {
    /// What the request asks for, if anything. Only an HTTP/1.1 GET without a body that asks for
    /// one protocol can be upgraded.
    pub fn of(parts: &Parts, has_body: bool) -> Result<Option<Self>, Reason> {
        let mut values = parts.headers.get_all(UPGRADE).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let token = value.to_str().map_err(|_| Reason::MalformedRequest)?.trim();
        let plain = !token.is_empty()
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
        let fits = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && !has_body
            && connection_names(&parts.headers, "upgrade");
        if values.next().is_some() || !plain || !fits {
            return Err(Reason::UpgradeRefused);
        }
        let asked = Self(token.to_ascii_lowercase().into());
        if &*asked.0 == "websocket" && !is_websocket(&parts.headers) {
            return Err(Reason::UpgradeRefused);
        }
        Ok(Some(asked))
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

/// RFC 6455 section 4.1: exactly one key, one version.
fn is_websocket(headers: &HeaderMap) -> bool {
    let one = |name: HeaderName| headers.get_all(name).iter().count() == 1;
    one(SEC_WEBSOCKET_KEY) && one(SEC_WEBSOCKET_VERSION)
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

    fn asked(fields: &[(&str, &str)]) -> Result<Option<String>, Reason> {
        let mut request = Request::builder().uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Asked::of(&parts, false).map(|asked| asked.map(|asked| asked.0.into()))
    }

    #[test]
    fn what_is_asked_for() {
        let socket = [("sec-websocket-key", "x"), ("sec-websocket-version", "13")];
        assert_eq!(asked(&[]), Ok(None));
        assert_eq!(asked(&[("connection", "upgrade")]), Ok(None));
        let full =
            [&[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")], &socket[..]];
        assert_eq!(asked(&full.concat()), Ok(Some("websocket".into())));
        let refused = Err(Reason::UpgradeRefused);
        assert_eq!(asked(&[("upgrade", "websocket"), ("connection", "upgrade")]), refused);
        assert_eq!(asked(&[&[("upgrade", "websocket")], &socket[..]].concat()), refused);
        assert_eq!(asked(&[("upgrade", "a, b"), ("connection", "upgrade")]), refused);
        assert_eq!(
            asked(&[("upgrade", "a"), ("upgrade", "b"), ("connection", "upgrade")]),
            refused
        );
        assert_eq!(asked(&[("upgrade", ""), ("connection", "upgrade")]), refused);
        assert_eq!(
            asked(&[("upgrade", "tls/1.0"), ("connection", "upgrade")]),
            Ok(Some("tls/1.0".into()))
        );
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
