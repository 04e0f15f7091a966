//! `client-credentials`: how the client shows who it is, what each route asks for, and revocation.

use crate::harness::issuer::Issuer;
use crate::harness::stage::EVIL;
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
