//! hudsucker, bare and with our adapter.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, header};
use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::{Body, HttpContext, HttpHandler, Proxy, RequestOrResponse};
use tokio::net::TcpListener;
use valetkey::adapter::hudsucker::{Connector, Handler, Leaves, Parts};

use super::super::kit::KEY;
use super::connector::ApiConnector;
use super::pki;

#[derive(Clone)]
struct SetHeader;

impl HttpHandler for SetHeader {
    async fn handle_request(
        &mut self,
        _: &HttpContext,
        mut request: Request<Body>,
    ) -> RequestOrResponse {
        if request.method() != Method::CONNECT {
            let key = HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, key);
        }
        request.into()
    }
}

/// Its own CA, its own caches; a header is set.
pub async fn serve(listener: TcpListener, api: SocketAddr, folder: &Path) {
    super::say_listening(&listener);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let proxy = Proxy::builder()
        .with_listener(listener)
        .with_ca(RcgenAuthority::new(pki::issuer(folder), 1_000, provider))
        .with_http_connector(ApiConnector::new(api, folder))
        .with_http_handler(SetHeader)
        .build()
        .unwrap();
    proxy.start().await.unwrap();
}

/// Our policy, tokens, CA and audit in it, from the config that Valetkey's row has.
pub async fn serve_adapter(listener: TcpListener, folder: &Path) {
    let path = folder.join("valetkey.toml");
    let text = std::fs::read(&path).unwrap();
    let config = valetkey::config::parse(&path, &text, folder.join("adapter-state")).unwrap().0;
    std::fs::create_dir_all(&config.state_dir).unwrap();
    let local = listener.local_addr().unwrap();
    let parts = Parts::open(&config, &[local]).unwrap();
    std::fs::write(folder.join("adapter.pem"), parts.roots_pem()).unwrap();
    super::say_listening(&listener);
    let proxy = Proxy::builder()
        .with_listener(listener)
        .with_ca(Leaves::new(&parts).unwrap())
        .with_http_connector(Connector::new(Arc::clone(&parts)))
        .with_http_handler(Handler::new(parts, local))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
}
