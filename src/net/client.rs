//! [`Client`]: a tiny HTTP/1.1 client for token endpoints.
//!
//! One connection per call, one deadline over all of it, no redirects, no cookies, no
//! compression, nothing remembered from one call to the next. Issuers are dialled as config names
//! them, so the guard is not asked; pins and extra roots serve them too.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::{Zeroize as _, Zeroizing};

use super::anchors::RootsUnread;
use super::dial::Dialer;
use super::dial_error::DialError;
use super::guard::Reach;
use super::roots::Roots;
use super::stream::Stream;
use super::tls::Tls;
use super::{tls_fault, tls_name};
use crate::model::host::Host;
use crate::model::secret::Secret;
use crate::model::target::{Origin, Scheme, Target};
use crate::model::tls_fault::TlsFault;

/// The most of a body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// For one call from the first lookup to the last byte.
pub const DEADLINE: Duration = Duration::from_secs(10);

pub struct Client {
    dialer: Arc<Dialer>,
    tls: Tls,
}

/// What an issuer said. The body may hold a token.
#[derive(Debug)]
pub struct IssuerAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Secret,
}

/// One request of any shape.
#[derive(Debug)]
pub struct Call<'a> {
    pub method: Method,
    /// https, or http to a loopback literal.
    pub url: &'a Uri,
    /// Further fields. What stands in them is taken for secret.
    pub headers: Vec<(HeaderName, Secret)>,
    /// A body and its media type.
    pub body: Option<(&'static str, Secret)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client certificate is none, or not its key's.
    #[error("the client certificate and its key do not belong together")]
    Certificate,
    #[error("no complete answer within {} s", DEADLINE.as_secs())]
    Deadline,
    /// No connection came about.
    #[error("no connection to the endpoint")]
    Dial(#[from] DialError),
    /// What came is not HTTP/1.1, or broke off.
    #[error("the endpoint's answer is not a complete HTTP answer")]
    Http(#[source] hyper::Error),
    /// A header value that cannot be sent.
    #[error("the credentials hold bytes that may not stand in a header")]
    Header,
    /// Plain http to something that is not a loopback literal, or no absolute http(s) URL.
    #[error("the endpoint must be an https URL, or http to a loopback address")]
    Insecure,
    /// Nothing that the endpoint says of itself can be verified yet.
    #[error(transparent)]
    Roots(#[from] RootsUnread),
    /// The certificate or the handshake is not acceptable.
    #[error("the endpoint's TLS is not acceptable")]
    Tls(#[source] std::io::Error),
    /// The body is longer than [`MAX_BODY`].
    #[error("the endpoint's answer is longer than {MAX_BODY} bytes")]
    TooLong,
}

impl ClientError {
    /// Why TLS itself was refused, by us or by the endpoint, if it was: a certificate as a rule. No
    /// network mends that.
    pub fn of_tls(&self) -> Option<TlsFault> {
        let Self::Tls(error) = self else { return None };
        tls_fault(error)
    }
}

impl Client {
    /// Over the dialer's pins and these roots.
    pub fn new(dialer: Arc<Dialer>, roots: &Roots) -> Self {
        Self { dialer, tls: roots.single_use_tls() }
    }

    /// The same, with a certificate of our own for servers that ask for one (RFC 8705). `chain`:
    /// PEM, ours first.
    pub fn identified(
        &self,
        chain: &Secret,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ClientError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.expose())
            .collect::<Result<_, _>>()
            .map_err(|_| ClientError::Certificate)?;
        let provider = Arc::clone(self.tls.crypto_provider());
        let key = provider.key_provider.load_private_key(key);
        let identity = CertifiedKey::new(chain, key.map_err(|_| ClientError::Certificate)?);
        if identity.cert.is_empty() || identity.keys_match().is_err() {
            return Err(ClientError::Certificate);
        }
        let tls = self.tls.identified(Arc::new(SingleCertAndKey::from(identity)));
        Ok(Self { dialer: Arc::clone(&self.dialer), tls })
    }

    /// GETs a public document and returns whatever status comes back.
    pub async fn get(&self, url: &Uri) -> Result<IssuerAnswer, ClientError> {
        self.call(Call { method: Method::GET, url, headers: Vec::new(), body: None }).await
    }

    /// POSTs an `application/x-www-form-urlencoded` body and returns whatever status comes back.
    pub async fn post_form(
        &self,
        url: &Uri,
        authorization: Option<Secret>,
        form: Secret,
    ) -> Result<IssuerAnswer, ClientError> {
        let headers = authorization.map(|value| (AUTHORIZATION, value)).into_iter().collect();
        let body = Some(("application/x-www-form-urlencoded", form));
        self.call(Call { method: Method::POST, url, headers, body }).await
    }

    /// Sends a request and returns whatever status comes back.
    pub async fn call(&self, call: Call<'_>) -> Result<IssuerAnswer, ClientError> {
        self.call_within(Reach::Anywhere, call).await
    }

    /// Asks for the head of a page, with nothing of anybody's in the request: whether a server can
    /// be reached as far as `reach` goes, and its TLS accepted.
    pub async fn look(&self, reach: Reach, url: &Uri) -> Result<IssuerAnswer, ClientError> {
        let call = Call { method: Method::HEAD, url, headers: Vec::new(), body: None };
        self.call_within(reach, call).await
    }

    async fn call_within(&self, reach: Reach, call: Call<'_>) -> Result<IssuerAnswer, ClientError> {
        let exchange = async {
            let origin = origin(call.url)?;
            let request = request(call, &origin)?;
            let stream = self.dialer.dial_origin(&origin, reach, None).await?;
            match origin.scheme {
                Scheme::Http => send(stream, request).await,
                Scheme::Https => send(self.handshake(&origin, stream).await?, request).await,
            }
        };
        tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| ClientError::Deadline)?
    }

    async fn handshake(
        &self,
        origin: &Origin,
        stream: Stream,
    ) -> Result<tokio_rustls::client::TlsStream<Stream>, ClientError> {
        let name = tls_name(&origin.target.host).map_err(|_| ClientError::Insecure)?;
        self.tls.ready().await?.connect(name, stream).await.map_err(ClientError::Tls)
    }
}

/// Scheme, host and port of a URL that secrets may be sent to.
fn origin(url: &Uri) -> Result<Origin, ClientError> {
    let scheme = match url.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => return Err(ClientError::Insecure),
    };
    let authority = url.authority().ok_or(ClientError::Insecure)?;
    let target = Target::parse(authority.as_str(), Some(scheme.default_port()))
        .map_err(|_| ClientError::Insecure)?;
    let loopback = matches!(&target.host, Host::Ip(ip) if ip.is_loopback());
    if scheme == Scheme::Http && !loopback {
        return Err(ClientError::Insecure);
    }
    Ok(Origin { scheme, target })
}

fn request(call: Call<'_>, origin: &Origin) -> Result<Request<Full<Bytes>>, ClientError> {
    let path = call.url.path_and_query().map_or("/", |path| path.as_str());
    let (kind, body) = call.body.unzip();
    let body = body.map_or(Bytes::new(), |body| Bytes::from_owner(Wiped(body)));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = call.method;
    *request.uri_mut() = path.parse().map_err(|_| ClientError::Insecure)?;
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(&origin.authority()).map_err(|_| ClientError::Insecure)?;
    headers.insert(HOST, host);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, secret) in call.headers {
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(secret)))
            .map_err(|_| ClientError::Header)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(request)
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<IssuerAnswer, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BODY)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ClientError::Http)?;
    let mut read = BodyFrames::default();
    let answer = {
        let mut exchange = pin!(async {
            let answer = sender.send_request(request).await.map_err(ClientError::Http)?;
            let (parts, body) = answer.into_parts();
            let body = read.body(body).await?;
            Ok(IssuerAnswer { status: parts.status, headers: copied(&parts.headers), body })
        });
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // The connection may be done before what it has read was taken.
            _ = &mut connection => exchange.await,
        }
    };
    // With the connection its buffers are gone, and the frames are all that is left of them.
    read.wipe();
    answer
}

/// Fields of their own: as they came they are parts of the buffer that the body stands in.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let copy = |(name, value): (&HeaderName, &HeaderValue)| {
        // The same bytes are valid again.
        HeaderValue::from_bytes(value.as_bytes()).ok().map(|value| (name.clone(), value))
    };
    headers.iter().filter_map(copy).collect()
}

/// The frames of an answer's body, as parts of the connection's own buffers, which nobody else
/// wipes.
#[derive(Default)]
struct BodyFrames(Vec<Bytes>);

impl BodyFrames {
    async fn body(&mut self, mut body: Incoming) -> Result<Secret, ClientError> {
        // Full size from the start: a buffer that grows leaves copies behind that nobody wipes.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BODY));
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(ClientError::Http)?.into_data() {
                if bytes.len() + data.len() > MAX_BODY {
                    return Err(ClientError::TooLong);
                }
                bytes.extend_from_slice(&data);
                self.0.push(data);
            }
        }
        Ok(Secret::new(std::mem::take(&mut *bytes)))
    }

    /// Of an answer that came in many pieces some may share a buffer: those cannot be wiped.
    fn wipe(self) {
        for data in self.0 {
            if let Ok(mut data) = data.try_into_mut() {
                data.zeroize();
            }
        }
    }
}

/// Lends a secret to the wire; wiped when the last buffer that refers to it is dropped.
struct Wiped(Secret);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

const AGENT: &str = concat!("valetkey/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::guard::Guard;
    use std::collections::BTreeMap;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn client() -> Client {
        let roots = Roots::load(&[], |_| false).unwrap();
        Client::new(Arc::new(Dialer::new(BTreeMap::new(), Guard::default())), &roots)
    }

    /// Serves one connection with these bytes, and gives back what was asked.
    async fn one_answer(answer: Vec<u8>) -> (Uri, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token?a=b", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"a=1") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            let _ = stream.write_all(&answer).await;
            String::from_utf8(asked).unwrap()
        });
        (url.parse().unwrap(), served)
    }

    async fn post(answer: impl Into<Vec<u8>>) -> (Result<IssuerAnswer, ClientError>, String) {
        let (url, served) = one_answer(answer.into()).await;
        let basic = Some(Secret::new("Basic eA=="));
        let answer = client().post_form(&url, basic, Secret::new("a=1")).await;
        (answer, served.await.unwrap())
    }

    #[tokio::test]
    async fn asks_plainly() {
        let (answer, asked) = post("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.expose()), (200, &b"{}"[..]));
        let asked = asked.to_lowercase();
        assert!(asked.starts_with("post /token?a=b http/1.1\r\n"), "{asked}");
        for line in [
            "accept: application/json",
            "accept-encoding: identity",
            "authorization: basic ea==",
            "connection: close",
            "content-length: 3",
            "content-type: application/x-www-form-urlencoded",
            concat!("user-agent: valetkey/", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line} in {asked}");
        }
    }

    #[tokio::test]
    async fn redirects_are_answers() {
        let (answer, _) = post(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(answer.unwrap().status, StatusCode::FOUND);
    }

    #[tokio::test]
    async fn long_and_broken_answers_are_errors() {
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; MAX_BODY + 1]].concat();
        assert!(matches!(post(long).await.0, Err(ClientError::TooLong)));
        let exact = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; MAX_BODY]].concat();
        assert_eq!(post(exact).await.0.unwrap().body.len(), MAX_BODY);
        for broken in ["", "hello", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"] {
            assert!(matches!(post(broken).await.0, Err(ClientError::Http(_))), "{broken}");
        }
    }

    #[tokio::test]
    async fn a_silent_endpoint_ends_by_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::time::pause();
        let answer = client().post_form(&url, None, Secret::new("a=1")).await;
        assert!(matches!(answer, Err(ClientError::Deadline | ClientError::Dial(_))));
    }

    /// Asks `https://NAME:PORT` at an endpoint whose certificate is for `idp.example`.
    async fn ask_over_tls(name: &str, trusted: bool) -> Result<IssuerAnswer, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let made = rcgen::generate_simple_self_signed(["idp.example".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![made.cert.der().clone()],
                PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut asked = Vec::new();
            while !asked.ends_with(b"a=1") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            // Without close_notify: the length says that the answer is whole.
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
            stream.flush().await.unwrap();
        });
        let pem = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(pem.path(), made.cert.pem()).unwrap();
        let extra = if trusted { vec![pem.path().to_owned()] } else { vec![] };
        let roots = Roots::load(&extra, |_| false).unwrap();
        let target = Target::parse(&format!("{name}:{}", address.port()), None).unwrap();
        let pins = BTreeMap::from([(target.clone(), address)]);
        let client = Client::new(Arc::new(Dialer::new(pins, Guard::default())), &roots);
        let url = format!("https://{target}/token").parse().unwrap();
        client.post_form(&url, None, Secret::new("a=1")).await
    }

    #[tokio::test]
    async fn the_certificate_must_be_trusted_and_of_this_name() {
        assert_eq!(ask_over_tls("idp.example", true).await.unwrap().status, StatusCode::OK);
        let unknown = ask_over_tls("idp.example", false).await;
        assert_eq!(unknown.unwrap_err().of_tls(), Some(TlsFault::UnknownIssuer));
        let other = ask_over_tls("other.example", true).await;
        assert_eq!(other.unwrap_err().of_tls(), Some(TlsFault::Name));
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(ClientError::Tls(broken).of_tls(), None, "the network may have done that");
    }

    #[test]
    fn secrets_go_over_tls_or_loopback_only() {
        let check = |text: &str| origin(&text.parse().unwrap()).map(|o| o.to_string());
        assert_eq!(check("https://IDP.example/x").unwrap(), "https://idp.example");
        assert_eq!(check("http://127.0.0.1:8080/x").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(check("http://[::1]/x").unwrap(), "http://[::1]");
        for text in
            ["http://idp.example/", "http://localhost/", "ftp://a.example/", "/x", "https://u@a/"]
        {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
