//! npm's oidc-provider over TLS: every way to authenticate, an exchange, and revocation as introspection sees it.
//!
//! Token exchange is a grant that the peer registers itself (oidc-provider has none built in).

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{bearer, key, silent};
use crate::clients::finish;
use crate::clients::provider::Launched;
use crate::harness::pki::Pki;
use crate::harness::stage::{EVIL, Stage};
use crate::harness::{canary, soon};

/// A client's certificate and key, and the CA that signed it, in PEM.
struct Certified {
    chain: String,
    key: String,
    ca: String,
}

fn certified(name: &str) -> Certified {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "Clients");
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let chain = params.signed_by(&key, &issuer).unwrap().pem();
    Certified { chain, key: key.serialize_pem(), ca: root.pem() }
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The public key of a P-256 pair as a JWK (RFC 7518 section 6.2).
fn jwk(pair: &KeyPair) -> Value {
    let point = pair.der_bytes();
    assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
    let text = |bytes| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": text(&point[1..33]), "y": text(&point[33..]) })
}

/// What the provider says of a token (RFC 7662).
async fn active(issuer: &str, root: &str, secret: &str, token: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.env_clear().args(["--silent", "--cacert", root, "--user"]).arg(format!("basic:{secret}"));
    curl.args(["--data-urlencode", &format!("token={token}")])
        .arg(format!("{issuer}/token/introspection"));
    let done = finish(&mut curl, b"").await;
    let answer: Value = serde_json::from_str(&done.stdout()).unwrap_or_default();
    answer["active"].as_bool().unwrap_or_else(|| panic!("{} {}", done.stdout(), done.stderr()))
}

/// Revoked by order, the first two tokens are over at once, also where a reload has replaced the credential since.
async fn by_hand(stage: &Stage, tokens: &[String], active: impl AsyncFn(&str) -> bool) {
    stage.running().unwrap().home().rewrite(|text| {
        let key = "client_id = \"post\"\n";
        assert!(text.contains(key), "{text}");
        text.replace(key, &format!("{key}ttl = \"4m\"\n"))
    });
    stage.running().unwrap().says("config reloaded").await;
    for (token, name) in tokens.iter().zip(["basic", "post"]) {
        let done = stage.running().unwrap().home.run(&["revoke", "--credential", name]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        soon("the token's end", async { while active(token).await {} }).await;
    }
    for token in &tokens[2..] {
        assert!(active(token).await, "others go on");
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn every_way_to_authenticate_and_revocation() {
    let pki = Pki::new();
    let server = pki.server(&["localhost"]);
    let cert: String = server.chain.iter().map(|der| pem(der)).collect();
    let client = certified("mtls");
    let (signing, pair) = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let secret = canary("client-secret");
    let exchanges = json!({ "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"] });
    let provider = Launched::start(&json!({
        "ttl": 300,
        "tls": { "cert": cert, "key": server.key.serialize_pem(), "client_ca": client.ca },
        "clients": [
            { "id": "basic", "secret": secret, "auth": "client_secret_basic" },
            { "id": "post", "secret": secret, "auth": "client_secret_post" },
            { "id": "key", "auth": "private_key_jwt", "more": { "jwks": { "keys": [jwk(&pair)] } } },
            { "id": "mtls", "auth": "tls_client_auth", "more": { "tls_client_auth_subject_dn": "mtls" } },
            { "id": "swap", "secret": secret, "auth": "client_secret_basic", "more": exchanges },
        ],
    }))
    .await;
    let issuer = &provider.issuer;
    let ways = [
        ("basic", "auth = \"basic\"\nclient_secret = { file = \"secret\" }"),
        ("post", "auth = \"post\"\nclient_secret = { file = \"secret\" }"),
        (
            "key",
            "auth = \"private-key-jwt\"\nclient_key = { file = \"client.pem\" }\nclient_key_algorithm = \"ES256\"",
        ),
        (
            "mtls",
            "auth = \"tls-client-auth\"\nclient_key = { file = \"mtls.pem\" }\nclient_cert = \"mtls.crt\"",
        ),
    ];
    let mut stage = Stage::valetkey_with(|mut builder| {
        builder = builder.file("idp.pem", pki.pem()).also_trusting("idp.pem");
        for (name, text) in [("secret", &secret), ("client.pem", &signing), ("mtls.pem", &client.key), ("mtls.crt", &client.chain)] {
            builder = builder.file(name, text);
        }
        let route = |name: &str| format!("name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}\"]\ncredential = {name:?}");
        for (name, auth) in ways {
            let toml = format!("[credentials.{name}]\ngrant = \"client-credentials\"\nissuer = {issuer:?}\nclient_id = {name:?}\nscope = [\"repo\"]\n{auth}");
            builder = builder.toml(&toml).route(&route(name));
        }
        let swap = format!("[credentials.swap]\ngrant = \"token-exchange\"\nissuer = {issuer:?}\nclient_id = \"swap\"\nclient_secret = {{ file = \"secret\" }}\nsubject_token = {{ file = \"subject\" }}\nsubject_token_type = \"access_token\"\nscope = [\"repo\"]");
        builder.toml(&swap).route(&route("swap"))
    })
    .await;
    let home = stage.running().unwrap().home().path("");
    let root = home.join("idp.pem").display().to_string();
    let mut tokens = Vec::new();
    for (name, _) in ways {
        tokens.push(bearer(&stage, &format!("/{name}")).await);
    }
    let subject = home.join("subject");
    std::fs::write(&subject, &tokens[0]).unwrap();
    tokens.push(bearer(&stage, "/swap").await);
    for token in &tokens {
        assert!(active(issuer, &root, &secret, token).await);
        assert_eq!(tokens.iter().filter(|other| *other == token).count(), 1);
    }
    silent(&stage, &tokens).await;
    by_hand(&stage, &tokens, async |token| active(issuer, &root, &secret, token).await).await;
    stage.running_mut().sigterm();
    soon("the daemon to end", stage.running_mut().ended()).await;
    for token in &tokens {
        assert!(!active(issuer, &root, &secret, token).await, "its end revokes");
    }
}
