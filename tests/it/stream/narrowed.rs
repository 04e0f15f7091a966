//! A reload that asks less of a credential: a running request whose token says more is cut, one whose token does
//! not runs on, and every token that no route asks for any more is revoked once nothing uses it.

use std::time::{Duration, Instant};

use crate::harness::caller::Call;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::pair::{ALL, HOST, Pair};
use crate::harness::soon;
use crate::harness::upstream::{Exchange, Protocol};
use crate::harness::valetkey::Valetkey;

const PROMISED: Duration = Duration::from_secs(5);
const CREDENTIAL: &str = "scope = [\"read\", \"write\"]";
const ROUTE: &str = "path = [\"/events\"]\nscope = [\"read\", \"write\"]";

/// A pair whose route asks for two scopes of an issuer that revokes.
struct Narrowed {
    pair: Pair,
    issuer: Issuer,
    token: String,
    call: Call,
    up: Option<Exchange>,
}

impl Narrowed {
    /// With an answer under way.
    async fn streaming(client: Protocol, upstream: Protocol) -> Self {
        let issuer = Issuer::start().await;
        let more = format!("{CREDENTIAL}\nrevocation_url = \"http://{}/revoke\"", issuer.addr());
        let url = issuer.token_url();
        let add = |v: Valetkey| {
            v.credential_at("scoped", &url, &more).route(&format!(
                "name = \"scoped\"\nhost = \"{HOST}\"\ncredential = \"scoped\"\n{ROUTE}"
            ))
        };
        let keys = "path = [\"/other\"]";
        let mut pair = Pair::between_with(client, upstream, add, keys).await;
        let mut call = pair.caller().await.get("/events").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[("content-type", "text/event-stream")]).await;
        assert!(up.send(b"data: 1\n\n").await);
        assert_eq!(call.head().await.status, 200);
        call.exactly(9).await;
        let token = issuer.token();
        // Revoked in the usual way (RFC 7009): an empty 200.
        issuer.reply(Reply::Raw { status: 200, headers: vec![], body: vec![] });
        Self { pair, issuer, token, call, up: Some(up) }
    }

    fn edit(&self, from: &str, to: &str) -> Instant {
        self.pair.stage.running().unwrap().home.rewrite(|text| {
            assert!(text.contains(from), "{from} in {text}");
            text.replace(from, to)
        });
        Instant::now()
    }

    async fn given_up(&mut self) {
        soon("the upstream's side", self.up.take().unwrap().given_up()).await;
    }

    async fn taken_up(&self) {
        let running = self.pair.stage.running().unwrap();
        soon("the reload", running.says("config reloaded")).await.unwrap();
    }

    /// Waits for the revocation of its token, the only one there is.
    async fn revoked(&self) {
        let call = self.issuer.call(1).await;
        let all = call.everything();
        assert!(all.contains("/revoke") && all.contains(&self.token), "{all}");
        assert_eq!(self.issuer.calls().len(), 2);
    }
}

#[tokio::test]
async fn a_narrower_scope_ends_what_runs_with_the_wider_token() {
    let narrower = ROUTE.replace("[\"read\", \"write\"]", "[\"read\"]");
    for (client, upstream) in ALL {
        let mut it = Narrowed::streaming(client, upstream).await;
        let edited = it.edit(ROUTE, &narrower);
        assert!(soon("the break", it.call.receive()).await.is_broken(), "{client:?} {upstream:?}");
        it.given_up().await;
        it.revoked().await;
        println!("{client:?} {upstream:?}: cut and revoked in {:?}", edited.elapsed());
        assert!(edited.elapsed() < PROMISED, "{:?}", edited.elapsed());
    }
}

/// The credential's own scope, without which a route asks for nothing.
#[tokio::test]
async fn a_narrower_or_removed_credential_does_too() {
    let no_scope = ROUTE.replace("\nscope = [\"read\", \"write\"]", "");
    let to_none = "credential = \"scoped\"";
    for (from, to) in [
        (CREDENTIAL.to_owned(), "scope = [\"read\"]".to_owned()),
        (to_none.to_owned(), "# no credential".to_owned()),
    ] {
        let mut it = Narrowed::streaming(Protocol::Http1, Protocol::Http1).await;
        it.edit(ROUTE, &no_scope);
        it.taken_up().await;
        let edited = it.edit(&from, &to);
        assert!(soon("the break", it.call.receive()).await.is_broken(), "{to}");
        it.given_up().await;
        it.revoked().await;
        assert!(edited.elapsed() < PROMISED, "{to}: {:?}", edited.elapsed());
    }
}

/// Its token says no more than a new one would: it runs to its end, and only then the token is revoked.
#[tokio::test]
async fn a_wider_scope_ends_nothing() {
    for (client, upstream) in ALL {
        let mut it = Narrowed::streaming(client, upstream).await;
        let wider = |text: &str| text.replace("\"write\"]", "\"write\", \"more\"]");
        it.pair.stage.running().unwrap().home.rewrite(|text| wider(&text));
        it.taken_up().await;
        // Two ticks of the daemon at least: a request through it after each head of the audit.
        let head = it.pair.stage.running().unwrap().home.state.join("audit.head");
        for _ in 0..3 {
            let before = std::fs::read(&head).unwrap_or_default();
            soon("a tick", async {
                while std::fs::read(&head).unwrap_or_default() == before {
                    it.pair.stage.control().await.unwrap();
                }
            })
            .await;
        }
        assert!(it.up.as_mut().unwrap().send(b"data: 2\n\n").await, "{client:?} {upstream:?}");
        assert_eq!(it.call.exactly(9).await, b"data: 2\n\n");
        assert_eq!(it.issuer.calls().len(), 1, "in use, so not revoked");
        it.up.take().unwrap().end().await;
        soon("the end", it.call.receive()).await;
        it.revoked().await;
    }
}
