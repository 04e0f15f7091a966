//! `grant = "http"`: what is sent, what is read, and that secrets arrive escaped and nowhere else.

use crate::harness::canary;
use crate::harness::issuer::{Issuer, Reply};
use crate::mint::Rig;

async fn rig(issuer: &Issuer, keys: &str) -> Rig {
    Rig::with("", |valetkey| {
        valetkey.file("broker.secret", "s\"},{\"admin\":\"{uid}&x=1").toml(&format!(
            "[credentials.minted]\ngrant = \"http\"\nurl = {:?}\nsecrets = {{ api = {{ file = \"broker.secret\" }} }}\n{keys}",
            issuer.token_url()
        ))
    })
    .await
}

#[tokio::test]
async fn a_described_exchange_mints() {
    let token = canary("token");
    let issuer = Issuer::start().await;
    let body = format!("{{\"data\":{{\"key\":\"{token}\",\"end\":4000000000000}}}}");
    issuer.reply(Reply::json(201, &body));
    let keys = "client_id = \"orders\"\nheaders = { x-who = \"uid {uid}\" }\n\
                json = { id = \"{client_id}\", key = \"{secret.api}\", n = [1, true] }\n\
                token = \"/data/key\"\nexpires = \"/data/end\"";
    let rig = rig(&issuer, keys).await;
    let answer = rig.get("/v1/x", "").await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert_eq!(rig.api.request(0).await.one("authorization"), format!("Bearer {token}"));
    let call = issuer.call(0).await;
    let sent: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(sent["key"], "s\"},{\"admin\":\"{uid}&x=1", "one string, whatever is in it");
    assert_eq!((sent["id"].as_str(), sent["n"][0].as_u64()), (Some("orders"), Some(1)));
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(call.all("x-who"), [format!("uid {uid}")]);
    assert_eq!(call.all("content-type"), ["application/json"]);
    assert!(!rig.everything().await.contains(&token));
    assert!(!rig.everything().await.contains("{\"admin\""), "the secret is written down");
}

#[tokio::test]
async fn refusals_and_rubbish_have_codes() {
    let secret = canary("answer");
    for (reply, code, status) in [
        (Reply::json(200, &format!("{{\"error\":\"{secret}\"}}")), "issuer-refused", 502),
        (Reply::json(403, &format!("{{\"why\":\"{secret}\"}}")), "issuer-refused", 502),
        (Reply::html(200, &secret), "issuer-content-type-invalid", 502),
        (Reply::json(200, "{}"), "issuer-access-token-invalid", 502),
        (
            Reply::json(200, &format!("{{\"access_token\":\"a\",\"access_token\":\"{secret}\"}}")),
            "issuer-json-invalid",
            502,
        ),
        (
            Reply::json(
                200,
                &format!("{{\"access_token\":\"{secret}\",\"expires_in\":\"never\"}}"),
            ),
            "issuer-expiry-invalid",
            502,
        ),
        (Reply::json(500, &secret), "issuer-busy", 503),
    ] {
        let issuer = Issuer::start().await;
        issuer.reply(reply);
        let rig = rig(&issuer, "form = { key = \"{secret.api}\" }\nerror = \"/error\"").await;
        let answer = rig.get("/v1/x", "").await;
        assert_eq!(answer.status(), status, "{code}: {}", answer.everything());
        assert!(rig.api.requests().is_empty(), "{code}: a bare request went out");
        let all = rig.everything().await + &answer.everything();
        assert!(all.contains(code) && !all.contains(&secret), "{code}: {all}");
        let sent = String::from_utf8(issuer.call(0).await.body).unwrap();
        assert!(sent.starts_with("key=s%22") && !sent.contains("&x=1"), "{sent}");
    }
}

/// A session's name that is not there is not made up, and the issuer is not asked.
#[tokio::test]
async fn what_a_template_names_must_be_there() {
    let issuer = Issuer::start().await;
    let rig = rig(&issuer, "form = { key = \"{secret.api}\", who = \"for {session}\" }").await;
    let answer = rig.get("/v1/x", "").await;
    assert_eq!(answer.status(), 403, "{}", answer.everything());
    assert!(answer.text().contains("\"template-unfilled\""), "{}", answer.text());
    assert!(answer.text().contains("valetkey run"), "{}", answer.text());
    assert!(issuer.calls().is_empty() && rig.api.requests().is_empty());
    let url = format!("https://{}/v1/x", crate::mint::HOST);
    let explained = rig.running.home.run(&["explain", "GET", &url]).await;
    assert_eq!(explained.code, Some(3), "{}", explained.stdout);
    assert!(explained.stdout.contains("deny (template-unfilled)"), "{}", explained.stdout);
    assert!(rig.everything().await.contains("\"code\":\"template-unfilled\""));
}

#[tokio::test]
async fn a_described_call_ends_a_token() {
    for (status, action) in [(204, "revoked"), (404, "revoked"), (403, "revocation-failed")] {
        let (token, issuer, ends) = (canary("token"), Issuer::start().await, Issuer::start().await);
        issuer.reply(Reply::json(200, &format!("{{\"access_token\":\"{token}\"}}")));
        ends.reply(Reply::json(status, "{}"));
        let keys = format!(
            "form = {{ key = \"{{secret.api}}\" }}\nrevoke = {{ url = {:?}, method = \"DELETE\", \
             headers = {{ authorization = \"Bearer {{token}}\" }}, json = {{ t = [\"x{{token}}\"] }} }}",
            ends.token_url()
        );
        let mut rig = rig(&issuer, &keys).await;
        assert_eq!(rig.get("/v1/x", "").await.status(), 200);
        rig.running.sigterm();
        let call = ends.call(0).await;
        assert!(call.first_line.starts_with("DELETE "), "{}", call.everything());
        assert_eq!(call.all("authorization"), [format!("Bearer {token}")]);
        assert_eq!(call.body, format!("{{\"t\":[\"x{token}\"]}}").as_bytes());
        rig.running.ended().await;
        let audit = rig.running.audit();
        let ended = audit.iter().find(|record| record["context"]["action"] == action);
        let ended = ended.unwrap_or_else(|| panic!("{status}: {audit:#?}"));
        assert_eq!(ended["client"]["uid"], rustix::process::getuid().as_raw(), "{ended}");
        assert!(!rig.running.output().contains(&token));
    }
}
