//! The whole scene: oidc-provider, an API and a git server that verify its tokens, and Valetkey with a
//! config that joins them. The daemon runs in the foreground; every `run` in a test joins it.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::git_peer::{self, GitPeer};
use super::provider::{Claims, Provider, Registration, Verifier};
use super::{Output, finish, under_run};
use crate::harness::api::{Answer, Api, Seen};
use crate::harness::canary;
use crate::harness::pki::Pki;
use crate::harness::valetkey::{Running, Valetkey};

/// The host of the API.
pub const ORDERS: &str = "api.orders.example";
/// The host of the git server.
pub const GIT: &str = "git.example";
/// What the API's tokens are for.
pub const AUDIENCE: &str = "https://api.orders.example";

/// The issuer and the two servers that believe it.
pub struct Peers {
    pub provider: Provider,
    pub pki: Pki,
    pub api: Api,
    pub git: Api,
    /// The bare repository `team.git` is in here.
    pub git_root: tempfile::TempDir,
    /// Secrets of the clients `orders-cli` and `git-cli`.
    pub secrets: [String; 2],
}

impl Peers {
    pub async fn start() -> Self {
        // Characters that form-encoding changes (RFC 6749 section 2.3.1).
        let secrets = [format!("{}+/%:", canary("secret")), canary("secret")];
        let orders = Registration {
            id: "orders-cli",
            secret: secrets[0].clone(),
            auth: "client_secret_basic",
            audience: AUDIENCE,
        };
        let git_client = Registration {
            id: "git-cli",
            secret: secrets[1].clone(),
            auth: "client_secret_post",
            audience: git_peer::AUDIENCE,
        };
        let provider = Provider::start(300, &[orders, git_client]).await;

        let pki = Pki::new();
        let api = Api::tls(&pki.server(&[ORDERS])).await;
        let verifier = provider.verifier.clone();
        api.answer(move |seen| orders_answer(seen, &verifier));

        let git = Api::tls(&pki.server(&[GIT])).await;
        let git_root = tempfile::tempdir().unwrap();
        let peer =
            GitPeer { root: git_root.path().to_owned(), verifier: provider.verifier.clone() };
        peer.repository("team.git");
        git.answer(move |seen| peer.answer(seen));
        Self { provider, pki, api, git, git_root, secrets }
    }
}

/// The peers with Valetkey between them and the tools.
pub struct Scene {
    pub peers: Peers,
    pub valetkey: Running,
}

impl Scene {
    pub async fn set() -> Self {
        let peers = Peers::start().await;
        let valetkey = config(&peers).start().await;
        Self { peers, valetkey }
    }

    /// Runs a shell line under `valetkey run`. What the tool was given as its API key comes back too:
    /// the line leaves it in a file first, the tool itself is started as it is.
    pub async fn run(&self, line: &str) -> (Output, String) {
        self.run_given("ORDERS_API_KEY", line).await
    }

    /// The same, with the placeholder of this variable.
    pub async fn run_given(&self, variable: &str, line: &str) -> (Output, String) {
        let note = self.valetkey.home.path("placeholder");
        let line = format!("printf %s \"${variable}\" >'{}'; {line}", note.display());
        let output = finish(&mut self.command(&line), b"").await;
        let placeholder = std::fs::read_to_string(&note).unwrap_or_default();
        assert!(!placeholder.is_empty(), "no placeholder given: {}", output.all());
        (output, placeholder)
    }

    fn command(&self, line: &str) -> Command {
        under_run(&self.valetkey.home, &["sh", "-c", line])
    }

    pub fn home(&self) -> PathBuf {
        self.valetkey.home.path("")
    }

    pub fn state(&self) -> &Path {
        &self.valetkey.home.state
    }

    /// The token of a request, good for `audience`, in the `Bearer` slot and nowhere else.
    pub fn bearer(&self, seen: &Seen) -> (String, Claims) {
        let value = seen.one("authorization");
        let token = value.strip_prefix("Bearer ").unwrap_or_else(|| panic!("a bearer: {value}"));
        let claims = self.peers.provider.verifier.verify(token, AUDIENCE).unwrap();
        assert_eq!(seen.count(token), 1, "the token once in {seen:#?}");
        (token.to_owned(), claims)
    }
}

fn orders_answer(seen: &Seen, verifier: &Verifier) -> Answer {
    let bearer = seen.all("authorization").join(" | ");
    let checked = bearer
        .strip_prefix("Bearer ")
        .ok_or_else(|| "no bearer".to_owned())
        .and_then(|token| verifier.verify(token, AUDIENCE));
    match checked {
        Ok(claims) => Answer::ok(format!("orders of {}", claims.sub)),
        Err(why) => Answer::ok(why).status(401).header("www-authenticate", "Bearer"),
    }
}

fn config(peers: &Peers) -> Valetkey {
    let url = &peers.provider.token_url;
    Valetkey::new()
        .trusting(&peers.pki)
        .reaching(&format!("{ORDERS}:443"), peers.api.addr())
        .reaching(&format!("{GIT}:443"), peers.git.addr())
        .env("ORDERS_CLIENT_SECRET", &peers.secrets[0])
        .file("git.secret", &peers.secrets[1])
        .toml(&format!(
            "[credentials.orders]\ngrant = \"client-credentials\"\ntoken_url = {url:?}\n\
             client_id = \"orders-cli\"\nclient_secret = {{ env = \"ORDERS_CLIENT_SECRET\" }}\n\
             scope = [\"orders:read\"]\n\
             [credentials.git]\ngrant = \"client-credentials\"\ntoken_url = {url:?}\n\
             client_id = \"git-cli\"\nclient_secret = {{ file = \"git.secret\" }}\nauth = \"post\"\n"
        ))
        .route(&format!(
            "name = \"orders-read\"\nhost = \"{ORDERS}\"\nmethods = [\"GET\", \"HEAD\"]\n\
             path = [\"/v1/**\"]\ncredential = \"orders\"\nstrip = [\"header:x-api-key\"]\n\
             env = {{ ORDERS_API_KEY = \"placeholder:opaque\" }}"
        ))
        .route(&format!(
            "name = \"git\"\nhost = \"{GIT}\"\nmethods = [\"GET\", \"POST\"]\ncredential = \"git\"\n\
             inject = {{ basic = {{ user = \"x-access-token\" }} }}\nenv = {{ GIT_KEY = \"placeholder:opaque\" }}"
        ))
}
