//! Unmodified clients under `valetkey run`: the API sees a token of the real issuer, once, in its
//! slot, and never the placeholder that the client sent.

use super::scene::{ORDERS, Peers, Scene};
use super::tool::Tool;
use valetkey::model::placeholder;

async fn gets_a_token(tool: Tool) {
    let scene = Scene::set().await;
    tool.prepare(&scene.home()).await;
    let line = tool.line(&format!("https://{ORDERS}/v1/orders?page=2"), &scene.home());
    let (output, given) = scene.run(&line).await;

    assert_eq!(output.code(), Some(0), "{tool:?}: {}", output.all());
    assert!(output.stdout().contains("orders of orders-cli"), "{tool:?}: {}", output.all());
    assert!(output.stdout().contains("200"), "{tool:?}: {}", output.all());
    assert!(given.starts_with(placeholder::PREFIX), "a placeholder: {given}");

    let requests = scene.peers.api.requests();
    assert_eq!(requests.len(), 1, "{tool:?} asked once: {requests:#?}");
    let seen = &requests[0];
    assert_eq!(seen.target, "/v1/orders?page=2");
    let (token, claims) = scene.bearer(seen);
    assert_eq!(claims.scope, "orders:read");
    assert_eq!(seen.count(&given), 0, "the placeholder went upstream: {seen:#?}");
    assert_eq!(seen.count(placeholder::PREFIX), 0, "a placeholder went upstream: {seen:#?}");
    assert!(seen.all("x-api-key").is_empty(), "x-api-key is stripped: {seen:#?}");
    assert!(seen.all("proxy-authorization").is_empty(), "hop-by-hop: {seen:#?}");

    // The client never held the token, and the issuer minted it for this request.
    assert!(!output.all().contains(&token), "{tool:?} saw the token");
    let issued = scene.peers.provider.issued.at("a token line", 0).await;
    assert_eq!(issued["jti"], claims.jti);
    assert_eq!(scene.peers.provider.issued.len(), 1, "one token call");
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn curl_gets_a_token() {
    gets_a_token(Tool::Curl).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn curl_with_x_api_key_gets_a_token() {
    gets_a_token(Tool::CurlApiKey).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn wget_gets_a_token() {
    gets_a_token(Tool::Wget).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_requests_gets_a_token() {
    gets_a_token(Tool::Requests).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_httpx_gets_a_token() {
    gets_a_token(Tool::Httpx).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn python_urllib_gets_a_token() {
    gets_a_token(Tool::Urllib).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn node_24_fetch_gets_a_token() {
    gets_a_token(Tool::Fetch).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_go_program_gets_a_token() {
    gets_a_token(Tool::Go).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn java_httpclient_gets_a_token() {
    gets_a_token(Tool::Java).await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn two_tools_in_a_row_share_no_placeholder_and_no_unverified_token() {
    let scene = Scene::set().await;
    let url = format!("https://{ORDERS}/v1/orders");
    let line = Tool::Curl.line(&url, &scene.home());
    let (first, given_first) = scene.run(&line).await;
    let (second, given_second) = scene.run(&line).await;
    assert_eq!((first.code(), second.code()), (Some(0), Some(0)), "{}", second.all());
    assert_ne!(given_first, given_second);
    for seen in scene.peers.api.requests() {
        scene.bearer(&seen);
        assert_eq!(seen.count(placeholder::PREFIX), 0);
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_shell_that_evaluates_env_gets_a_token() {
    let scene = Scene::set().await;
    let tool = Tool::Curl.line(&format!("https://{ORDERS}/v1/orders"), &scene.home());
    let line = format!("eval \"$(\"$VALETKEY\" env --config \"$CONFIG\")\" && {tool}");
    let output = super::finish(&mut super::shell(&scene.valetkey.home, &line), b"").await;
    assert_eq!(output.code(), Some(0), "{}", output.all());
    assert!(output.stdout().contains("orders of orders-cli"), "{}", output.all());
    let requests = scene.peers.api.requests();
    scene.bearer(&requests[0]);
    assert_eq!(requests[0].count(placeholder::PREFIX), 0);
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn without_valetkey_the_same_line_is_refused_by_the_api() {
    let peers = Peers::start().await;
    let port = peers.api.addr().port();
    let line = format!(
        "curl -sS -k -w '%{{http_code}}' --resolve {ORDERS}:{port}:127.0.0.1 \
         -H 'Authorization: Bearer vk-placeholder-x' https://{ORDERS}:{port}/v1/orders"
    );
    let mut direct = tokio::process::Command::new("sh");
    direct.args(["-c", &line]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let output = super::finish(&mut direct, b"").await;
    assert!(output.stdout().ends_with("401"), "{}", output.all());
}
