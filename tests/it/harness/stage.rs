//! The usual stage: two routed APIs with an issuer each, one unrouted API, and a proxy between.
//!
//! The proxy is Valetkey or the naive one; invariant checks see only this.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::api::{Api, Seen};
use super::canary;
use super::client::{Trust, connect, exchange, tls, tls_config};
use super::http1::{Message, Reader};
use super::issuer::Issuer;
use super::naive::Naive;
use super::pki::Pki;
use super::valetkey::{Home, Running, Valetkey};

/// The routed host that most checks aim at.
pub const ORDERS: &str = "api.orders.example";
/// Another routed host, with a credential and an issuer of its own.
pub const BILLING: &str = "api.billing.example";
/// A host that no route names.
pub const EVIL: &str = "evil.example";

/// What a violated check saw.
pub type Verdict = Result<(), String>;

/// Fails a check with a message.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition { return Err(format!($($message)+)); }
    };
}

enum Proxy {
    Naive(Naive),
    Valetkey(Box<Running>),
}

/// All that a check needs.
pub struct Stage {
    proxy: Proxy,
    ca: String,
    pub pki: Pki,
    pub orders: Api,
    /// The same host in the clear, on port 80.
    pub orders_plain: Api,
    /// The same host over TLS on port 8443, which no route names.
    pub orders_alt: Api,
    pub billing: Api,
    pub evil: Api,
    pub orders_issuer: Issuer,
    pub billing_issuer: Issuer,
    /// What the client sends where its key would be.
    pub placeholder: String,
    /// A real standing key, which Valetkey does not know: only the slot it stands in betrays it.
    pub standing_key: String,
}

/// A TLS connection through a tunnel, ready for HTTP/1.1.
pub type Tunnel = Reader<TlsStream<TcpStream>>;

impl Stage {
    /// With Valetkey in the middle.
    pub async fn valetkey() -> Self {
        Self::valetkey_with(|builder| builder).await
    }

    /// As [`Stage::valetkey`], with more in its config.
    pub async fn valetkey_with(more: impl FnOnce(Valetkey) -> Valetkey) -> Self {
        let mut stage = Self::fakes().await;
        let mut builder = Valetkey::new().trusting(&stage.pki);
        for (authority, addr) in stage.addresses() {
            builder = builder.reaching(&authority, addr);
        }
        builder = builder
            .minting("orders", &stage.orders_issuer)
            .minting("billing", &stage.billing_issuer)
            .route(&format!(
                "name = \"orders\"\nhost = \"{ORDERS}\"\nmethods = [\"GET\", \"HEAD\", \"POST\"]\n\
                 path = [\"/v1/**\"]\ncredential = \"orders\"\n\
                 strip = [\"header:x-api-key\", \"query:api_key\"]"
            ))
            .route(&format!("name = \"billing\"\nhost = \"{BILLING}\"\ncredential = \"billing\""));
        let running = more(builder).start().await;
        stage.ca = running.ca_pem().await;
        stage.proxy = Proxy::Valetkey(Box::new(running));
        stage
    }

    /// With the naive proxy in the middle.
    pub async fn naive() -> Self {
        Self::fakes().await
    }

    /// A new stage of the same kind: no token, no back-off.
    pub async fn another(&self) -> Self {
        match &self.proxy {
            Proxy::Naive(_) => Self::naive().await,
            Proxy::Valetkey(_) => Self::valetkey().await,
        }
    }

    async fn fakes() -> Self {
        let pki = Pki::new();
        let orders = Api::tls(&pki.server(&[ORDERS])).await;
        let orders_plain = Api::plain().await;
        let orders_alt = Api::tls(&pki.server(&[ORDERS])).await;
        let billing = Api::tls(&pki.server(&[BILLING])).await;
        let evil = Api::tls(&pki.server(&[EVIL])).await;
        let orders_issuer = Issuer::start().await;
        let billing_issuer = Issuer::start().await;
        let addresses =
            addresses(&orders, &orders_plain, &orders_alt, &billing, &evil).into_iter().collect();
        let issuers = HashMap::from([
            (ORDERS.to_owned(), orders_issuer.addr()),
            (BILLING.to_owned(), billing_issuer.addr()),
        ]);
        let naive = Naive::start(addresses, issuers).await;
        Self {
            ca: naive.ca_pem(),
            proxy: Proxy::Naive(naive),
            pki,
            orders,
            orders_plain,
            orders_alt,
            billing,
            evil,
            orders_issuer,
            billing_issuer,
            placeholder: format!("vk-placeholder-{}", canary("p")),
            standing_key: canary("standing"),
        }
    }

    fn addresses(&self) -> Vec<(String, SocketAddr)> {
        addresses(&self.orders, &self.orders_plain, &self.orders_alt, &self.billing, &self.evil)
    }

    pub fn proxy_addr(&self) -> SocketAddr {
        match &self.proxy {
            Proxy::Naive(naive) => naive.addr(),
            Proxy::Valetkey(running) => running.proxy_addr(),
        }
    }

    /// Valetkey itself, where it is the proxy.
    pub fn running(&self) -> Option<&Running> {
        match &self.proxy {
            Proxy::Naive(_) => None,
            Proxy::Valetkey(running) => Some(running),
        }
    }

    /// The CA that clients trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// The CA in a file, for clients that want one.
    pub fn ca_file(&self) -> std::path::PathBuf {
        let path = self.running().expect("a real proxy").home.path("client-ca.pem");
        std::fs::write(&path, &self.ca).unwrap();
        path
    }

    /// Valetkey itself, to be stopped or killed.
    pub fn running_mut(&mut self) -> &mut Running {
        match &mut self.proxy {
            Proxy::Naive(_) => panic!("a real proxy"),
            Proxy::Valetkey(running) => running,
        }
    }

    /// Starts Valetkey again after its end; clients keep the CA that they know.
    pub async fn restart(&mut self, home: &Home) {
        self.proxy = Proxy::Valetkey(Box::new(home.start().await));
    }

    pub fn trust(&self) -> Trust<'_> {
        Trust::Roots(&self.ca)
    }

    /// A tunnel to `host:443` with TLS in it, HTTP/1.1.
    pub async fn tunnel(&self, host: &str) -> Result<Tunnel, String> {
        let (answer, reader) = connect(self.proxy_addr(), &format!("{host}:443")).await;
        ensure!(answer.status() == 200, "CONNECT {host}: {}", answer.everything());
        let config = tls_config(self.trust(), &["http/1.1"]);
        match tls(reader.stream, host, config).await {
            Ok(stream) => Ok(Reader::new(stream)),
            Err(error) => Err(format!("TLS to {host}: {error}")),
        }
    }

    /// One request in a tunnel of its own: the bytes are sent as they are.
    pub async fn send(&self, host: &str, request: &str) -> Result<Message, String> {
        let mut tunnel = self.tunnel(host).await?;
        let answer = exchange(&mut tunnel, request.as_bytes()).await;
        answer.ok_or_else(|| format!("no answer to {request:?}"))
    }

    /// A plain GET with the placeholder as bearer, and further header lines.
    pub async fn get(&self, host: &str, target: &str, lines: &str) -> Result<Message, String> {
        let key = &self.placeholder;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n{lines}\r\n"
        );
        self.send(host, &request).await
    }

    /// The lines of a CONNECT by which a client of this name says who it is. (The naive proxy asks nobody.)
    pub async fn login(&self, who: &str) -> String {
        use base64::Engine as _;
        let pair = match self.running() {
            None => format!("{who}:a-session-secret"),
            Some(running) => {
                let done = running.home.run(&["session", "open", "--user", who, "--json"]).await;
                let opened: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
                let text = |key: &str| opened[key].as_str().expect("a text").to_owned();
                format!("{}:{}", text("name"), text("secret"))
            }
        };
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        format!("Proxy-Authorization: Basic {pair}\r\n")
    }

    /// The owner wants no more tokens for orders.
    pub async fn withdraw_orders(&self) {
        match &self.proxy {
            Proxy::Naive(naive) => naive.withdraw(ORDERS),
            Proxy::Valetkey(running) => {
                let done = running.home.run(&["revoke", "--credential", "orders"]).await;
                assert_eq!(done.code, Some(0), "{done:?}");
            }
        }
    }

    /// Where the proxy writes down what it did.
    pub fn audit_file(&self) -> std::path::PathBuf {
        match &self.proxy {
            Proxy::Naive(naive) => naive.audit_file(),
            Proxy::Valetkey(running) => running.home.state.join("audit.jsonl"),
        }
    }

    /// All that the proxy said and wrote.
    pub async fn written_down(&self) -> String {
        let mut all = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        if let Some(running) = self.running() {
            all.push_str(&running.output());
            all.push_str(&running.home.run(&["status", "--json"]).await.stdout);
        }
        all
    }

    /// The positive control: a legitimate request at the neighbour, whose token must arrive
    /// exactly once, in its slot. A proxy that never injects passes no check.
    pub async fn control(&self) -> Verdict {
        let before = self.billing.requests().len();
        let answer = self.get(BILLING, "/v1/control", "").await?;
        ensure!(answer.status() == 200, "control: {}", answer.everything());
        let seen = self.billing.requests();
        ensure!(seen.len() == before + 1, "control: {} requests", seen.len() - before);
        self.injected(&seen[before], &self.billing_issuer.token())
    }

    /// The request carries exactly this token, once, as bearer, and no placeholder.
    pub fn injected(&self, seen: &Seen, token: &str) -> Verdict {
        let slot = seen.all("authorization");
        ensure!(slot == [format!("Bearer {token}")], "authorization is {slot:?}");
        ensure!(seen.count(token) == 1, "the token stands elsewhere too: {seen:#?}");
        ensure!(seen.count(&self.placeholder) == 0, "placeholder upstream: {seen:#?}");
        ensure!(seen.count(&self.standing_key) == 0, "the client's own key upstream: {seen:#?}");
        Ok(())
    }

    /// No token and no placeholder in any request of a server.
    pub fn bare(&self, what: &str, api: &Api) -> Verdict {
        for seen in api.requests() {
            for token in self.tokens() {
                ensure!(seen.count(&token) == 0, "{what} got a token: {seen:#?}");
            }
            ensure!(seen.count(&self.placeholder) == 0, "{what} got the placeholder: {seen:#?}");
        }
        Ok(())
    }

    /// Waits until Valetkey has written so many refusals with this code, one record each.
    pub async fn audited(&self, code: &str, count: usize) {
        let Some(running) = self.running() else { return };
        super::until(&format!("{count} records with {code}"), || {
            let audit = running.audit();
            let decisions = audit.iter().filter(|r| r["event"] == "decision");
            decisions.filter(|r| r["code"] == code).count() == count
        })
        .await;
    }

    /// Every token that either issuer minted.
    pub fn tokens(&self) -> Vec<String> {
        let mut tokens = self.orders_issuer.minted();
        tokens.extend(self.billing_issuer.minted());
        tokens
    }

    /// No token stands in a text, raw or in base64 or hex.
    pub fn silent(&self, what: &str, text: &str) -> Verdict {
        for token in self.tokens() {
            for form in forms(&token) {
                ensure!(!text.contains(&form), "{what} shows a token as {form}: {text}");
            }
        }
        Ok(())
    }
}

/// The ways in which a value may be written so that a search must find it.
pub fn forms(value: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let hex: String = value.bytes().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![value.to_owned(), hex.to_uppercase(), hex];
    for shift in 0..3 {
        // Whole groups of three bytes, so that what stands around does not matter.
        let aligned = &value.as_bytes()[shift..];
        let aligned = &aligned[..aligned.len() / 3 * 3];
        forms.push(STANDARD_NO_PAD.encode(aligned));
        forms.push(URL_SAFE_NO_PAD.encode(aligned));
    }
    // Any long part of the random half is as good as the whole.
    forms.extend(
        value
            .as_bytes()
            .windows(16)
            .skip(8)
            .step_by(8)
            .map(|part| String::from_utf8_lossy(part).into_owned()),
    );
    forms
}

fn addresses(
    orders: &Api,
    plain: &Api,
    alt: &Api,
    billing: &Api,
    evil: &Api,
) -> Vec<(String, SocketAddr)> {
    vec![
        (format!("{ORDERS}:443"), orders.addr()),
        (format!("{ORDERS}:80"), plain.addr()),
        (format!("{ORDERS}:8443"), alt.addr()),
        (format!("{BILLING}:443"), billing.addr()),
        (format!("{EVIL}:443"), evil.addr()),
    ]
}

/// An answer of Valetkey's own: status, `Proxy-Status` (RFC 9209) and problem document (RFC 9457).
pub fn own_answer(answer: &Message, statuses: &[u16], codes: &[&str]) -> Verdict {
    let all = answer.everything();
    ensure!(statuses.contains(&answer.status()), "expected {statuses:?}, got: {all}");
    let status = answer.all("proxy-status").join(", ");
    ensure!(status.starts_with("valetkey"), "Proxy-Status is `{status}`: {all}");
    let kind = answer.all("content-type");
    ensure!(kind == ["application/problem+json"], "content-type is {kind:?}: {all}");
    let Ok(problem) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        return Err(format!("the body is not JSON: {all}"));
    };
    for key in ["code", "detail", "hint", "request_id"] {
        ensure!(problem[key].as_str().is_some_and(|v| !v.is_empty()), "no `{key}` in {all}");
    }
    let code = problem["code"].as_str().unwrap_or_default();
    ensure!(codes.contains(&code), "expected code {codes:?}: {all}");
    ensure!(status.contains(&format!("details=\"{code}\"")), "details differ: {all}");
    ensure!(status.contains("error="), "no error= in {all}");
    Ok(())
}
