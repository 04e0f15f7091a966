//! `client-credentials`: how the client shows who it is, what each route asks for, and revocation.

use crate::harness::issuer::{Issuer, Reply};
use crate::harness::stage::{EVIL, own_answer};
use crate::harness::valetkey::Valetkey;
use crate::harness::{canary, stage::Stage};

use super::{bearer, form, key, opened, parameter, silent, staged};

#[tokio::test]
async fn a_signed_assertion_in_place_of_a_secret() {
    let issuer = Issuer::start().await;
    let (pem, _) = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let credential = format!(
        "grant = \"client-credentials\"\ntoken_url = {:?}\nclient_id = \"orders\"\n\
         auth = \"private-key-jwt\"\nclient_key = {{ file = \"client.pem\" }}\n\
         client_key_algorithm = \"ES256\"\nclient_key_id = \"k1\"\nparams = {{ tenant = \"acme\" }}\n\
         audience = \"api\"\nresource = [\"https://a.example/\", \"urn:b\"]",
        issuer.token_url()
    );
    let stage = staged(&credential, "", &[("client.pem", &pem)]).await;
    assert_eq!(bearer(&stage, "/x").await, issuer.token());
    let call = issuer.call(0).await;
    assert!(call.all("authorization").is_empty(), "{}", call.everything());
    let proof = parameter(&call, "client_assertion");
    let (header, claims) = opened(&proof);
    assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some("ES256"), Some("k1")));
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("orders"), Some("orders")));
    assert_eq!(claims["aud"], issuer.token_url().as_str());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() > 20));
    assert_eq!(parameter(&call, "tenant"), "acme");
    assert_eq!(parameter(&call, "audience"), "api");
    assert_eq!(form(&call).iter().filter(|(name, _)| name == "resource").count(), 2);
    let inner: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    silent(&stage, &[proof, inner, issuer.token()]).await;
}

/// One credential at two routes that ask for different scopes: two slots, two mints, no crossing.
#[tokio::test]
async fn each_scope_has_its_own_token() {
    let issuer = Issuer::start().await;
    let url = issuer.token_url();
    let stage = Stage::valetkey_with(|builder: Valetkey| {
        let route = |name: &str, scope: &str| {
            format!(
                "name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}\"]\ncredential = \"mine\"\n\
                 scope = [{scope:?}]"
            )
        };
        builder
            .credential_at("mine", &url, "scope = [\"read\", \"write\"]")
            .route(&route("r", "read"))
            .route(&route("w", "write"))
    })
    .await;
    let (read, write) = (bearer(&stage, "/r").await, bearer(&stage, "/w").await);
    assert_ne!(read, write);
    assert_eq!((bearer(&stage, "/r").await, bearer(&stage, "/w").await), (read, write));
    let asked: Vec<_> = issuer.calls().iter().map(|call| parameter(call, "scope")).collect();
    assert_eq!(asked, ["read", "write"]);
}

#[tokio::test]
async fn the_end_revokes_tokens() {
    let issuer = Issuer::start().await;
    let secret = canary("client-secret");
    let credential = format!(
        "grant = \"client-credentials\"\ntoken_url = {:?}\nrevocation_url = \"http://{}/revoke\"\n\
         client_id = \"orders\"\nclient_secret = {{ file = \"secret\" }}",
        issuer.token_url(),
        issuer.addr()
    );
    let mut stage = staged(&credential, "", &[("secret", &secret)]).await;
    let token = bearer(&stage, "/x").await;
    stage.running_mut().sigterm();
    let call = issuer.call(1).await;
    assert!(call.everything().contains("/revoke"), "{}", call.everything());
    assert_eq!(parameter(&call, "token"), token);
    assert_eq!(parameter(&call, "token_type_hint"), "access_token");
    assert_eq!(call.all("authorization").len(), 1, "authenticated as for minting");
    stage.running_mut().ended().await;
    let audit = stage.running().unwrap().audit();
    let revoked = audit.iter().find(|record| record["context"]["action"] == "revoked");
    assert_eq!(revoked.unwrap()["credential"], "mine");
    assert!(!stage.running().unwrap().output().contains(&secret));
}

/// Its own words help whoever keeps the config, and are foreign to everybody else. It may repeat what it was sent.
#[tokio::test]
async fn what_an_issuer_says_is_for_the_owner() {
    let issuer = Issuer::start().await;
    let secret = canary("client-secret");
    let credential = format!(
        "grant = \"client-credentials\"\ntoken_url = {:?}\nclient_id = \"orders\"\n\
         client_secret = {{ file = \"secret\" }}",
        issuer.token_url()
    );
    let stage = staged(&credential, "", &[("secret", &secret)]).await;
    let body = serde_json::json!({
        "error": "tenant_suspended",
        "error_description": format!("tenant is asleep\u{1b}[2J\r\nfoo={secret} {}", "long ".repeat(99)),
    });
    issuer.reply(Reply::json(400, &body.to_string()));
    let answer = stage.get(EVIL, "/x", "").await.unwrap();
    own_answer(&answer, &[502], &["issuer-refused"]).unwrap();
    assert!(!answer.everything().contains("asleep"), "{}", answer.everything());
    let running = stage.running().unwrap();
    let status = running.home.run(&["status", "--json"]).await.stdout;
    let json: serde_json::Value = serde_json::from_str(&status).unwrap();
    let mine = json["credentials"].as_array().unwrap().iter().find(|one| one["name"] == "mine");
    let said = mine.unwrap()["last_error"]["issuer"].as_str().unwrap().to_owned();
    assert!(said.starts_with("tenant_suspended: tenant is asleep [2J ****"), "{said}");
    assert!(said.len() <= 200, "{said}");
    let text = running.home.run(&["status"]).await.stdout;
    assert!(text.contains("the issuer of `mine` says: tenant_suspended"), "{text}");
    assert!(running.output().contains("tenant is asleep"), "the log has it too");
    let audit = std::fs::read_to_string(running.home.state.join("audit.jsonl")).unwrap();
    assert!(!audit.contains("asleep") && !running.output().contains('\u{1b}'));
    silent(&stage, &[secret]).await;
}
