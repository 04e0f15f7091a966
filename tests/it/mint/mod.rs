//! Every grant from the outside: the built program mints, what it mints arrives in its slot, what goes wrong
//! is said by a code, and no secret turns up anywhere else.

mod authorization_code;
mod canaries;
mod client_credentials;
pub mod clock;
mod device;
mod dpop;
mod dpop_login;
mod exec;
mod http;
mod jwt;
mod jwt_bearer;
mod kernel_keyring;
mod keyring;
mod kills;
mod login_ends;
mod outage;
mod people;
mod placement;
mod provider;
mod refresh_token;
mod rejected;
mod static_key;
mod step_up;
mod storm;
mod token_exchange;

use std::path::Path;

use rcgen::{KeyPair, SignatureAlgorithm};
use serde_json::Value;

use crate::harness::api::{Api, Seen};
use crate::harness::client::{Trust, connect, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::pki::Pki;
use crate::harness::stage::{EVIL, Stage, forms};
use crate::harness::valetkey::{Running, Valetkey};

/// The host that every route here names.
pub const HOST: &str = "api.minted.example";

/// One API behind one Valetkey that says all it can say.
pub struct Rig {
    pub api: Api,
    pub running: Running,
    ca: String,
}

impl Rig {
    /// `more` adds the credential `minted`; `route`: further keys of its route.
    pub async fn with(route: &str, more: impl FnOnce(Valetkey) -> Valetkey) -> Self {
        let pki = Pki::new();
        let api = Api::tls(&pki.server(&[HOST])).await;
        let builder =
            Valetkey::new().trusting(&pki).reaching(&format!("{HOST}:443"), api.addr()).route(
                &format!("name = \"minted\"\nhost = \"{HOST}\"\ncredential = \"minted\"\n{route}"),
            );
        let home = more(builder).written();
        let mut running = home.spawn(home.command(&["-vv", "serve"]));
        running.listening().await;
        let ca = running.ca_pem().await;
        Self { api, running, ca }
    }

    /// One request with these header lines, in a tunnel of its own.
    pub async fn get(&self, target: &str, lines: &str) -> Message {
        let (answer, reader) = connect(self.running.proxy_addr(), &format!("{HOST}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(Trust::Roots(&self.ca), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, HOST, config).await.unwrap());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
        exchange(&mut tunnel, request.as_bytes()).await.expect("an answer")
    }

    /// Everything that Valetkey said or wrote, to be searched for what must not be there.
    pub async fn everything(&self) -> String {
        let status = self.running.home.run(&["status", "--json"]).await;
        let plain = self.running.home.run(&["status"]).await;
        let check = self.running.home.run(&["check"]).await;
        let mut all = self.running.output();
        for done in [status, plain, check] {
            all += &done.stdout;
            all += &done.stderr;
        }
        files(&self.running.home.state, &mut all);
        all
    }
}

/// The content of every file below a directory.
fn files(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        } else if path.is_file() {
            *all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default());
        }
    }
}

/// A stage on which `evil.example` is routed with this credential; `files` stand beside the config.
async fn staged(credential: &str, route: &str, files: &[(&str, &str)]) -> Stage {
    Stage::valetkey_with(|mut builder: Valetkey| {
        for (name, text) in files {
            builder = builder.file(name, text);
        }
        builder
            .toml(&format!("[credentials.mine]\n{credential}"))
            .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\"\n{route}"))
    })
    .await
}

/// The bearer token that the API got with one request.
async fn bearer(stage: &Stage, path: &str) -> String {
    let before = stage.evil.requests().len();
    let answer = stage.get(EVIL, path, "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    token_of(&stage.evil.request(before).await)
}

fn token_of(seen: &Seen) -> String {
    seen.one("authorization").strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

/// The decoded parameters of a form, in order.
fn form(call: &Message) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned()
    };
    let body = String::from_utf8(call.body.clone()).unwrap();
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The one value of a parameter.
fn parameter(call: &Message, name: &str) -> String {
    let all: Vec<_> = form(call).into_iter().filter(|(found, _)| found == name).collect();
    assert_eq!(all.len(), 1, "`{name}` once in {:?}", call.everything());
    all[0].1.clone()
}

/// A new private key in PEM, and the pair.
fn key(algorithm: &'static SignatureAlgorithm) -> (String, KeyPair) {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    (pair.serialize_pem(), pair)
}

/// Header and claims, unverified.
fn opened(token: &str) -> (Value, Value) {
    use base64::Engine as _;
    let mut parts = token.split('.').map(|part| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

/// No secret stands in what the daemon printed, recorded or says of itself; and the search finds a planted one.
async fn silent(stage: &Stage, secrets: &[String]) {
    let running = stage.running().unwrap();
    let status = running.home.run(&["status", "--json"]).await;
    let audit = std::fs::read_to_string(running.home.state.join("audit.jsonl")).unwrap();
    let all = [running.output(), audit, status.stdout, status.stderr].concat();
    let found = |text: &str, secret: &str| forms(secret).iter().any(|form| text.contains(form));
    for secret in secrets {
        assert!(!found(&all, secret), "a secret of {} bytes is in sight", secret.len());
        assert!(found(&format!("{all}{secret}"), secret), "the search finds what is planted");
    }
}
