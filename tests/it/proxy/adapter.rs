//! The hudsucker adapter: our decisions hold inside somebody else's proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use hudsucker::Proxy;
use tokio::net::TcpListener;
use valetkey::adapter::hudsucker::{Connector, Handler, Leaves, Parts};
use valetkey::config;

use crate::harness::api::{Answer, Api};
use crate::harness::client::{Trust, connect, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::issuer::Issuer;
use crate::harness::pki::Pki;
use crate::harness::valetkey::{Home, Valetkey};
use crate::harness::{look_again, soon};

const ORDERS: &str = "api.orders.example";

struct Adapted {
    address: SocketAddr,
    ca: String,
    parts: Arc<Parts>,
    home: Home,
    api: Api,
    issuer: Issuer,
}

async fn adapted() -> Adapted {
    let pki = Pki::new();
    let api = Api::tls(&pki.server(&[ORDERS])).await;
    let issuer = Issuer::start().await;
    let home = Valetkey::new()
        .trusting(&pki)
        .reaching(&format!("{ORDERS}:443"), api.addr())
        .minting("orders", &issuer)
        .route(&format!(
            "name = \"orders\"\nhost = \"{ORDERS}\"\nmethods = [\"GET\"]\npath = [\"/v1/**\"]\n\
             credential = \"orders\"\nstrip = [\"header:x-api-key\"]"
        ))
        .route(&format!(
            "name = \"secret\"\nhost = \"{ORDERS}\"\npath = [\"/v1/secret\"]\ndeny = true"
        ))
        .route(&format!(
            "name = \"keys\"\nhost = \"{ORDERS}\"\nmethods = [\"GET\"]\npath = [\"/v2/**\"]\ncredential = \"orders\"\n\
             strip = [\"header:x-api-key\"]\non_static_key = \"deny\""
        ))
        .route(&format!(
            "name = \"slow\"\nhost = \"{ORDERS}\"\npath = [\"/v3/**\"]\ncredential = \"orders\"\n\
             rate_limit = \"1/h\""
        ))
        .minting("more", &issuer)
        .route(&format!(
            "name = \"more\"\nhost = \"{ORDERS}\"\npath = [\"/v4/**\"]\ncredential = \"more\""
        ))
        .written();
    let text = std::fs::read(&home.config).unwrap();
    let config = config::parse(&home.config, &text, home.state.clone()).unwrap().0;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let parts = Parts::open(&config, &[address]).unwrap();
    let proxy = Proxy::builder()
        .with_listener(listener)
        .with_ca(Leaves::new(&parts).unwrap())
        .with_http_connector(Connector::new(Arc::clone(&parts)))
        .with_http_handler(Handler::new(Arc::clone(&parts), address))
        .build()
        .unwrap();
    tokio::spawn(proxy.start());
    let ca = parts.roots_pem();
    Adapted { address, ca, parts, home, api, issuer }
}

impl Adapted {
    async fn get(&self, host_field: &str, path: &str) -> Message {
        self.get_with(host_field, path, "k").await
    }

    async fn get_with(&self, host_field: &str, path: &str, key: &str) -> Message {
        let (answer, reader) = connect(self.address, &format!("{ORDERS}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(Trust::Roots(&self.ca), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, ORDERS, config).await.unwrap());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host_field}\r\nX-Api-Key: {key}\r\nAuthorization: Bearer own\r\n\r\n"
        );
        exchange(&mut tunnel, request.as_bytes()).await.expect("an answer")
    }

    async fn records(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> usize {
        self.parts.flush().unwrap();
        self.home.audit().into_iter().filter(|record| wanted(record)).count()
    }
}

#[tokio::test]
async fn a_placeholder_becomes_a_token_and_comes_back_masked() {
    let adapted = adapted().await;
    // The API reflects what it got, as many do in an error.
    adapted.api.answer(|seen| {
        Answer::ok("{\"ok\":true}").header("x-echo", seen.all("authorization").join(","))
    });
    let answer = adapted.get(ORDERS, "/v1/orders").await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let seen = adapted.api.request(0).await;
    let token = adapted.issuer.token();
    assert_eq!(seen.all("authorization"), [format!("Bearer {token}")]);
    assert!(seen.all("x-api-key").is_empty(), "{seen:#?}");
    assert!(answer.all("x-echo")[0].contains("***"), "{}", answer.everything());
    assert!(!answer.everything().contains(&token));
    soon("decision and outcome", async {
        while adapted.records(|r| r["outcome"]["status"] == 200).await == 0 {
            look_again().await;
        }
    })
    .await;
    assert_eq!(adapted.records(|r| r["decision"] == "inject").await, 1);
}

#[tokio::test]
async fn what_policy_refuses_is_refused() {
    let adapted = adapted().await;
    for (host, path, status, code) in [
        ("evil.example", "/v1/orders", 421, "authority-mismatch"),
        (ORDERS, "/v1/secret", 403, "route-denied"),
        (ORDERS, "/v1/%2e%2e/x", 400, "ambiguous-path"),
    ] {
        let answer = adapted.get(host, path).await;
        assert_eq!(answer.status(), status, "{}", answer.everything());
        assert!(answer.everything().contains(code), "{}", answer.everything());
        assert_eq!(adapted.records(|r| r["code"] == code && r["event"] == "decision").await, 1);
    }
    let key = concat!("gh", "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx");
    let answer = adapted.get_with(ORDERS, "/v2/orders", key).await;
    assert_eq!(answer.status(), 403, "{}", answer.everything());
    assert!(answer.everything().contains("static-key-refused"), "{}", answer.everything());
    assert_eq!(adapted.records(|r| r["static_key"].is_object()).await, 1);
    // Its engine would dial an opaque tunnel past the guard.
    for authority in ["evil.example:443", "127.0.0.1:22", &format!("{ORDERS}:8443")] {
        let (answer, _) = connect(adapted.address, authority).await;
        assert_eq!(answer.status(), 403, "{authority}: {}", answer.everything());
    }
    assert!(adapted.api.requests().is_empty() && adapted.issuer.calls().is_empty());
}

/// The same passage as everywhere: what was once left out here is not.
#[tokio::test]
async fn no_step_is_left_out() {
    let adapted = adapted().await;
    // A refused key is recorded with the route that refused it.
    let key = concat!("gh", "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx");
    adapted.get_with(ORDERS, "/v2/orders", key).await;
    let of_route = |r: &serde_json::Value| r["static_key"].is_object() && r["route"] == "keys";
    assert_eq!(adapted.records(of_route).await, 1);
    // A quote is no letter of a field's name.
    let answer = adapted.get_with(ORDERS, "/v1/x", "k\r\nX\"Y: z").await;
    assert_eq!(answer.status(), 400, "{}", answer.everything());
    // A placeholder that nobody was given is nobody's.
    let made_up = format!("vk-placeholder-1{}", "A".repeat(43));
    let answer = adapted.get_with(ORDERS, "/v1/x", &made_up).await;
    assert_eq!(answer.status(), 403, "{}", answer.everything());
    assert!(answer.everything().contains("placeholder-refused"), "{}", answer.everything());
    // The one of the route's own rate comes through, the next is told to wait.
    for (status, code) in [(200, ""), (429, "rate-limited")] {
        let answer = adapted.get(ORDERS, "/v3/x").await;
        assert_eq!(answer.status(), status, "{}", answer.everything());
        assert!(answer.everything().contains(code), "{}", answer.everything());
    }
    assert_eq!(adapted.api.requests().len(), 1);
    // What the upstream was given on one route is masked on another.
    let before = adapted.issuer.token();
    let text = before.clone();
    adapted.api.answer(move |_| Answer::ok(text.clone()));
    let answer = adapted.get(ORDERS, "/v4/x").await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert_eq!(answer.text(), "*".repeat(before.len()));
}

#[tokio::test]
async fn a_name_outside_the_constraints_gets_no_certificate() {
    let adapted = adapted().await;
    let (_, reader) = connect(adapted.address, &format!("{ORDERS}:443")).await;
    let config = tls_config(Trust::Roots(&adapted.ca), &["http/1.1"]);
    assert!(tls(reader.stream, "evil.example", config).await.is_err());
}
