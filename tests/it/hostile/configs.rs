//! What an owner or a deployment may get wrong: hosts that are many owners', hosts made of what a client says, secrets
//! that no field may hold, batch endpoints beside a narrow route.

use crate::harness::client::exchange;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::Valetkey;

/// What `check` says to a route for this host.
async fn checked(host: &str) -> crate::harness::client::Finished {
    let home = Valetkey::new()
        .credential_at("a", "http://127.0.0.1:9/token", "")
        .route(&format!("name = \"one\"\nhost = {host:?}\ncredential = \"a\""))
        .written();
    home.run(&["check"]).await
}

/// Anybody may have a name there (the public suffix list says so), and with it the token.
#[tokio::test]
async fn a_wildcard_over_hosts_of_many_owners_is_refused() {
    let shared = [
        "com",
        "co.uk",
        "io",
        "s3.amazonaws.com",
        "blob.core.windows.net",
        "workers.dev",
        "pages.dev",
        "github.io",
        "gitlab.io",
        "herokuapp.com",
        "vercel.app",
        "web.app",
        "netlify.app",
        "appspot.com",
        "cloudfront.net",
        "azurewebsites.net",
        "fly.dev",
        "run.app",
        "onrender.com",
    ];
    for suffix in shared {
        let done = checked(&format!("*.{suffix}")).await;
        let said = done.stdout + &done.stderr;
        assert_eq!(done.code, Some(2), "*.{suffix}: {said}");
        let named = said.contains("wildcard-public-suffix") && said.contains(suffix);
        // A whole top-level domain is no host to begin with.
        assert!(named || said.contains("bad-host"), "{said}");
        let done = checked(&format!("mine.{suffix}")).await;
        assert_eq!(done.code, Some(0), "mine.{suffix}: {}{}", done.stdout, done.stderr);
    }
    let done = checked("*.orders.example").await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    println!("sent: {} wildcards", shared.len());
}

#[tokio::test]
async fn a_host_is_no_template_and_nothing_but_a_host() {
    let hosts = [
        "{region}.orders.example",
        "${REGION}.orders.example",
        "$host",
        "%s.orders.example",
        "<host>",
        "*",
        "*.*.example",
        "**.example",
        "a.*.example",
        "*a.example",
        "a*.example",
        "evil.example/",
        "evil.example/x",
        "evil.example?x",
        "evil.example#x",
        "user@evil.example",
        "evil.example:443",
        "evil.example\\\\x",
        "a b.example",
        " evil.example",
        "evil.example ",
        "",
        ".",
        "..",
        ".evil.example",
        "a..example",
        "evil.example..",
        "10.0.0.1",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "\u{e4}.example",
        "evil\u{3002}example",
        "evil.example,b.example",
        "https://evil.example",
        "evil.example\\n",
        "evil%2eexample",
    ];
    for host in hosts {
        let done = checked(host).await;
        let said = done.stdout + &done.stderr;
        assert_eq!(done.code, Some(2), "{host:?}: {said}");
    }
    println!("sent: {} hosts that are none", hosts.len());
}

/// Read as they are but for one line end; what no field may hold is not sent, and not told.
#[tokio::test]
async fn a_secret_that_no_field_may_hold_is_not_sent() {
    let bad: Vec<&[u8]> = vec![
        b"",
        b"\n",
        b"\r\n",
        b"canary-0\r\nX-Evil: y",
        b"canary-0\nX: y\n",
        b"canary-0\n\n",
        b"canary-0\r",
        b"canary\0-0",
        b"\0canary-0",
        b"canary\x01-0",
        b"canary\x7f-0",
        b"canary\x1b[2J-0",
        b"canary-\xff\xfe",
        b"canary-\xe9-0",
        "canary-\u{3002}-0".as_bytes(),
        b"\xef\xbb\xbfcanary-0",
    ];
    let good: [&[u8]; 4] =
        [b"canary-good-%0d%0a/../x", b"canary-good-2\n", b"canary-good-3\r\n", b"canary-good+/=~"];
    let all = [&bad[..], &good].concat();
    let stage = Stage::valetkey_with(|v| {
        (0..all.len()).fold(v, |v: Valetkey, n| {
            v.file(&format!("s{n}"), "not yet written by anybody\n")
                .toml(&format!("[credentials.s{n}]\ngrant = \"static-key\"\nsecret = {{ file = \"s{n}\" }}"))
                .route(&format!("name = \"s{n}\"\nhost = \"{ORDERS}\"\npath = [\"/s{n}/**\"]\ncredential = \"s{n}\""))
        })
    })
    .await;
    for (n, text) in all.iter().enumerate() {
        std::fs::write(stage.running().unwrap().home.path(&format!("s{n}")), text).unwrap();
        let answer = stage.get(ORDERS, &format!("/s{n}/x"), "").await.unwrap();
        let shown = String::from_utf8_lossy(text).into_owned();
        if n < bad.len() {
            assert!([502, 503].contains(&answer.status()), "{shown:?}: {}", answer.everything());
            assert!(stage.orders.requests().is_empty(), "{shown:?} was sent");
            assert!(!answer.everything().contains("canary"), "{}", answer.everything());
        } else {
            assert_eq!(answer.status(), 200, "{shown:?}: {}", answer.everything());
            let seen = stage.orders.request(n - bad.len()).await;
            assert_eq!(seen.one("authorization"), format!("Bearer {}", shown.trim_end()));
        }
    }
    let said = stage.running().unwrap().output();
    assert!(!said.contains("canary"), "{said}");
    stage.control().await.unwrap();
    println!("sent: {} secrets, {} of them good", all.len(), good.len());
}

/// A request of many requests is one request: for its own path, which the route does not have.
#[tokio::test]
async fn batch_endpoints_beside_a_narrow_route_get_no_token() {
    let stage = Stage::valetkey().await;
    let inner = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let multipart = format!("--b\r\nContent-Type: application/http\r\n\r\n{inner}\r\n--b--\r\n");
    let calls = "[{\"jsonrpc\":\"2.0\",\"method\":\"get\",\"params\":[\"/v1/x\"],\"id\":1},{\"jsonrpc\":\"2.0\",\"method\":\"delete\",\"id\":2}]";
    let aliases = "{\"query\":\"{a:order(id:1){x} b:order(id:2){x}}\"}";
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let mut sent = 0;
    for path in [
        "/$batch",
        "/%24batch",
        "/v1$batch",
        "/v1:batch",
        "/batch",
        "/batch/v1/x",
        "/graphql",
        "/rpc",
        "/",
        "/v10/$batch",
    ] {
        for (kind, body) in [
            ("multipart/mixed; boundary=b", multipart.as_str()),
            ("application/json", calls),
            ("application/json", aliases),
        ] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = exchange(&mut tunnel, request.as_bytes()).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}: {}", answer.everything());
            sent += 1;
        }
    }
    assert_eq!(stage.orders.requests().len(), sent, "each passes as one");
    stage.bare("a batch", &stage.orders).unwrap();
    assert!(stage.orders_issuer.calls().is_empty(), "nothing was minted for them");
    stage.control().await.unwrap();
    println!("sent: {sent} batches");
}
