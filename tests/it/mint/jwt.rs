//! `jwt`: signed here, verified by npm's jose, each algorithm; and what a wrong key comes to.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{bearer, key, opened, silent, staged};
use crate::clients::{finish, peer, tests_file};
use crate::harness::canary;
use crate::harness::stage::EVIL;

#[tokio::test]
async fn names_its_client_and_route() {
    let (pem, _) = key(&rcgen::PKCS_ECDSA_P384_SHA384);
    let credential = "grant = \"jwt\"\nkey = { file = \"app.pem\" }\nalgorithm = \"ES384\"\n\
        header = { kid = \"k\" }\niss = \"app\"\naud = [\"a\", \"b\"]\nbackdate = \"30s\"\nttl = \"2m\"\n\
        claims = { act = { sub = \"{client}\" }, n = 7, list = [\"{uid}\", true] }";
    let route = "audience = \"b\"\nclaims = { route = \"mine\", by = \"{uid}\" }";
    let stage = staged(credential, route, &[("app.pem", &pem)]).await;
    let token = bearer(&stage, "/x").await;
    let (header, claims) = opened(&token);
    assert_eq!(header, json!({ "alg": "ES384", "kid": "k", "typ": "JWT" }));
    let uid = rustix::process::getuid().as_raw().to_string();
    assert_eq!(claims["act"]["sub"], format!("uid:{uid}"));
    assert_eq!((&claims["n"], &claims["list"]), (&json!(7), &json!([uid, true])));
    assert_eq!((&claims["route"], &claims["by"]), (&json!("mine"), &json!(uid)));
    assert_eq!(claims["aud"], "b", "the route narrows it");
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!((149..=152).contains(&life), "{life}");
    assert_eq!(bearer(&stage, "/x").await, token, "held until it ends");
    silent(&stage, &[token]).await;
}

#[tokio::test]
async fn a_key_of_the_wrong_kind_says_so() {
    let (p256, _) = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    for (algorithm, text, code) in [
        ("RS256", p256.as_str(), "key-wrong-kind"),
        ("ES384", p256.as_str(), "key-wrong-kind"),
        ("HS256", p256.as_str(), "key-wrong-kind"),
        ("HS256", "short", "key-unusable"),
        ("EdDSA", "not a key", "key-not-pem"),
    ] {
        let credential =
            format!("grant = \"jwt\"\nkey = {{ file = \"app.pem\" }}\nalgorithm = {algorithm:?}");
        let stage = staged(&credential, "", &[("app.pem", text)]).await;
        let answer = stage.get(EVIL, "/x", "").await.unwrap();
        assert!(answer.text().contains("secret-unavailable"), "{}", answer.everything());
        let audit = stage.running().unwrap().audit();
        let failed = audit.iter().find(|record| record["event"] == "mint").unwrap();
        assert_eq!(failed["context"]["detail"], code, "{algorithm}");
        assert!(stage.evil.requests().is_empty());
    }
}

/// One verification by jose: whether `token` is good for `key` (a public PEM, or the shared secret).
async fn verified(token: &str, key: &str, algorithm: &str) -> Value {
    let mut command = Command::new(peer("npm/node"));
    command
        .arg(tests_file("peers/jose/verify.mjs"))
        .env_clear()
        .env("OIDC_MODULES", peer("npm/node_modules"))
        .stdin(Stdio::piped());
    let ask = json!({ "token": token, "key": key, "alg": algorithm }).to_string();
    let done = finish(&mut command, ask.as_bytes()).await;
    serde_json::from_str(&done.stdout()).unwrap_or_else(|_| panic!("{}", done.stderr()))
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn each_algorithm_verifies_elsewhere() {
    let (rsa, p256, p384) =
        (&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384);
    for (algorithm, kind) in [
        ("RS256", Some(rsa)),
        ("RS384", Some(rsa)),
        ("RS512", Some(rsa)),
        ("PS256", Some(rsa)),
        ("PS384", Some(rsa)),
        ("PS512", Some(rsa)),
        ("ES256", Some(p256)),
        ("ES384", Some(p384)),
        ("EdDSA", Some(&rcgen::PKCS_ED25519)),
        ("HS256", None),
        ("HS384", None),
        ("HS512", None),
    ] {
        let (private, public) = match kind {
            Some(kind) => {
                let (private, pair) = key(kind);
                (private, pair.public_key_pem())
            }
            None => {
                let shared = canary("shared-secret-of-more-than-64-bytes-for-HS512");
                (shared.clone(), shared)
            }
        };
        let credential = format!(
            "grant = \"jwt\"\nkey = {{ file = \"k\" }}\nalgorithm = {algorithm:?}\nsub = \"me\"\naud = \"api\""
        );
        let stage = staged(&credential, "", &[("k", &private)]).await;
        let token = bearer(&stage, "/x").await;
        let good = verified(&token, &public, algorithm).await;
        assert_eq!((&good["sub"], &good["aud"]), (&json!("me"), &json!("api")), "{algorithm}");
        let (rest, _) = token.rsplit_once('.').unwrap();
        let bad = verified(&format!("{rest}.AAAA"), &public, algorithm).await;
        assert!(bad["error"].is_string(), "{algorithm}: {bad}");
    }
}
