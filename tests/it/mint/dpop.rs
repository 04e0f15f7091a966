//! Bound tokens (DPoP, RFC 9449): proofs at the issuer and upstream, nonces of both, and what a thief can do with one.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::process::Command;

use super::people::log_in;
use super::{opened, staged};
use crate::clients::provider::Launched;
use crate::clients::{finish, peer, tests_file};
use crate::harness::api::{Answer, Seen};
use crate::harness::canary;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::valetkey::Valetkey;

fn credential(issuer: &Issuer) -> String {
    format!(
        "grant = \"client-credentials\"\ntoken_url = {:?}\nclient_id = \"x\"\n\
         client_secret = {{ file = \"secret\" }}\ndpop_bound_access_tokens = true",
        issuer.token_url()
    )
}

fn granted(kind: &str) -> (String, Reply) {
    let token = canary("bound");
    let answer = json!({ "access_token": token, "token_type": kind, "expires_in": 300 });
    (token, Reply::json(200, &answer.to_string()))
}

/// The claims of a request's proof.
fn claims(seen: &Seen) -> Value {
    opened(&seen.one("dpop")).1
}

/// Wants a proof with this nonce.
fn wants(nonce: &'static str) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    move |seen| {
        if claims(seen)["nonce"] == nonce {
            return Answer::ok("good").header("DPoP-Nonce", nonce);
        }
        Answer::ok("which nonce?")
            .status(401)
            .header("WWW-Authenticate", "DPoP error=\"use_dpop_nonce\", algs=\"ES256\"")
            .header("DPoP-Nonce", nonce)
    }
}

#[tokio::test]
async fn nonces_of_both_ends_are_heeded() {
    let issuer = Issuer::start().await;
    let refused =
        Reply::json(400, "{\"error\":\"use_dpop_nonce\"}").header("DPoP-Nonce", "issuer-1");
    issuer.reply_once(refused);
    let (token, reply) = granted("DPoP");
    issuer.reply(reply);
    let stage = staged(&credential(&issuer), "", &[("secret", "s")]).await;
    stage.evil.answer(wants("upstream-1"));
    let answer =
        stage.get(EVIL, "/x?q=1", "DPoP: mine\r\nDpop: too\r\ndpop_: no\r\n").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert!(answer.all("dpop-nonce").is_empty(), "{}", answer.everything());

    let calls = issuer.calls();
    assert_eq!(calls.len(), 2);
    let asked: Vec<_> = calls.iter().map(|call| opened(&call.all("dpop")[0]).1).collect();
    assert_eq!((&asked[0]["nonce"], &asked[1]["nonce"]), (&json!(null), &json!("issuer-1")));
    for claims in &asked {
        assert_eq!((&claims["htm"], &claims["htu"]), (&json!("POST"), &json!(issuer.token_url())));
        assert_eq!(claims["ath"], json!(null));
    }
    let seen = stage.evil.requests();
    assert_eq!(seen.len(), 2, "once more, and no more");
    for (seen, nonce) in seen.iter().zip([json!(null), json!("upstream-1")]) {
        assert_eq!(seen.one("authorization"), format!("DPoP {token}"));
        let claims = claims(seen);
        assert_eq!(claims["nonce"], nonce);
        assert_eq!(claims["htu"], format!("https://{EVIL}/x"), "without the query");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        use base64::Engine as _;
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash);
        assert_eq!((&claims["ath"], &claims["htm"]), (&json!(hash), &json!("GET")));
    }
    assert_ne!(claims(&seen[0])["jti"], claims(&seen[1])["jti"]);
    let audit = stage.running().unwrap().audit();
    let decided = audit.iter().filter(|r| r["event"] == "decision" && r["decision"] == "inject");
    assert_eq!(decided.count(), 2, "each sending has its record");

    // The nonce changes: what has a body is not sent twice, and the next request has the new one.
    stage.evil.answer(wants("upstream-2"));
    let post = format!("POST /y HTTP/1.1\r\nHost: {EVIL}\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(stage.send(EVIL, &post).await.unwrap().status(), 401);
    assert_eq!(stage.send(EVIL, &post).await.unwrap().status(), 200);
    assert_eq!(stage.evil.requests().len(), 4);
    assert_eq!(issuer.calls().len(), 2, "a nonce is no reason to mint");
    super::silent(&stage, &[token]).await;
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_not_used() {
    let issuer = Issuer::start().await;
    issuer.reply(granted("Bearer").1);
    let stage = staged(&credential(&issuer), "", &[("secret", "s")]).await;
    let answer = stage.get(EVIL, "/x", "").await.unwrap();
    own_answer(&answer, &[502], &["issuer-answer-invalid"]).unwrap();
    // Nor does an issuer that never has enough of nonces get more than two tries.
    let stubborn = Reply::json(400, "{\"error\":\"use_dpop_nonce\"}").header("DPoP-Nonce", "n");
    issuer.reply(stubborn);
    let other = staged(&credential(&issuer), "", &[("secret", "s")]).await;
    let before = issuer.calls().len();
    own_answer(&other.get(EVIL, "/x", "").await.unwrap(), &[502], &["issuer-refused"]).unwrap();
    assert_eq!(issuer.calls().len(), before + 2);
}

#[tokio::test]
async fn what_cannot_be_bound_is_refused_at_load() {
    let route = "name = \"a\"\nhost = \"a.example\"\ncredential = \"mine\"\ninject = { header = \"x-key\" }";
    let person = "[credentials.mine]\ngrant = \"refresh-token\"\nissuer = \"https://idp.example\"\nclient_id = \"x\"\n\
        refresh_token = { env = \"X\" }\ndpop_bound_access_tokens = true";
    let home = Valetkey::new().toml(person).route(route).written();
    let done = home.run(&["check"]).await;
    assert_eq!(done.code, Some(2), "{}", done.stdout);
    let said = done.stdout + &done.stderr;
    for code in ["error[dpop-public-client]", "error[dpop-inject]"] {
        assert!(said.contains(code), "{code} in {said}");
    }
}

pub(super) const API: &str = "https://api.people.example";

/// An API's judgement of a request, by npm's jose.
pub(super) async fn judged(
    seen: &Seen,
    (proof, token, method, url): (&str, &str, &str, &str),
) -> Value {
    let asked = json!({ "proof": proof, "token": token, "method": method, "url": url });
    let mut node = Command::new(peer("npm/node"));
    node.arg(tests_file("peers/jose/dpop.mjs")).env_clear();
    let done =
        finish(node.env("OIDC_MODULES", peer("npm/node_modules")), asked.to_string().as_bytes())
            .await;
    let said = serde_json::from_str(&done.stdout());
    said.unwrap_or_else(|_| panic!("{}{} of {seen:?}", done.stdout(), done.stderr()))
}

pub(super) struct Sent {
    pub(super) seen: Seen,
    pub(super) proof: String,
    pub(super) token: String,
}

pub(super) async fn sent(stage: &Stage, path: &str) -> Sent {
    let before = stage.evil.requests().len();
    let answer = stage.get(EVIL, path, "").await.unwrap();
    assert_eq!(answer.status(), 200, "{path}: {}", answer.everything());
    let seen = stage.evil.request(before).await;
    let token = seen.one("authorization").strip_prefix("DPoP ").expect("bound").to_owned();
    Sent { proof: seen.one("dpop"), seen, token }
}

const GRANTS: [&str; 3] = ["client-credentials", "device", "authorization-code"];

/// oidc-provider, which binds tokens and wants nonces, and a credential and a route of each grant there.
async fn scene() -> (Launched, Stage) {
    let secret = canary("client-secret");
    let bound = json!({ "dpop_bound_access_tokens": true });
    let person = json!({
        "application_type": "native",
        "dpop_bound_access_tokens": true,
        "grant_types": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "response_types": ["code"],
        "redirect_uris": ["http://127.0.0.1/callback"],
        "scope": "openid offline_access orders:read",
    });
    let provider = Launched::start(&json!({
        "ttl": 300, "people": true, "dpop": true,
        "clients": [
            { "id": "machine", "secret": secret, "auth": "client_secret_basic", "audience": API, "more": bound },
            { "id": "person", "secret": secret, "auth": "client_secret_basic", "audience": API, "more": person },
        ],
    }))
    .await;
    let stage = Stage::valetkey_with(|builder| {
        GRANTS.iter().fold(builder.file("secret", &secret), |builder, grant| {
            let (client, more) = match *grant {
                "client-credentials" => ("machine", "scope = [\"orders:read\"]"),
                _ => (
                    "person",
                    "scope = [\"openid\", \"offline_access\", \"orders:read\"]\nlogin_params = { prompt = \"consent\" }",
                ),
            };
            builder
                .toml(&format!(
                    "[credentials.{grant}]\ngrant = {grant:?}\nissuer = {:?}\nclient_id = {client:?}\n\
                     client_secret = {{ file = \"secret\" }}\ndpop_bound_access_tokens = true\n{more}",
                    provider.issuer
                ))
                .route(&format!(
                    "name = {grant:?}\nhost = {EVIL:?}\npath = [\"/{grant}\", \"/{grant}/more\"]\ncredential = {grant:?}"
                ))
        })
    })
    .await;
    (provider, stage)
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_bound_token_is_good_here_and_of_no_use_to_a_thief() {
    let (_provider, mut stage) = scene().await;
    let home = stage.running().unwrap().home().clone();
    for grant in &GRANTS[1..] {
        log_in(&home, grant).await;
    }
    let (mut proofs, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for grant in GRANTS {
        for path in [format!("/{grant}"), format!("/{grant}/more")] {
            let one = sent(&stage, &path).await;
            let url = format!("https://{EVIL}{path}");
            let good = judged(&one.seen, (&one.proof, &one.token, "GET", &url)).await;
            assert!(good["error"].is_null(), "{grant}: {good}");
            assert!(proofs.insert(good["jti"].to_string()), "each proof once");
            keys.insert(good["jkt"].to_string());
            // Whoever has seen this request has its token and a proof: for this request, and this API has seen that.
            for (proof, token, method, url) in [
                (&*one.proof, &*one.token, "POST", &*url),
                (&one.proof, &one.token, "GET", "https://other.example/"),
                ("", &one.token, "GET", &url),
            ] {
                let bad = judged(&one.seen, (proof, token, method, url)).await;
                assert!(bad["error"].is_string(), "{grant} {method} {url}: {bad}");
            }
            all.push((one, url));
        }
    }
    assert_eq!(keys.len(), GRANTS.len(), "each credential has a key of its own");
    // With a key of one's own another's token is of no use.
    let (thief, victim) = (&all[0].0, &all[2].0);
    let bad = judged(&thief.seen, (&thief.proof, &victim.token, "GET", &all[0].1)).await;
    assert!(bad["error"].is_string(), "{bad}");

    // After a restart there are other keys, and people are still logged in.
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    stage.restart(&home).await;
    for grant in GRANTS {
        let one = sent(&stage, &format!("/{grant}")).await;
        let url = format!("https://{EVIL}/{grant}");
        let good = judged(&one.seen, (&one.proof, &one.token, "GET", &url)).await;
        assert!(keys.insert(good["jkt"].to_string()), "{grant}: {good}");
    }
    let tokens: Vec<_> = all.iter().map(|(one, _)| one.token.clone()).collect();
    super::silent(&stage, &tokens).await;
    for grant in &GRANTS[1..] {
        let out = home.run(&["logout", grant]).await;
        assert!(out.stderr.contains("revoked at its issuer"), "{}", out.stderr);
    }
}
