//! What routes mean: ambiguity, wildcards, denial, and hosts that no route names.

use std::collections::BTreeSet;

use crate::harness::api::{Answer, Api, Seen};
use crate::harness::client::{Finished, connect, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::stage::{EVIL, ORDERS, Stage, own_answer};
use crate::harness::valetkey::Valetkey;

/// A route on [`ORDERS`].
fn route(name: &str, path: &str, credential: &str) -> String {
    format!(
        "name = \"{name}\"\nhost = \"{ORDERS}\"\npath = [\"{path}\"]\ncredential = \"{credential}\""
    )
}

/// What `check` says to two routes with different credentials.
async fn check(first: &str, second: &str) -> Finished {
    let home = Valetkey::new()
        .credential_at("a", "http://127.0.0.1:9/token", "")
        .credential_at("b", "http://127.0.0.1:9/token", "")
        .route(&route("one", first, "a"))
        .route(&route("two", second, "b"))
        .written();
    home.run(&["check"]).await
}

/// Provable at load or met at the request: refused in either case, whatever the order.
#[tokio::test]
async fn two_credentials_for_one_request_are_refused() {
    for (first, second) in [("/v2/*/x", "/v2/y/*"), ("/v2/y/*", "/v2/*/x")] {
        let checked = check(first, second).await;
        if checked.code == Some(2) {
            assert!((checked.stdout + &checked.stderr).contains("ambiguous"));
            continue;
        }
        let stage = Stage::valetkey_with(|v| {
            v.route(&route("one", first, "orders")).route(&route("two", second, "billing"))
        })
        .await;
        let answer = stage.get(ORDERS, "/v2/y/x", "").await.unwrap();
        own_answer(&answer, &[403], &["ambiguous-route"]).unwrap();
        assert_eq!(stage.orders.connections(), 0);
        let only_one = first.replace('*', "z");
        let answer = stage.get(ORDERS, &only_one, "").await.unwrap();
        assert_eq!(answer.status(), 200, "its neighbours are not: {}", answer.everything());
        stage.control().await.unwrap();
    }
}

#[tokio::test]
async fn identical_routes_are_refused_at_load() {
    let checked = check("/v1/**", "/v1/**").await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!((checked.stdout + &checked.stderr).contains("ambiguous"));
    let checked = check("/v1/**", "/v2/**").await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// One label, no more and no less. What is not covered is tunnelled, so the API itself is seen.
#[tokio::test]
async fn a_wildcard_is_one_label() {
    let fakes = Stage::naive().await;
    let names = [
        "a.wild.example",
        "a.b.wild.example",
        "wild.example",
        "evilwild.example",
        "wild.example.evil.example",
    ];
    let api = Api::tls(&fakes.pki.server(&names)).await;
    let (addr, pem) = (api.addr(), fakes.pki.pem().to_owned());
    let stage = Stage::valetkey_with(|v| {
        let v = v.file("wild.pem", &pem).also_trusting("wild.pem");
        let v = names.iter().fold(v, |v, name| v.reaching(&format!("{name}:443"), addr));
        v.route("name = \"wild\"\nhost = \"*.wild.example\"\ncredential = \"orders\"")
    })
    .await;
    let answer = stage.get("a.wild.example", "/x", "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    stage.injected(&api.request(0).await, &stage.orders_issuer.token()).unwrap();
    for name in &names[1..] {
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{name}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(crate::harness::client::Trust::Roots(&pem), &["http/1.1"]);
        let stream = tls(reader.stream, name, config).await.expect("an opaque tunnel");
        let request = format!("GET /x HTTP/1.1\r\nHost: {name}\r\n\r\n");
        assert!(exchange(&mut Reader::new(stream), request.as_bytes()).await.is_some());
    }
    let token = stage.orders_issuer.token();
    assert_eq!(api.requests().iter().map(|s| s.count(&token)).sum::<usize>(), 1);
}

#[tokio::test]
async fn a_host_without_a_route_is_tunnelled_unseen() {
    let stage = Stage::valetkey().await;
    let (answer, reader) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    // The API's own CA verifies: nobody stands between. `Host` of a routed host changes nothing.
    let config = tls_config(crate::harness::client::Trust::Roots(stage.pki.pem()), &["http/1.1"]);
    let stream = tls(reader.stream, EVIL, config).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    exchange(&mut Reader::new(stream), request.as_bytes()).await.unwrap();
    assert_eq!(stage.evil.requests().len(), 1);
    stage.control().await.unwrap();
    stage.bare("an unrouted host", &stage.evil).unwrap();
    let audit = stage.running().unwrap().audit();
    assert!(audit.iter().any(|r| r["decision"] == "tunnel"), "{audit:#?}");
}

#[tokio::test]
async fn unmatched_deny_refuses_on_connect() {
    let stage = Stage::valetkey_with(|v| v.proxy("unmatched = \"deny\"")).await;
    let (answer, _) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
    own_answer(&answer, &[403], &["no-route"]).unwrap();
    let answer = stage.get(ORDERS, "/v9/x", "").await.unwrap();
    own_answer(&answer, &[403], &["no-route"]).unwrap();
    assert_eq!(stage.evil.connections() + stage.orders.connections(), 0);
    stage.control().await.unwrap();
}

#[tokio::test]
async fn a_deny_route_denies() {
    let stage = Stage::valetkey_with(|v| {
        v.route(&format!(
            "name = \"closed\"\nhost = \"{ORDERS}\"\npath = [\"/closed/**\"]\ndeny = true"
        ))
    })
    .await;
    let answer = stage.get(ORDERS, "/closed/x", "").await.unwrap();
    own_answer(&answer, &[403], &["route-denied"]).unwrap();
    assert_eq!(stage.orders.connections(), 0);
    stage.control().await.unwrap();
}

#[tokio::test]
async fn without_sni_the_host_of_connect_counts() {
    let stage = Stage::valetkey().await;
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let mut config = tls_config(stage.trust(), &["http/1.1"]);
    config.enable_sni = false;
    let stream = tls(reader.stream, ORDERS, config).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    exchange(&mut Reader::new(stream), request.as_bytes()).await.unwrap();
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
}

/// The leaf names the host of CONNECT and nothing else, so that no client coalesces two hosts.
#[tokio::test]
async fn the_leaf_names_one_host() {
    let stage = Stage::valetkey().await;
    let chain = std::sync::Arc::default();
    let trust = crate::harness::client::Trust::Anyone(std::sync::Arc::clone(&chain));
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    tls(reader.stream, ORDERS, tls_config(trust, &["h2"])).await.unwrap();
    let chain = crate::harness::lock(&chain).clone();
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let names: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names, [format!("DNSName({ORDERS})")]);
    assert!(chain.len() >= 2, "the intermediate is sent");
}

/// Two clients of different identity never share an upstream connection or a token (I7), although the route and its
/// credential are the same. In turns and often: each worker has a pool of its own.
#[tokio::test]
async fn identities_do_not_share_connections() {
    let stage = Stage::valetkey_with(|v| {
        v.file("one.key", "first-session-secret-0123456789abcdef\n")
            .toml("[[sessions]]\nname = \"one\"\nsecret = { file = \"one.key\" }")
    })
    .await;
    stage.orders.answer(|_| Answer::ok("{}"));
    use base64::Engine as _;
    let login = "one:first-session-secret-0123456789abcdef";
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    let lines = format!("Proxy-Authorization: Basic {login}\r\n");
    let authority = format!("{ORDERS}:443");
    for _ in 0..12 {
        stage.get(ORDERS, "/v1/uid", "").await.unwrap();
        let proxy = stage.proxy_addr();
        let (answer, reader) =
            crate::harness::client::connect_with(proxy, &authority, &lines).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(stage.trust(), &["http/1.1"]);
        let stream = tls(reader.stream, ORDERS, config).await.unwrap();
        let request = format!("GET /v1/session HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
        exchange(&mut Reader::new(stream), request.as_bytes()).await.unwrap();
    }
    let seen = stage.orders.requests();
    let of = |path: &str, what: fn(&Seen) -> String| -> BTreeSet<String> {
        seen.iter().filter(|seen| seen.target == path).map(what).collect()
    };
    let parts: [fn(&Seen) -> String; 2] =
        [|seen| seen.connection.to_string(), |seen| seen.one("authorization")];
    for what in parts {
        let (uid, session) = (of("/v1/uid", what), of("/v1/session", what));
        assert!(uid.is_disjoint(&session), "{uid:?} {session:?}");
        assert!(uid.len() + session.len() < seen.len(), "each was used again: {uid:?} {session:?}");
    }
}
