//! npm's oidc-provider as a child process, and the check that its API makes of a token.
//!
//! The check is the one every resource server makes: signature by the issuer's published keys, issuer,
//! audience, expiry (RFC 9068 section 4).

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::{peer, tests_file};
use crate::harness::client::{dial, exchange};
use crate::harness::{Background, Log, soon};

/// A client that the provider knows.
pub struct Registration {
    pub id: &'static str,
    pub secret: String,
    /// `client_secret_basic` or `client_secret_post`.
    pub auth: &'static str,
    /// The API its tokens are for.
    pub audience: &'static str,
}

/// The running provider; it ends with this value.
pub struct Provider {
    pub token_url: String,
    pub verifier: Verifier,
    /// One line for every token issued.
    pub issued: Arc<Log<Value>>,
    _launched: Launched,
}

impl Provider {
    /// Starts it with these clients; its tokens live `ttl` seconds.
    pub async fn start(ttl: u64, clients: &[Registration]) -> Self {
        let clients: Vec<Value> = clients
            .iter()
            .map(|c| {
                json!({ "id": c.id, "secret": c.secret, "auth": c.auth, "audience": c.audience })
            })
            .collect();
        let launched = Launched::start(&json!({ "ttl": ttl, "clients": clients })).await;
        let issuer = launched.issuer.clone();
        Self {
            token_url: format!("{issuer}/token"),
            verifier: Verifier { keys: Arc::new(keys(&issuer).await), issuer },
            issued: Arc::clone(&launched.issued),
            _launched: launched,
        }
    }
}

/// The provider's process; it ends with this value.
pub struct Launched {
    pub issuer: String,
    /// One line for every token issued.
    pub issued: Arc<Log<Value>>,
    _child: Child,
    _stdin: ChildStdin,
    _reader: Background,
}

impl Launched {
    /// Starts it with what `server.mjs` takes as `OIDC_PEER`.
    pub async fn start(peer_config: &Value) -> Self {
        let mut child = Command::new(peer("npm/node"))
            .arg(tests_file("peers/oidc-provider/server.mjs"))
            .env_clear()
            .env("OIDC_MODULES", peer("npm/node_modules"))
            .env("OIDC_PEER", peer_config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = soon("oidc-provider to be ready", lines.next_line()).await.unwrap().unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let issued = Log::new();
        let log = Arc::clone(&issued);
        let reader = Background::run(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // It prints notices of its own beside ours.
                serde_json::from_str(&line).into_iter().for_each(|line| log.push(line));
            }
        });
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        Self { issuer, issued, _child: child, _stdin: stdin, _reader: reader }
    }
}

/// The published keys.
async fn keys(issuer: &str) -> JwkSet {
    let authority = issuer.strip_prefix("http://").unwrap();
    let addr: SocketAddr = authority.parse().unwrap();
    let request = format!("GET /jwks HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let answer = exchange(&mut dial(addr).await, request.as_bytes()).await.unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// What a resource server knows of its issuer.
#[derive(Clone)]
pub struct Verifier {
    issuer: String,
    keys: Arc<JwkSet>,
}

/// What a good token says.
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    #[serde(default)]
    pub scope: String,
    pub jti: String,
}

impl Verifier {
    /// Of a provider that runs.
    pub async fn of(issuer: &str) -> Self {
        Self { keys: Arc::new(keys(issuer).await), issuer: issuer.to_owned() }
    }

    /// The claims of a good token for `audience`, or what is wrong with it.
    pub fn verify(&self, token: &str, audience: &str) -> Result<Claims, String> {
        let header = decode_header(token).map_err(|e| e.to_string())?;
        let kid = header.kid.ok_or("no key id")?;
        let key = self.keys.find(&kid).ok_or("an unknown key")?;
        let key = DecodingKey::from_jwk(key).map_err(|e| e.to_string())?;
        let mut wanted = Validation::new(Algorithm::ES256);
        wanted.leeway = 0;
        wanted.set_audience(&[audience]);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "aud", "iss"]);
        decode::<Claims>(token, &key, &wanted).map(|t| t.claims).map_err(|e| e.to_string())
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn its_tokens_verify_for_their_own_api_only() {
    let secret = crate::harness::canary("secret");
    let client = Registration {
        id: "orders-cli",
        secret: secret.clone(),
        auth: "client_secret_post",
        audience: "https://api.orders.example",
    };
    let provider = Provider::start(60, &[client]).await;
    let form = format!("grant_type=client_credentials&client_id=orders-cli&client_secret={secret}");
    let curl = ["--silent", "--data", &form, &provider.token_url];
    let answer = super::finish(Command::new("curl").env_clear().args(curl), b"").await;
    let answer: Value = serde_json::from_str(&answer.stdout()).unwrap();
    let token = answer["access_token"].as_str().unwrap();

    let claims = provider.verifier.verify(token, "https://api.orders.example").unwrap();
    assert_eq!(claims.sub, "orders-cli");
    assert_eq!(provider.issued.at("a token line", 0).await["jti"], claims.jti);
    assert!(provider.verifier.verify(token, "https://git.example").is_err());
    let (rest, _) = token.rsplit_once('.').unwrap();
    assert!(
        provider.verifier.verify(&format!("{rest}.AAAA"), "https://api.orders.example").is_err()
    );
}
