//! A 401 for a token, counted: how often an issuer is asked and how often an upstream gets a request, whatever
//! waits, fails and repeats.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::harness::api::{Answer, Api, Seen};
use crate::harness::caller::{Caller, Sending};
use crate::harness::client::{connect, http2, http2_send, tls, tls_config};
use crate::harness::http1::Message;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::pki::Pki;
use crate::harness::stage::Stage;
use crate::harness::upstream::Protocol;
use crate::harness::{Gate, canary, figure, look_again, soon, until};

/// An API over HTTP/2.
const H2: &str = "h2.storm.example";
/// One over HTTP/1.1.
const H1: &str = "h1.storm.example";
/// Another, which goes away.
const GONE: &str = "gone.storm.example";

/// One credential at one host and path, with an issuer of its own.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    host: &'static str,
    /// Further keys of its route.
    keys: &'static str,
}

const fn way(name: &'static str, host: &'static str) -> Way {
    Way { name, host, keys: "" }
}

/// Ways whose first tokens are old enough for a 401 to count, and which the APIs take no longer.
struct Scene {
    stage: Stage,
    issuers: HashMap<&'static str, Issuer>,
    apis: HashMap<&'static str, Api>,
    /// The first token of each way.
    first: HashMap<&'static str, String>,
}

impl Scene {
    async fn set(ways: &[Way]) -> Self {
        let pki = Pki::new();
        let mut apis = HashMap::new();
        for (host, alpn) in [(H2, "h2"), (H1, "http/1.1"), (GONE, "http/1.1")] {
            apis.insert(host, Api::tls_with(&pki.server(&[host]), &[alpn]).await);
        }
        let mut issuers = HashMap::new();
        for way in ways.iter().chain([&AGE]) {
            issuers.insert(way.name, Issuer::start().await);
        }
        let stage = Stage::valetkey_with(|mut builder| {
            builder = builder.trusting(&pki);
            for (host, api) in &apis {
                builder = builder.reaching(&format!("{host}:443"), api.addr());
            }
            for Way { name, host, keys } in ways.iter().chain([&AGE]) {
                let path = if keys.contains("path =") { "" } else { "path = [\"/NAME/**\"]" };
                builder = builder.minting(name, &issuers[name]).route(
                    &format!(
                        "name = {name:?}\nhost = {host:?}\ncredential = {name:?}\n{keys}\n{path}"
                    )
                    .replace("NAME", name),
                );
            }
            builder
        })
        .await;
        let mut scene = Self { stage, issuers, apis, first: HashMap::new() };
        for way in ways.iter().chain([&AGE]) {
            let answer = scene.ask(way, Protocol::Http1, "GET", "prime").await;
            assert_eq!(answer.status(), 200, "{}: {}", way.name, answer.everything());
            scene.first.insert(way.name, scene.issuers[way.name].token());
        }
        scene
    }

    /// Waits until a 401 for the youngest token has it replaced: then it has for all.
    async fn aged(&self) {
        self.refuse(H1, "the 401", |_| None);
        let mut pace = interval(Duration::from_millis(100));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        soon("a token of 10 s", async {
            while self.ask(&AGE, Protocol::Http1, "GET", "again").await.status() != 200 {
                pace.tick().await;
            }
        })
        .await;
    }

    /// From now on a host refuses the first tokens with this body; `more` may say something else.
    fn refuse(
        &self,
        host: &str,
        body: &str,
        more: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static,
    ) {
        let first: Vec<String> = self.first.values().cloned().collect();
        let body = body.to_owned();
        self.apis[host].answer(move |seen| {
            if let Some(answer) = more(seen) {
                return answer;
            }
            if !first.iter().any(|token| seen.count(token) > 0) {
                return Answer::ok("with a new token");
            }
            let challenge = "Bearer realm=\"x\", error=\"invalid_token\"";
            Answer::ok(body.clone()).status(401).header("WWW-Authenticate", challenge)
        });
    }

    /// One request on a connection of its own.
    async fn ask(&self, way: &Way, protocol: Protocol, method: &str, rest: &str) -> Message {
        let caller = Caller::open(&self.stage, way.host, protocol).await;
        let path = format!("/{}/{rest}", way.name);
        let mut call = caller.call(method, &path, &[], Sending::Nothing).await;
        let head = call.head().await;
        let (body, _) = call.body().await;
        let headers = head.headers.into_iter().map(|(name, value)| (name, value.into_bytes()));
        let first_line = format!("HTTP/x {}", head.status);
        Message { first_line, headers: headers.collect(), body, complete: true }
    }

    /// So many requests at once, some hundred a connection of HTTP/2; their answers, in no order.
    async fn burst(&self, way: &Way, method: &'static str, count: usize) -> Vec<Message> {
        let mut all = JoinSet::new();
        let mut line = None;
        for n in 0..count {
            if n % 100 == 0 {
                let target = format!("{}:443", way.host);
                let (answer, reader) = connect(self.stage.proxy_addr(), &target).await;
                assert_eq!(answer.status(), 200, "{}", answer.everything());
                let config = tls_config(self.stage.trust(), &["h2"]);
                let stream = tls(reader.stream, way.host, config).await.unwrap();
                line = Some(http2(stream).await);
            }
            let mut line = line.clone().unwrap();
            let uri = format!("https://{}/{}/{n}", way.host, way.name);
            let body = if method == "GET" { Full::default() } else { Full::from("{}") };
            let request = http::Request::builder().method(method).uri(uri).body(body).unwrap();
            all.spawn(async move { http2_send(&mut line, request).await.unwrap() });
        }
        all.join_all().await
    }

    fn mints(&self, way: &Way) -> usize {
        self.issuers[way.name].calls().len()
    }

    /// Requests of a way that reached its API, the first one not counted.
    fn seen(&self, way: &Way) -> Vec<Seen> {
        let of_way = |seen: &Seen| {
            seen.target.starts_with(&format!("/{}/", way.name)) && !seen.target.ends_with("/prime")
        };
        self.apis[way.host].requests().into_iter().filter(of_way).collect()
    }
}

/// The last one to get a token.
const AGE: Way = way("age", H1);

fn count(answers: &[Message], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status() == status).count()
}

/// The most attempts in `time` after a first failure: each back-off is longer than the one before, to 24 s.
fn attempts(time: Duration) -> usize {
    let (mut waited, mut wait, mut attempts) = (0.0, 1.0_f64, 1);
    loop {
        waited += wait;
        if waited > time.as_secs_f64() {
            return attempts;
        }
        attempts += 1;
        wait = (wait * 2.0).min(24.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rejections_ask_each_issuer_once() {
    let [many, post, denied, down] =
        [way("many", H2), way("post", H2), way("denied", H2), way("down", H2)];
    let ways = [many, post, denied, down];
    let scene = Arc::new(Scene::set(&ways).await);
    let [many, post, denied, down] = &ways;
    scene.aged().await;

    // Every 401 waits until all have been sent with the rejected token.
    let (rejected, first) = (Gate::closed(), scene.first.clone());
    let gate = rejected.clone();
    scene.refuse(H2, "the whole 401", move |seen| {
        let token = seen.one("authorization");
        let is = |name: &str| token == format!("Bearer {}", first[name]);
        let held = is("many") || is("post");
        // To this one it is about permission, and says otherwise.
        let always = seen.target.starts_with("/denied/");
        (held || always).then(|| {
            let answer = Answer::ok("the whole 401").status(401);
            let answer = answer.header("WWW-Authenticate", "Bearer error=\"invalid_token\"");
            if held { answer.after(&gate) } else { answer }
        })
    });
    let released = async {
        until("500 and 1,000 requests", || {
            scene.seen(many).len() >= 500 && scene.seen(post).len() >= 1_000
        })
        .await;
        assert_eq!((scene.mints(many), scene.mints(post)), (1, 1), "nobody minted so far");
        rejected.open();
    };
    let (got, posted, ()) =
        tokio::join!(scene.burst(many, "GET", 500), scene.burst(post, "POST", 1_000), released);
    assert_eq!(count(&got, 200), 500, "each has its answer");
    assert_eq!(scene.mints(many), 2, "500 wait for one mint");
    assert_eq!(scene.seen(many).len(), 1_000, "and are sent once more");

    assert_eq!(count(&posted, 401), 1_000);
    assert!(posted.iter().all(|answer| answer.text() == "the whole 401"));
    let mut targets: Vec<_> = scene.seen(post).into_iter().map(|seen| seen.target).collect();
    targets.sort();
    targets.dedup();
    assert_eq!((targets.len(), scene.seen(post).len()), (1_000, 1_000), "each once");
    assert_eq!(scene.mints(post), 1, "nobody waits for another token");

    let start = Instant::now();
    let answers = scene.burst(denied, "GET", 1_000).await;
    assert_eq!(count(&answers, 401), 1_000);
    let windows = start.elapsed().as_secs() as usize / 10 + 1;
    assert!(scene.mints(denied) <= 1 + windows, "{} mints", scene.mints(denied));
    println!("denied: {} further mints in {:?}", scene.mints(denied) - 1, start.elapsed());

    scene.issuers["down"].reply(Reply::json(503, "{}"));
    let start = Instant::now();
    let answers = scene.burst(down, "GET", 1_000).await;
    let most = attempts(start.elapsed());
    let further = scene.mints(down) - 1;
    assert!(further >= 1 && further <= most, "{further} of {most} in {:?}", start.elapsed());
    let relayed = count(&answers, 401);
    assert_eq!(relayed + count(&answers, 503), 1_000, "the 401 itself, or that there is no token");
    figure("rejected", "500 GETs rejected: 1 mint; 1,000 POSTs rejected: each sent once, 0 mints");
    println!("down: {further} attempts in {:?}, {relayed} relayed", start.elapsed());
}

/// Each in its own way: over each pair of protocols, with the token in its header, query or path, and with a
/// method that may be sent twice or a body that may not.
#[tokio::test]
async fn what_may_be_sent_twice_is_whatever_the_protocols_and_placements() {
    let pairs = [
        (way("h1-h1", H1), Protocol::Http1),
        (way("h1-h2", H2), Protocol::Http1),
        (way("h2-h1", H1), Protocol::Http2),
        (way("h2-h2", H2), Protocol::Http2),
        (way("delete", H2), Protocol::Http2),
        (Way { keys: "inject = { query = \"key\" }", ..way("query", H1) }, Protocol::Http1),
        (
            Way {
                keys: "path = [\"/path/**\"]\ninject = { path = \"/path/{token}/**\" }",
                ..way("path", H2)
            },
            Protocol::Http2,
        ),
    ];
    let put = way("put", H2);
    let gone = way("gone", GONE);
    let mut ways: Vec<Way> = pairs.iter().map(|(way, _)| *way).collect();
    ways.extend([put, gone]);
    let mut scene = Scene::set(&ways).await;
    scene.aged().await;
    for host in [H1, H2, GONE] {
        scene.refuse(host, "the whole 401", |_| None);
    }
    for (way, protocol) in &pairs {
        let method = if way.name == "delete" { "DELETE" } else { "GET" };
        let rest = if way.name == "path" { "mine/rest" } else { "rest" };
        let answer = scene.ask(way, *protocol, method, rest).await;
        assert_eq!(answer.status(), 200, "{}: {}", way.name, answer.everything());
        let seen = scene.apis[way.host].requests();
        let sent = |token: &str| seen.iter().filter(|seen| seen.count(token) > 0).count();
        let new = scene.issuers[way.name].token();
        // Two with the first: the one before and the rejected one.
        assert_eq!((sent(&scene.first[way.name]), sent(&new)), (2, 1), "{}", way.name);
        let last = seen.iter().find(|seen| seen.count(&new) > 0).unwrap();
        assert_eq!((last.method.as_str(), last.count(&new)), (method, 1), "{last:#?}");
        assert_eq!(scene.mints(way), 2, "{}", way.name);
    }
    // A body is gone once it was sent.
    let answers = scene.burst(&put, "PUT", 1).await;
    assert_eq!((answers[0].status(), answers[0].text().as_str()), (401, "the whole 401"));
    assert_eq!((scene.seen(&put).len(), scene.mints(&put)), (1, 1));

    replay_without_a_connection(&mut scene, &gone).await;
}

/// The upstream goes away between the 401 and the replay: the 401 is relayed, all of it.
async fn replay_without_a_connection(scene: &mut Scene, gone: &Way) {
    let body = canary("body").repeat(150);
    scene.refuse(GONE, &body, |_| None);
    let gate = scene.issuers[gone.name].hold();
    let leaving = scene.apis.remove(GONE).unwrap();
    let (answer, ()) = tokio::join!(scene.ask(gone, Protocol::Http1, "GET", "rest"), async {
        // The 401 has come, and a new token is asked for.
        scene.issuers[gone.name].call(1).await;
        let addr = leaving.addr();
        drop(leaving);
        soon("a closed port", async {
            while tokio::net::TcpStream::connect(addr).await.is_ok() {
                look_again().await;
            }
        })
        .await;
        gate.open();
    });
    assert_eq!(answer.status(), 401, "{}", answer.everything());
    assert!(answer.text() == body, "{} bytes of {}", answer.body.len(), body.len());
    assert_eq!(answer.all("www-authenticate").len(), 1);
    assert_eq!(scene.mints(gone), 2);
    let audit = scene.stage.running().unwrap().audit();
    let sent = audit
        .iter()
        .filter(|record| record["event"] == "decision" && record["target"]["host"] == GONE);
    assert_eq!(sent.count(), 3, "the first, the rejected and the replay: each has its record");
}
