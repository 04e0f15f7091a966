//! What anyone would write with hyper in an afternoon: CONNECT by upgrade, TLS, one header set, the pooling client.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::kit::KEY;
use super::connector::ApiConnector;
use super::pki;

type Body = BoxBody<Bytes, hyper::Error>;

struct Proxy {
    client: Client<ApiConnector, Incoming>,
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
    configs: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

pub async fn serve(listener: TcpListener, api: SocketAddr, folder: &Path) {
    let connector = ApiConnector::new(api, folder);
    let proxy = Arc::new(Proxy {
        client: Client::builder(TokioExecutor::new()).build(connector),
        issuer: pki::issuer(folder),
        key: KeyPair::generate().unwrap(),
        configs: Mutex::default(),
    });
    super::say_listening(&listener);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move {
            let service = service_fn(move |request| connect(Arc::clone(&proxy), request));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            serving.await.ok();
        });
    }
}

async fn connect(
    proxy: Arc<Proxy>,
    mut request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut answer = Response::new(Empty::new());
    let Some(host) = request.uri().host().map(str::to_owned) else {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(answer);
    };
    if request.method() != Method::CONNECT {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(answer);
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let acceptor = TlsAcceptor::from(proxy.config(&host));
        let Ok(stream) = acceptor.accept(TokioIo::new(upgraded)).await else { return };
        let service = service_fn(move |request| forward(Arc::clone(&proxy), host.clone(), request));
        let server = auto::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await.ok();
    });
    Ok(answer)
}

async fn forward(
    proxy: Arc<Proxy>,
    host: String,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme("https").authority(host).path_and_query(path).build();
    *request.uri_mut() = uri.unwrap();
    *request.version_mut() = http::Version::HTTP_11;
    let key = HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, key);
    Ok(match proxy.client.request(request).await {
        Ok(answer) => answer.map(BodyExt::boxed),
        Err(_) => {
            let body = Empty::new().map_err(|never| match never {}).boxed();
            let mut answer = Response::new(body);
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    })
}

impl Proxy {
    fn config(&self, host: &str) -> Arc<ServerConfig> {
        let mut configs = self.configs.lock().unwrap();
        let make = || Arc::new(self.sign(host));
        Arc::clone(configs.entry(host.to_owned()).or_insert_with(make))
    }

    fn sign(&self, host: &str) -> ServerConfig {
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let leaf = params.signed_by(&self.key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}
