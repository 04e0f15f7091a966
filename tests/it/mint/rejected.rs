//! A 401 for a token: what is minted again, what is sent again, and what is not.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{bearer, token_of};
use crate::harness::api::Answer;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::stage::{EVIL, Stage};

/// The last one has the youngest token: once that is old enough for a 401, all are.
const WAYS: [&str; 5] = ["post", "scope", "down", "many", "get"];

/// Five credentials by path, each with an issuer of its own; the API takes no first token of any.
struct Scene {
    stage: Stage,
    issuers: Vec<Issuer>,
}

impl Scene {
    async fn set() -> Self {
        let mut issuers = Vec::new();
        for _ in WAYS {
            issuers.push(Issuer::start().await);
        }
        let stage = Stage::valetkey_with(|mut builder| {
            for (name, issuer) in WAYS.iter().zip(&issuers) {
                builder = builder.minting(name, issuer).route(&format!(
                    "name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}\"]\ncredential = {name:?}"
                ));
            }
            builder
        })
        .await;
        stage.evil.answer(|_| Answer::ok("prime"));
        let mut first = Vec::new();
        for name in WAYS {
            first.push(bearer(&stage, &format!("/{name}")).await);
        }
        stage.evil.answer(move |seen| {
            if !first.contains(&token_of(seen)) {
                return Answer::ok("with a new token");
            }
            let error =
                if seen.target == "/scope" { "insufficient_scope" } else { "invalid_token" };
            Answer::ok("the whole 401")
                .status(401)
                .header("WWW-Authenticate", format!("Bearer error=\"{error}\""))
        });
        Self { stage, issuers }
    }

    fn mints(&self, name: &str) -> usize {
        self.issuer(name).calls().len()
    }

    fn issuer(&self, name: &str) -> &Issuer {
        &self.issuers[WAYS.iter().position(|way| *way == name).unwrap()]
    }

    fn seen(&self, name: &str) -> usize {
        let path = format!("/{name}");
        self.stage.evil.requests().iter().filter(|seen| seen.target == path).count()
    }

    /// The status of one request on a tunnel of its own.
    async fn ask(&self, method: &str, name: &str) -> u16 {
        let body = if method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
        let request = format!("{method} /{name} HTTP/1.1\r\nHost: {EVIL}\r\n{body}");
        let answer = self.stage.send(EVIL, &request).await.unwrap();
        if answer.status() == 401 {
            assert_eq!(answer.text(), "the whole 401");
            assert!(answer.all("www-authenticate")[0].starts_with("Bearer error="));
        }
        answer.status()
    }
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once_and_nothing_is_sent_twice_that_may_not_be() {
    let scene = Arc::new(Scene::set().await);
    // A token younger than 10 s: each 401 is about permission, whatever it says.
    let mut sent = 1;
    loop {
        let status = scene.ask("GET", "get").await;
        sent += 1;
        if status == 200 {
            break;
        }
        assert_eq!((status, scene.mints("get")), (401, 1));
        assert!(sent < 100_000, "the token is never replaced");
    }
    assert!(sent > 10, "{sent}");
    assert_eq!(scene.mints("get"), 2, "one storm, one mint");
    assert_eq!(scene.seen("get"), sent + 1, "one replay");
    // All tokens are old enough now.
    assert_eq!(scene.ask("GET", "scope").await, 401);
    assert_eq!((scene.mints("scope"), scene.seen("scope")), (1, 2));

    assert_eq!(scene.ask("POST", "post").await, 401);
    assert_eq!((scene.mints("post"), scene.seen("post")), (1, 2), "never twice");
    assert_eq!(scene.ask("POST", "post").await, 200);
    assert_eq!((scene.mints("post"), scene.seen("post")), (2, 3));

    scene.issuer("down").reply(Reply::json(503, "{}"));
    assert_eq!(scene.ask("GET", "down").await, 401, "a replay that cannot be");
    assert_eq!((scene.mints("down"), scene.seen("down")), (2, 2));
    assert_eq!(scene.ask("GET", "down").await, 503, "and no ended token after that");

    let mut all = JoinSet::new();
    for _ in 0..50 {
        let scene = Arc::clone(&scene);
        all.spawn(async move { scene.ask("GET", "many").await });
    }
    let all = all.join_all().await;
    assert!(all.iter().all(|status| *status == 200), "{all:?}");
    assert_eq!(scene.mints("many"), 2, "one mint for all who wait");
}
