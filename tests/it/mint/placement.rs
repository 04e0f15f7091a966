//! Tokens in queries and paths, and real keys where placeholders should be.

use crate::harness::api::Answer;
use crate::harness::canary;
use crate::harness::valetkey::Valetkey;
use crate::mint::Rig;

fn key_file(key: &str) -> impl FnOnce(Valetkey) -> Valetkey {
    move |valetkey| {
        valetkey.file("minted.key", key).toml(
            "[credentials.minted]\ngrant = \"static-key\"\nsecret = { file = \"minted.key\" }",
        )
    }
}

/// The client's own value in any spelling is gone, one token arrives, and no log holds either.
#[tokio::test]
async fn a_token_in_the_query() {
    let key = canary("key");
    let rig = Rig::with("inject = { query = \"api_key\" }", key_file(&key)).await;
    let mine = canary("mine");
    for target in [
        "/v1/x?page=2".to_owned(),
        format!("/v1/x?api_key={mine}&page=2"),
        format!("/v1/x?page=2&API%5fKEY={mine}&api_key[]={mine}"),
        format!("/v1/x?page=2;api_key={mine}"),
    ] {
        let at = rig.api.requests().len();
        let answer = rig.get(&target, "").await;
        assert_eq!(answer.status(), 200, "{target}: {}", answer.everything());
        assert_eq!(rig.api.request(at).await.target, format!("/v1/x?page=2&api_key={key}"));
    }
    let all = rig.everything().await;
    assert!(!all.contains(&key) && !all.contains(&mine), "a value is written down");
}

#[tokio::test]
async fn a_token_in_the_path() {
    let key = format!("12345:{}", canary("key"));
    let rig = Rig::with("inject = { path = \"/bot{token}/**\" }", key_file(&key)).await;
    let mine = canary("mine");
    rig.api.answer(|seen| {
        let at = format!("https://api.minted.example{}", seen.target);
        Answer::ok("{}")
            .header("Location", at.clone())
            .header("Content-Location", seen.target.clone())
            .header("Link", format!("<{at}>; rel=\"next\""))
            .header("Refresh", format!("5; url={at}"))
    });
    for given in [mine.clone(), format!("a%2F{mine}"), "vk-placeholder-x".to_owned()] {
        let at = rig.api.requests().len();
        let answer = rig.get(&format!("/bot{given}/send?q=1"), "").await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        assert_eq!(rig.api.request(at).await.target, format!("/bot{key}/send?q=1"));
        assert!(!answer.everything().contains(&key), "the echo: {}", answer.everything());
        assert!(answer.all("location")[0].contains("/bot***"), "{}", answer.everything());
    }
    // Refused or not, the segment is written nowhere: here by an ambiguous path.
    let answer = rig.get(&format!("/bot{mine}/../send"), "").await;
    assert_eq!(answer.status(), 400, "{}", answer.everything());
    let all = rig.everything().await;
    assert!(!all.contains(&key) && !all.contains(&mine), "a segment is written down");
    assert!(all.contains("/bot****/send"), "the rest of the path is");
}

/// Reported by kind and fingerprint; refused where the route says so. Never by value.
#[tokio::test]
async fn a_real_key_is_noticed() {
    let sent = format!("glpat-{}", canary("x").replace(|c: char| !c.is_ascii_alphanumeric(), "a"));
    for (keys, status) in [("", 200), ("on_static_key = \"deny\"", 403)] {
        let rig = Rig::with(keys, key_file(&canary("key"))).await;
        let answer = rig.get("/v1/x", &format!("Authorization: Bearer {sent}\r\n")).await;
        assert_eq!(answer.status(), status, "{}", answer.everything());
        assert_eq!(rig.api.requests().len(), usize::from(status == 200));
        assert!(rig.api.requests().iter().all(|seen| seen.count(&sent) == 0), "it went upstream");
        let audit = rig.running.audit();
        let decision = audit.iter().find(|r| r["event"] == "decision").expect("a decision");
        assert_eq!(decision["static_key"]["kind"], "gitlab", "{decision}");
        let fingerprint = decision["static_key"]["fingerprint"].as_str().unwrap_or_default();
        assert!(fingerprint.starts_with("hmac-sha256:"), "{decision}");
        if status == 403 {
            assert_eq!(decision["code"], "static-key-refused");
        } else {
            assert_eq!(decision["token"]["standing"], true, "{decision}");
        }
        let all = rig.everything().await + &answer.everything();
        assert!(!all.contains(&sent), "the key is written down");
        // A placeholder is no key.
        let answer = rig
            .get("/v1/x", "Authorization: Bearer vk-placeholder-abcdefghijklmnop1234567890\r\n")
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
}

/// However it stands in its slot.
#[tokio::test]
async fn a_real_key_is_refused_in_any_dress() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let sent = format!("glpat-{}", canary("x").replace(|c: char| !c.is_ascii_alphanumeric(), "a"));
    let rig = Rig::with("on_static_key = \"deny\"", key_file(&canary("key"))).await;
    for value in [
        format!("Bearer\t{sent}"),
        format!("Bearer {sent}, Bearer x"),
        format!("Token token=\"{sent}\""),
        format!("token={sent}"),
        format!("{sent}%20"),
        format!("Bearer x;{sent}"),
        format!("Basic\t{}", STANDARD.encode(format!("x:{sent}"))),
        format!("basic {}", URL_SAFE_NO_PAD.encode(format!("??>:{sent}"))),
        format!("Bearer vk-placeholder-abcdefghijklmnop1234567890, {sent}"),
    ] {
        let answer = rig.get("/v1/x", &format!("Authorization: {value}\r\n")).await;
        assert_eq!(answer.status(), 403, "{value}: {}", answer.everything());
        assert!(!answer.everything().contains(&sent), "{value}");
    }
    assert_eq!(rig.api.requests().len(), 0);
}

/// The new key is stored, and serves, without a restart.
#[tokio::test]
async fn a_standing_key_is_rotated() {
    use tokio::io::AsyncWriteExt as _;
    let (old, new) = (canary("old"), canary("new"));
    let rig = Rig::with("", |valetkey| {
        valetkey.file("minted.key", &old).toml(
            "[credentials.minted]\ngrant = \"static-key\"\nttl = \"1h\"\nmax_age = \"90d\"\nsecret = { file = \"minted.key\" }",
        )
    })
    .await;
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    assert_eq!(rig.api.request(0).await.one("authorization"), format!("Bearer {old}"));
    let mut command = rig.running.home.command(&["credential", "rotate", "minted"]);
    command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{new}\n").as_bytes()).await.unwrap();
    let done = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && !said.contains(&new), "{said}");
    // At once, whatever `ttl` says, and written down.
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    assert_eq!(rig.api.request(1).await.one("authorization"), format!("Bearer {new}"));
    let audit = rig.running.audit();
    let rotated = audit.iter().find(|r| r["context"]["action"] == "credential-rotated");
    let rotated = rotated.unwrap_or_else(|| panic!("no record: {audit:#?}"));
    assert_eq!(rotated["credential"], "minted");
    assert!(rotated["context"]["by"].is_string(), "{rotated}");
}

/// A cookie is bought with the token: it stays behind, unless the route says that it may pass; never with a token in it.
#[tokio::test]
async fn cookies_stay_behind_unless_the_route_says_so() {
    for (keys, passes) in
        [("", false), ("cookies = \"strip\"", false), ("cookies = \"pass\"", true)]
    {
        let key = canary("key");
        let rig = Rig::with(keys, key_file(&key)).await;
        let echo = format!("b={key}; Path=/");
        rig.api.answer(move |_| {
            Answer::ok("{}").header("Set-Cookie", "a=1").header("Set-Cookie", echo.clone())
        });
        let answer = rig.get("/v1/x", "").await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let cookies = answer.all("set-cookie");
        assert_eq!(cookies.len(), if passes { 2 } else { 0 }, "{keys}: {cookies:?}");
        assert!(!answer.everything().contains(&key), "{}", answer.everything());
    }
}
