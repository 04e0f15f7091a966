//! `authorization-code`: the test is the browser. It follows the printed address to the provider and back to
//! loopback, and does what no good browser does: wrong state, twice, from another name, or as another issuer.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncBufReadExt as _;

use super::bearer;
use crate::harness::client::{dial, exchange};
use crate::harness::http1::Message;
use crate::harness::idp::{CLIENT, Idp, PERSON};
use crate::harness::neighbour;
use crate::harness::stage::{EVIL, Stage};
use crate::harness::valetkey::{Home, Running, Valetkey};
use crate::harness::{soon, until};

fn credential(idp: &Idp, more: &str) -> String {
    format!(
        "[credentials.mine]\ngrant = \"authorization-code\"\nissuer = {:?}\nclient_id = {CLIENT:?}\n\
         scope = [\"openid\", \"orders\"]\nlogin_params = {{ prompt = \"consent\" }}\n{more}",
        idp.issuer()
    )
}

/// A login under way, and where it wants the browser to go.
async fn begun(home: &Home) -> (Running, String) {
    let terminal = home.spawn(home.command(&["login", "mine"]));
    let line = terminal.says("/authorize?").await.expect("an address is printed");
    (terminal, line.trim().to_owned())
}

/// GETs an http address on loopback as a browser would.
async fn get(url: &str) -> Option<Message> {
    get_as(url, None).await
}

async fn get_as(url: &str, host: Option<&str>) -> Option<Message> {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let addr: SocketAddr = authority.replace("localhost", "127.0.0.1").parse().unwrap();
    let host = host.unwrap_or(authority);
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    exchange(&mut dial(addr).await, request.as_bytes()).await
}

/// Where the provider sends the browser.
async fn sent_back(page: &str) -> String {
    let answer = get(page).await.unwrap();
    assert_eq!(answer.status(), 302, "{}", answer.everything());
    answer.all("location").pop().unwrap()
}

#[tokio::test]
async fn a_person_logs_in_with_a_browser() {
    let idp = Idp::start().await;
    let stage = Stage::valetkey_with(|builder| {
        builder
            .toml(&credential(&idp, ""))
            .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\""))
    })
    .await;
    let home = stage.running().unwrap().home().clone();
    let (mut terminal, page) = begun(&home).await;
    let back = sent_back(&page).await;
    let asked = idp.calls_of("/authorize").remove(0);
    assert_eq!((asked.one("response_type"), asked.one("prompt")), ("code", "consent"));
    assert_eq!(asked.one("scope"), "openid orders");
    assert!(asked.one("redirect_uri").starts_with("http://127.0.0.1:"), "{asked:?}");

    // Whoever guesses, or comes by another name, is not heard, and ends nothing.
    let guess = back.replace("state=", "state=x");
    assert_eq!(get(&guess).await.unwrap().status(), 400);
    assert_eq!(get_as(&back, Some("rebound.evil.example")).await.unwrap().status(), 404);
    assert!(idp.calls_of("/token").is_empty());

    let gate = idp.hold();
    let first = tokio::spawn({
        let back = back.clone();
        async move { get(&back).await }
    });
    until("the exchange", || !idp.calls_of("/token").is_empty()).await;
    gate.open();
    let done = first.await.unwrap().unwrap();
    assert_eq!(done.status(), 200, "{}", done.everything());
    assert!(done.text().contains("Logged in") && done.text().contains("close this page"));
    assert_eq!(done.all("referrer-policy"), ["no-referrer"]);
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    let told = terminal.says("logged in for `mine`").await.expect("it is told");
    assert!(told.contains(&format!("as {PERSON}")), "{told}");
    assert_eq!(idp.calls_of("/token").len(), 1, "a code is spent once");
    idp.release();
    assert_eq!(bearer(&stage, "/x").await, idp.minted()[1]);
    let verifier = idp.calls_of("/token")[0].one("code_verifier").to_owned();
    super::silent(&stage, &[idp.refresh_tokens(), idp.minted(), vec![verifier]].concat()).await;
}

/// What the provider says in the redirect or the ID token, and how the login then ends.
#[tokio::test]
async fn what_is_not_of_this_login_ends_it() {
    let idp = Idp::start().await;
    let home = Valetkey::new().toml(&credential(&idp, "")).written();
    for (back, claims, code) in [
        (json!({ "iss": "https://evil.example" }), json!({}), "login-another-issuer"),
        (json!({ "iss": null }), json!({}), "login-another-issuer"),
        (json!({ "code": null, "error": "access_denied" }), json!({}), "login-denied"),
        (json!({ "code": null, "error": "x_canary" }), json!({}), "login-refused"),
        (json!({}), json!({ "nonce": "another" }), "id-token-invalid"),
        (json!({}), json!({ "nonce": null }), "id-token-invalid"),
        (json!({}), json!({ "aud": "another" }), "id-token-invalid"),
        (json!({}), json!({ "aud": [CLIENT, "another"] }), "id-token-invalid"),
        (json!({}), json!({ "azp": "another" }), "id-token-invalid"),
        (json!({}), json!({ "iss": "https://evil.example" }), "id-token-invalid"),
        (json!({}), json!({ "exp": 1 }), "id-token-invalid"),
    ] {
        idp.with(|idp| (idp.redirect, idp.id_claims) = (back.clone(), claims.clone()));
        let (mut terminal, page) = begun(&home).await;
        let answer = get(&sent_back(&page).await).await.unwrap();
        assert_eq!(answer.status(), 400, "{code}");
        assert!(
            answer.text().contains(code) && !answer.text().contains("canary"),
            "{}",
            answer.text()
        );
        assert_eq!(terminal.ended().await, Some(1), "{back} {claims}");
        let told = terminal.says(&format!("error[{code}]")).await;
        let said = terminal.output();
        assert!(told.is_some(), "{back} {claims}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
    assert!(home.run(&["logout", "mine"]).await.stderr.contains("nobody was logged in"));
}

#[tokio::test]
async fn two_logins_at_once_do_not_disturb_each_other() {
    let idp = Idp::start().await;
    let home = Valetkey::new().toml(&credential(&idp, "")).written();
    let (mut one, first) = begun(&home).await;
    let (mut two, second) = begun(&home).await;
    let (first, second) = (sent_back(&first).await, sent_back(&second).await);
    // Each browser at the other's door.
    let port = |url: &str| url.split(['/', '?']).nth(2).unwrap().to_owned();
    let crossed = first.replace(&port(&first), &port(&second));
    assert_eq!(get(&crossed).await.unwrap().status(), 400);
    assert_eq!(get(&second).await.unwrap().status(), 200);
    assert_eq!(get(&first).await.unwrap().status(), 200);
    assert_eq!((one.ended().await, two.ended().await), (Some(0), Some(0)));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let idp = Idp::start().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let more = format!("redirect_uri = \"http://localhost:{port}/back\"");
    let home = Valetkey::new().toml(&credential(&idp, &more)).written();
    let done = home.run(&["login", "mine"]).await;
    assert!(done.stderr.contains("error[redirect-unavailable]"), "{}", done.stderr);
    drop(taken);
    let (mut terminal, page) = begun(&home).await;
    let back = sent_back(&page).await;
    assert!(back.starts_with(&format!("http://localhost:{port}/back?")), "{back}");
    assert_eq!(get(&back).await.unwrap().status(), 200);
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
}

/// Another user of the machine can reach the address and read command lines: he is not heard, whatever he knows.
#[tokio::test]
async fn another_users_callback_is_not_heard() {
    if !neighbour::exists() {
        return;
    }
    let idp = Idp::start().await;
    let home = Valetkey::new()
        .toml(&credential(&idp, "redirect_uri = \"http://localhost/callback\""))
        .written();
    let (mut terminal, page) = begun(&home).await;
    // All that an attacker could want: the very answer that ends this login.
    let back = sent_back(&page).await;
    for family in ["-4", "-6"] {
        let line = format!(
            "curl -sS {family} --max-time 5 -o /dev/null -w '%{{http_code}}' '{back}' || true"
        );
        let done = neighbour::sh(&line).await;
        assert_eq!(done.stdout, "000", "{family}: {done:?}");
        // It was there, and hung up: no other program could have the address of the other family.
        assert!(!done.stderr.contains("refused"), "{family}: {done:?}");
    }
    assert!(idp.calls_of("/token").is_empty());
    terminal.says("callback-foreign").await.expect("it is said");
    // 300 of his that say nothing hold nobody up.
    let port = back.split(':').nth(2).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    let stuck = format!(
        "import socket, sys\nheld = [socket.create_connection(('127.0.0.1', {port})) for _ in range(300)]\nprint('ready', flush=True)\nsys.stdin.read()"
    );
    let mut python = neighbour::command("python3");
    python.args(["-c", &stuck]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon("300 connections", lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    // Control: our own browser is heard, and is told who logged in.
    let done = get(&back).await.unwrap();
    assert_eq!(done.status(), 200, "{}", done.everything());
    assert!(done.text().contains(&format!("Logged in as {PERSON}")), "{}", done.everything());
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
}

/// What a browser is started with stands in its command line, which everybody can read.
#[tokio::test]
async fn the_browser_is_started_with_an_address_that_says_nothing() {
    let idp = Idp::start().await;
    let home = Valetkey::new()
        .file("xdg-open", "#!/bin/sh\nprintf '%s\\n' \"$1\" > \"$0.called\"\n")
        .env("DISPLAY", ":99")
        .toml(&credential(&idp, ""))
        .written();
    let program = home.path("xdg-open");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = home.command(&["login", "mine"]);
    command.env("PATH", format!("{}:{path}", home.path("").display()));
    let mut terminal = home.spawn(command);
    let page = terminal.says("/authorize?").await.expect("an address").trim().to_owned();
    let called = home.path("xdg-open.called");
    until("a browser", || std::fs::read_to_string(&called).is_ok_and(|text| text.ends_with('\n')))
        .await;
    let start = std::fs::read_to_string(&called).unwrap().trim().to_owned();
    assert!(start.starts_with("http://127.0.0.1:") && !start.contains("state"), "{start}");
    // By another name it is not there; by its own it leads on, once.
    assert_eq!(get_as(&start, Some("rebound.evil.example")).await.unwrap().status(), 404);
    let sent_on = get(&start).await.unwrap();
    assert_eq!((sent_on.status(), sent_on.all("location")), (303, vec![page.clone()]));
    assert_eq!(get(&start).await.unwrap().status(), 404);
    let done = get(&sent_back(&page).await).await.unwrap();
    assert_eq!(done.status(), 200, "{}", done.everything());
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
}
