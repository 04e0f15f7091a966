//! [`Parents`]: the proxies above us, and the way through one (CONNECT, RFC 9110 section 9.3.6).
//!
//! Plain http goes through CONNECT too, not in absolute form: our credentials for the parent then
//! stand in no head that could ever reach an upstream, and pools need not know that there is a
//! parent. A parent that allows CONNECT to port 443 only refuses it, and the error says so.
//!
//! A parent comes from config, or from the environment that the daemon was started in. Nothing that
//! a parent says reaches a client but the class of its refusal.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::dial_error::{ANSWER_TIMEOUT, ViaError};
use super::stream::Stream;
use super::tls::Tls;
use super::tls_name::tls_name;
use crate::config::no_proxy::NoProxy;
use crate::config::parent::parse_url;
use crate::model::secret::Secret;
use crate::model::target::{Origin, Scheme, Target};

/// The head of the parent's answer, in bytes.
const MAX_ANSWER: usize = 16 * 1024;
/// The most fields of a parent's answer.
const MAX_PARENT_FIELDS: usize = 64;

/// Which proxy serves which scheme, and what goes around them.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    https: Option<Parent>,
    http: Option<Parent>,
    no_proxy: NoProxy,
}

#[derive(Clone, Debug)]
pub struct Parent {
    origin: Origin,
    /// `Basic …`, for this proxy's eyes only.
    authorization: Option<Arc<Secret>>,
    /// How TLS with an https parent is made.
    tls: Tls,
}

/// What the environment names as a proxy.
#[derive(Debug)]
pub struct Named {
    /// The variable, for the log.
    pub variable: &'static str,
    pub origin: Origin,
    /// User and password for the parent; `None`: none are sent.
    pub login: Option<(String, Secret)>,
}

/// A variable that should name a proxy and does not: said in the log, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is ignored: {why}")]
pub struct Ignored {
    pub variable: &'static str,
    /// What is wrong with it: the end of a sentence.
    pub why: &'static str,
}

impl Parents {
    /// `https` serves https and opaque tunnels, `http` plain http.
    pub fn new(https: Option<Parent>, http: Option<Parent>, no_proxy: NoProxy) -> Self {
        Self { https, http, no_proxy }
    }

    pub(super) fn https(&self) -> Option<&Parent> {
        self.https.as_ref()
    }

    pub(super) fn http(&self) -> Option<&Parent> {
        self.http.as_ref()
    }

    pub(super) fn no_proxy(&self) -> &NoProxy {
        &self.no_proxy
    }
}

impl Parent {
    /// A proxy at `origin`; `tls` verifies an https one.
    pub fn new(origin: Origin, login: Option<(&str, &Secret)>, tls: Tls) -> Self {
        let authorization = login.map(|(user, password)| Arc::new(basic(user, password)));
        Self { origin, authorization, tls }
    }

    pub(super) fn target(&self) -> &Target {
        &self.origin.target
    }

    /// Asks for a way to `target` over a connection to this proxy. `via`: what
    /// [`Pseudonym`](super::chain::Pseudonym) says.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        target: &Target,
        via: &str,
    ) -> Result<Stream, ViaError> {
        let exchange = async {
            let mut stream = match self.origin.scheme {
                Scheme::Http => Stream::from(stream),
                Scheme::Https => Stream::from(self.handshake(stream).await?),
            };
            let ahead = self.ask(&mut stream, target, via).await?;
            Ok(stream.read_ahead(ahead))
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| ViaError::Timeout)?
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ViaError> {
        let name = tls_name(&self.origin.target.host)
            .map_err(|error| ViaError::Tls(io::Error::other(error)))?;
        self.tls.ready().await?.connect(name, stream).await.map_err(ViaError::Tls)
    }

    /// CONNECT and its answer; what stands behind the answer's head is the target's.
    async fn ask(
        &self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        target: &Target,
        via: &str,
    ) -> Result<Bytes, ViaError> {
        io.write_all(&self.request(target, via)).await.map_err(ViaError::Broken)?;
        io.flush().await.map_err(ViaError::Broken)?;
        let mut buffer = BytesMut::with_capacity(1024);
        loop {
            if let Some(length) = accepted(&buffer)? {
                return Ok(buffer.split_off(length).freeze());
            }
            if buffer.len() >= MAX_ANSWER {
                return Err(ViaError::Invalid);
            }
            if io.read_buf(&mut buffer).await.map_err(ViaError::Broken)? == 0 {
                return Err(ViaError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn request(&self, target: &Target, via: &str) -> Zeroizing<Vec<u8>> {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{via}");
        // Enough for all of it: one that grows leaves a copy behind that nobody zeroes.
        let login = self.authorization.as_ref().map_or(0, |authorization| authorization.len());
        let mut request = Zeroizing::new(Vec::with_capacity(head.len() + login + 64));
        request.extend_from_slice(head.as_bytes());
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.expose());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

/// The value of `Proxy-Authorization` (RFC 7617).
fn basic(user: &str, password: &Secret) -> Secret {
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(password.expose());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    Secret::new(format!("Basic {}", *encoded))
}

/// The length of a complete head that says 2xx; `None`: more bytes are needed. A 2xx to CONNECT has
/// no body whatever its fields say (RFC 9110 section 9.3.6).
fn accepted(answer: &[u8]) -> Result<Option<usize>, ViaError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_PARENT_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => match head.code {
            Some(200..=299) => Ok(Some(length)),
            Some(407) => Err(ViaError::Auth),
            Some(status @ 300..) => Err(ViaError::Refused(status)),
            // Nobody asked for 1xx here, and 101 would mean another protocol.
            Some(_) | None => Err(ViaError::Invalid),
        },
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(ViaError::Invalid),
    }
}

/// The proxy that `variables` name, the first that is set, as curl reads them.
pub fn named(
    variables: &[&'static str],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Named>, Ignored> {
    let found = variables.iter().find_map(|name| {
        environment(name).filter(|value| !value.trim().is_empty()).map(|value| (*name, value))
    });
    let Some((variable, value)) = found else { return Ok(None) };
    let value = Zeroizing::new(value);
    let ignored = |why| Ignored { variable, why };
    let text = value.trim();
    let full;
    let text = if text.contains("://") {
        text
    } else {
        full = Zeroizing::new(format!("http://{text}"));
        full.as_str()
    };
    let (origin, login) =
        parse_url(text).map_err(|_| ignored("it is no http or https URL of a host"))?;
    let login = login.map(credentials).transpose().map_err(ignored)?;
    // A session of Valetkey's own ends, and a daemon lives on: going through it would be going in
    // circles.
    let ours = |user: &str| user.starts_with("run-") || user.starts_with("env-");
    if login.as_ref().is_some_and(|(user, _)| ours(user)) {
        return Err(ignored("it points to Valetkey"));
    }
    Ok(Some(Named { variable, origin, login }))
}

/// Percent-decoded user and password of a URL (RFC 3986 section 3.2.1).
fn credentials(login: &str) -> Result<(String, Secret), &'static str> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let user = percent_decode_str(user).decode_utf8().map_err(|_| "its user is not UTF-8")?;
    let password = Zeroizing::new(percent_decode_str(password).collect::<Vec<u8>>());
    if user.contains(':') || user.chars().any(char::is_control) {
        return Err("its user holds a colon or a control character");
    }
    Ok((user.into_owned(), Secret::new(password.to_vec())))
}

/// Variables for https and opaque tunnels.
pub const HTTPS_VARIABLES: &[&str] = &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
pub const HTTP_VARIABLES: &[&str] = &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::Reason;
    use crate::net::roots::Roots;
    use tokio::net::TcpListener;

    /// What comes of a parent that answers with these bytes, and what it was asked.
    async fn ask(answer: &[u8]) -> (Result<Vec<u8>, ViaError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let answer = answer.to_vec();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            stream.write_all(&answer).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let tls = Roots::load(&[], |_| false).unwrap().single_use_tls();
        let (origin, _) = parse_url(&format!("http://{to}")).unwrap();
        let parent = Parent::new(origin, Some(("corp", &Secret::new("pass word"))), tls);
        assert!(!format!("{parent:?}").contains("pass"));
        let stream = TcpStream::connect(to).await.unwrap();
        let target = Target::parse("api.example:443", None).unwrap();
        let result = match parent.connect(stream, &target, "Via: 1.1 x\r\n").await {
            Ok(mut stream) => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                Ok(rest)
            }
            Err(error) => Err(error),
        };
        (result, served.await.unwrap())
    }

    #[tokio::test]
    async fn what_the_target_says_first_is_kept() {
        let (result, asked) = ask(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nSSH-2.0-x\r\n").await;
        assert_eq!(result.unwrap(), b"SSH-2.0-x\r\n");
        assert_eq!(
            asked,
            "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\nVia: 1.1 x\r\n\
             Proxy-Authorization: Basic Y29ycDpwYXNzIHdvcmQ=\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn refusals_have_a_class() {
        for (answer, reason) in [
            ("HTTP/1.1 407 x\r\n\r\n", Reason::ParentAuthFailed),
            ("HTTP/1.1 503 x\r\n\r\n", Reason::ParentRefused),
            ("HTTP/1.1 100 x\r\n\r\n", Reason::ParentAnswerInvalid),
            ("HTTP/2 200\r\n\r\n", Reason::ParentAnswerInvalid),
            ("HTTP/1.1 200 OK\r\nX", Reason::ParentUnreachable),
            ("", Reason::ParentUnreachable),
        ] {
            assert_eq!(ask(answer.as_bytes()).await.0.unwrap_err().reason(), reason, "{answer:?}");
        }
    }

    fn found(pairs: &[(&str, &str)]) -> Result<Option<(String, Option<String>)>, Ignored> {
        let environment = |name: &str| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        named(HTTPS_VARIABLES, &environment).map(|named| {
            named.map(|n| {
                let login = n.login.map(|(user, password)| format!("{user} {}", password.len()));
                (format!("{} {}", n.variable, n.origin), login)
            })
        })
    }

    #[test]
    fn variables_are_read_as_curl_reads_them() {
        let at = |text: &str| Ok(Some((text.to_owned(), None)));
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[("HTTPS_PROXY", "p:3128")]), at("HTTPS_PROXY http://p:3128"));
        assert_eq!(
            found(&[("ALL_PROXY", "http://p:1"), ("https_proxy", " ")]),
            at("ALL_PROXY http://p:1")
        );
        let both = [("HTTPS_PROXY", "http://a:1"), ("https_proxy", "https://b:1")];
        assert_eq!(found(&both), at("https_proxy https://b:1"));
        let login = found(&[("HTTPS_PROXY", "http://a%40b:c%3Ad@p:1")]).unwrap().unwrap().1;
        assert_eq!(login.as_deref(), Some("a@b 3"));
        for bad in [
            "socks5://p:1",
            "http://",
            "http://a%3Ab:c@p:1",
            "http://a%0d%0ab:c@p:1",
            "http://run-1:s@p:1",
        ] {
            let error = found(&[("HTTPS_PROXY", bad)]).unwrap_err();
            assert!(!error.to_string().contains(bad), "{error}");
        }
    }
}
