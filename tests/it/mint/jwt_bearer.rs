//! `jwt-bearer`: the assertion is ours, the token the issuer's.

use super::{bearer, key, opened, parameter, silent, staged};
use crate::harness::issuer::Issuer;

#[tokio::test]
async fn an_assertion_for_a_token() {
    let issuer = Issuer::start().await;
    let (pem, _) = key(&rcgen::PKCS_ED25519);
    let credential = format!(
        "grant = \"jwt-bearer\"\ntoken_url = {:?}\nkey = {{ file = \"service.pem\" }}\n\
         algorithm = \"EdDSA\"\nheader = {{ kid = \"k\" }}\niss = \"svc\"\nsub = \"{{client}}\"\n\
         claims = {{ scope = \"a b\" }}\nscope = [\"read\"]",
        issuer.token_url()
    );
    let stage = staged(&credential, "", &[("service.pem", &pem)]).await;
    assert_eq!(bearer(&stage, "/x").await, issuer.token());
    let call = issuer.call(0).await;
    let wanted = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    assert_eq!(parameter(&call, "grant_type"), wanted);
    assert_eq!(parameter(&call, "scope"), "read");
    let assertion = parameter(&call, "assertion");
    let (header, claims) = opened(&assertion);
    assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some("EdDSA"), Some("k")));
    assert_eq!((claims["iss"].as_str(), claims["scope"].as_str()), (Some("svc"), Some("a b")));
    assert_eq!(claims["aud"], issuer.token_url().as_str());
    assert!(claims["sub"].as_str().is_some_and(|sub| sub.starts_with("uid:")), "{claims}");
    silent(&stage, &[assertion, issuer.token()]).await;
}
