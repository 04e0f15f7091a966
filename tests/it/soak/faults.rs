//! What goes wrong beside the load, one after the other.

use std::time::{Duration, Instant};

use base64::Engine as _;
use tokio::time::Interval;

use super::load::{LIFE, Load, get, to};
use crate::harness::client::{connect_with, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::issuer::Reply;
use crate::harness::lock;
use crate::harness::stage::BILLING;

const OUTAGE: Duration = Duration::from_secs(3);
/// After an outage a credential may wait out its back-off.
const AFTER: Duration = Duration::from_secs(8);
/// What a reload adds and takes away again.
const EXTRA: &str = "
[[routes]]
name = \"extra\"
host = \"api.billing.example\"
path = [\"/extra/**\"]
credential = \"billing\"
";

impl Load {
    /// A reload, an issuer that fails, a session that ends, an issuer that hangs up.
    pub(super) async fn faults(&self, mut pace: Interval) {
        for turn in 0u64.. {
            pace.tick().await;
            match turn % 4 {
                0 => self.reload(),
                1 => self.away(Reply::json(503, "{}")).await,
                2 => self.session().await,
                _ => self.away(Reply::Gone).await,
            }
        }
    }

    async fn away(&self, reply: Reply) {
        self.count("issuer away");
        *lock(&self.outage) = Instant::now() + OUTAGE + AFTER;
        self.stage().orders_issuer.reply(reply);
        let _ = tokio::time::timeout(OUTAGE, std::future::pending::<()>()).await;
        self.stage().orders_issuer.reply(Reply::Token { life: Some(LIFE) });
    }

    fn reload(&self) {
        self.count("reloads");
        self.running().home.rewrite(|text| match text.strip_suffix(EXTRA) {
            Some(without) => without.to_owned(),
            None => text + EXTRA,
        });
        self.running().sighup();
    }

    async fn session(&self) {
        let home = &self.running().home;
        let done = home.run(&["session", "open", "--json"]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let opened: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
        let text = |key: &str| opened[key].as_str().unwrap().to_owned();
        let pair = format!("{}:{}", text("name"), text("secret"));
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        let lines = format!("Proxy-Authorization: Basic {pair}\r\n");
        let (answer, reader) = connect_with(self.stage().proxy_addr(), &to(BILLING), &lines).await;
        self.note("session", &[200], &answer);
        let config = tls_config(self.stage().trust(), &["http/1.1"]);
        let Ok(stream) = tls(reader.stream, BILLING, config).await else { return };
        let mut tunnel = Reader::new(stream);
        let ask = || get(BILLING, &format!("/v1/session/{}", self.number()));
        if let Some(answer) = exchange(&mut tunnel, ask().as_bytes()).await {
            self.note("session", &[200], &answer);
        }
        let ended = home.run(&["session", "end", &text("name")]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        match exchange(&mut tunnel, ask().as_bytes()).await {
            Some(answer) => self.note("session ended", &[403], &answer),
            None => self.count("session ended closed"),
        }
    }
}
