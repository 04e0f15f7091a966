//! Valetkey between a client and an upstream that are both played by hand, in each combination of HTTP/1.1
//! and HTTP/2.

use super::caller::Caller;
use super::pki::Pki;
use super::stage::Stage;
use super::upstream::{Protocol, Upstream};
use super::valetkey::Valetkey;

/// The host of the upstream; its route injects a token.
pub const HOST: &str = "pair.example";
/// The same upstream by a route without a credential.
pub const PASS: &str = "pass.example";

/// The four combinations, client first.
pub const ALL: [(Protocol, Protocol); 4] = [
    (Protocol::Http1, Protocol::Http1),
    (Protocol::Http1, Protocol::Http2),
    (Protocol::Http2, Protocol::Http1),
    (Protocol::Http2, Protocol::Http2),
];

pub struct Pair {
    pub stage: Stage,
    pub upstream: Upstream,
    pub client: Protocol,
}

impl Pair {
    pub async fn between(client: Protocol, upstream: Protocol) -> Self {
        Self::between_with(client, upstream, |v| v, "").await
    }

    /// With more in the config, and more keys in the route of [`HOST`].
    pub async fn between_with(
        client: Protocol,
        upstream: Protocol,
        more: impl FnOnce(Valetkey) -> Valetkey,
        keys: &str,
    ) -> Self {
        let pki = Pki::new();
        let upstream = Upstream::start(&pki.server(&[HOST, PASS]), upstream).await;
        // What needs a credential is for the first alone.
        let plain = |line: &&str| !line.starts_with("when");
        let pass: Vec<&str> = keys.lines().filter(plain).collect();
        let pass = pass.join("\n");
        let stage = Stage::valetkey_with(|v| {
            more(v.trusting(&pki))
                .reaching(&format!("{HOST}:443"), upstream.addr())
                .reaching(&format!("{PASS}:443"), upstream.addr())
                .route(&format!(
                    "name = \"pair\"\nhost = \"{HOST}\"\ncredential = \"orders\"\n{keys}"
                ))
                .route(&format!("name = \"pass\"\nhost = \"{PASS}\"\n{pass}"))
        })
        .await;
        Self { stage, upstream, client }
    }

    pub async fn caller(&self) -> Caller {
        Caller::open(&self.stage, HOST, self.client).await
    }

    pub async fn pass_caller(&self) -> Caller {
        Caller::open(&self.stage, PASS, self.client).await
    }

    /// The token that the upstream should have got.
    pub fn token(&self) -> String {
        self.stage.orders_issuer.token()
    }
}
