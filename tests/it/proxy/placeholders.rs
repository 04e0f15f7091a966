//! Bound placeholders: they pick the credential, name the session, and are worth nothing anywhere else.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::client::{connect_with, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::issuer::Issuer;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, own_answer};

/// [`EVIL`] has two credentials for the same requests; each route gives a placeholder.
struct Scene {
    stage: Stage,
    read: Issuer,
    write: Issuer,
}

impl Scene {
    async fn new() -> Self {
        let (read, write) = (Issuer::start().await, Issuer::start().await);
        let stage = Stage::valetkey_with(|v| {
            let route = |name: &str, variable: &str, kind: &str| {
                format!(
                    "name = {name:?}\nhost = {EVIL:?}\ncredential = {name:?}\n\
                     strip = [\"header:x-api-key\", \"query:key\"]\n\
                     env = {{ {variable} = \"placeholder:{kind}\" }}"
                )
            };
            v.minting("read", &read)
                .minting("write", &write)
                .route(&route("read", "READ_KEY", "github"))
                .route(&route("write", "WRITE_KEY", "opaque"))
        })
        .await;
        Self { stage, read, write }
    }

    /// The session's login and its placeholders.
    async fn session(&self) -> Session {
        let home = &self.stage.running().unwrap().home;
        let done = home.run(&["session", "open", "--json"]).await;
        let opened: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
        let text = |key: &str| opened[key].as_str().unwrap().to_owned();
        let placeholders: BTreeMap<String, String> =
            serde_json::from_value(opened["placeholders"].clone()).unwrap();
        let pair = STANDARD.encode(format!("{}:{}", text("name"), text("secret")));
        let login = format!("Proxy-Authorization: Basic {pair}\r\n");
        let of = |name: &str| placeholders[name].clone();
        Session { name: text("name"), login, read: of("READ_KEY"), write: of("WRITE_KEY") }
    }

    /// One request, its tunnel opened with `login`.
    async fn get(&self, host: &str, login: &str, target: &str, lines: &str) -> Message {
        let proxy = self.stage.proxy_addr();
        let (answer, reader) = connect_with(proxy, &format!("{host}:443"), login).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(self.stage.trust(), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, host, config).await.unwrap());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        exchange(&mut tunnel, request.as_bytes()).await.expect("an answer")
    }

    /// The bearer of the last request, which holds no placeholder.
    fn bearer(&self) -> String {
        let seen = self.stage.evil.requests().pop().unwrap();
        assert_eq!(seen.count("laceholder"), 0, "{seen:#?}");
        seen.one("authorization")
    }
}

struct Session {
    name: String,
    login: String,
    read: String,
    write: String,
}

#[tokio::test]
async fn the_one_that_is_sent_decides() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    assert!(session.read.starts_with("ghp_"), "{}", session.read);
    let basic = STANDARD.encode(format!("x-access-token:{}", session.write));
    let cases = [
        ("/x", format!("Authorization: Bearer {}\r\n", session.read), &scene.read),
        ("/x", format!("Authorization: token {}\r\n", session.write), &scene.write),
        ("/x", format!("Authorization: Basic {basic}\r\n"), &scene.write),
        ("/x", format!("X-Api-Key: {}\r\n", session.read), &scene.read),
        ("/x", format!("X-Api-Key: sk_test_{}\r\n", session.read), &scene.read),
        (&format!("/x?key={}", session.write), String::new(), &scene.write),
        (&format!("/x?key=v{}", percent(&session.read)), String::new(), &scene.read),
    ];
    for (target, lines, issuer) in &cases {
        let answer = scene.get(EVIL, &session.login, target, lines).await;
        assert_eq!(answer.status(), 200, "{target} {lines}: {}", answer.everything());
        assert_eq!(scene.bearer(), format!("Bearer {}", issuer.token()), "{target} {lines}");
    }
    let audit = scene.stage.running().unwrap().audit();
    let injected: Vec<_> = audit.iter().filter(|r| r["decision"] == "inject").collect();
    assert_eq!(injected.len(), cases.len());
    assert!(injected.iter().all(|r| r["client"]["session"] == session.name.as_str()));
    assert!(injected.iter().all(|r| r["static_key"].is_null()), "no key was sent");
    let text =
        std::fs::read_to_string(scene.stage.running().unwrap().home.state.join("audit.jsonl"));
    let text = text.unwrap();
    assert!(!text.contains(&session.read) && !text.contains(&session.write));
    // Both together, or none: nobody can say which credential is meant.
    let both = format!("X-Api-Key: {}\r\nX-Other: {}\r\n", session.read, session.write);
    for (lines, code) in [(both.as_str(), "placeholder-refused"), ("", "placeholder-missing")] {
        let answer = scene.get(EVIL, &session.login, "/x", lines).await;
        own_answer(&answer, &[403], &[code]).unwrap();
    }
    assert_eq!(scene.stage.evil.requests().len(), cases.len());
}

fn percent(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

#[tokio::test]
async fn it_names_the_session_of_who_came_without() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    let lines = format!("Authorization: Bearer {}\r\n", session.read);
    let answer = scene.get(EVIL, "", "/x", &lines).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let audit = scene.stage.running().unwrap().audit();
    let inject = audit.iter().find(|r| r["decision"] == "inject").unwrap();
    assert_eq!(inject["client"]["session"], session.name.as_str());
    assert!(inject["client"]["uid"].is_number(), "{inject}");
    // The token is the session's own, and goes with it.
    let answer = scene.get(EVIL, &session.login, "/x", &lines).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(scene.read.minted().len(), 1, "one client, one token");
    let home = &scene.stage.running().unwrap().home;
    assert_eq!(home.run(&["session", "end", &session.name]).await.code, Some(0));
    let answer = scene.get(EVIL, "", "/x", &lines).await;
    own_answer(&answer, &[403], &["placeholder-refused"]).unwrap();
}

#[tokio::test]
async fn it_is_worthless_elsewhere() {
    let mut scene = Scene::new().await;
    let (mine, other) = (scene.session().await, scene.session().await);
    let with = |placeholder: &str| format!("Authorization: Bearer {placeholder}\r\n");
    // Another session's, in mine; mine at other hosts, with other credentials; one that nobody gave.
    let made_up = format!("vk-placeholder-1{}", "A".repeat(43));
    for (host, target, placeholder) in [
        (EVIL, "/x", &other.read),
        (EVIL, "/x", &made_up),
        (ORDERS, "/v1/x", &mine.read),
        (BILLING, "/v1/x", &mine.write),
    ] {
        let answer = scene.get(host, &mine.login, target, &with(placeholder)).await;
        own_answer(&answer, &[403], &["placeholder-refused"]).unwrap();
    }
    assert!(
        scene.read.minted().is_empty() && scene.stage.tokens().is_empty(),
        "nothing was minted"
    );
    let all = [&scene.stage.evil, &scene.stage.orders, &scene.stage.billing];
    assert!(all.iter().all(|api| api.requests().is_empty()));
    // Where no route matches it is taken out, and in a body it is nothing at all.
    let answer = scene.get(ORDERS, &mine.login, "/v2/x", &with(&mine.read)).await;
    assert_eq!(answer.status(), 200);
    let seen = scene.stage.orders.requests().pop().unwrap();
    assert!(seen.all("authorization").is_empty() && seen.count("laceholder") == 0, "{seen:#?}");
    // It holds after a restart, and no longer than its session.
    scene.stage.running_mut().sigkill().await;
    let home = scene.stage.running().unwrap().home.clone();
    scene.stage.restart(&home).await;
    let answer = scene.get(EVIL, &mine.login, "/x", &with(&mine.read)).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert_eq!(scene.bearer(), format!("Bearer {}", scene.read.token()));
    let state = std::fs::read_to_string(home.state.join("sessions.json")).unwrap();
    let core = &mine.read[mine.read.len() - 49..mine.read.len() - 6];
    assert!(!state.contains(core), "only its hash is at rest");
    let answer = scene.get(EVIL, &mine.login, "/x", &with(&other.read)).await;
    own_answer(&answer, &[403], &["placeholder-refused"]).unwrap();
    scene.stage.control().await.unwrap();
}

/// A thousand guesses on one connection get a thousand refusals, and nobody else waits for them.
#[tokio::test]
async fn guesses_by_the_thousand() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    let mut tunnel = scene.stage.tunnel(EVIL).await.unwrap();
    for n in 0..1000 {
        let guess = format!("vk-placeholder-1{n:043}");
        let request =
            format!("GET /x HTTP/1.1\r\nHost: {EVIL}\r\nAuthorization: Bearer {guess}\r\n\r\n");
        let answer = exchange(&mut tunnel, request.as_bytes()).await.expect("an answer");
        own_answer(&answer, &[403], &["placeholder-refused"]).unwrap();
    }
    assert!(scene.read.minted().is_empty() && scene.write.minted().is_empty());
    let lines = format!("Authorization: Bearer {}\r\n", session.read);
    assert_eq!(scene.get(EVIL, &session.login, "/x", &lines).await.status(), 200);
}

/// What `placeholder KIND` prints passes a tool's check, is never taken for a key, and never goes upstream.
#[tokio::test]
async fn a_placeholder_of_each_kind() {
    let scene = Scene::new().await;
    let home = &scene.stage.running().unwrap().home;
    let kinds = [
        ("anthropic", "sk-ant-"),
        ("aws", "AKIA"),
        ("github", "ghp_"),
        ("gitlab", "glpat-"),
        ("hugging-face", "hf_"),
        ("jwt", "eyJ"),
        ("npm", "npm_"),
        ("opaque", "vk-placeholder-"),
        ("openai", "sk-"),
        ("pypi", "pypi-AgEIcHlwaS5vcmc"),
        ("slack", "xoxb-"),
        ("stripe", "sk_test_"),
    ];
    for (kind, prefix) in kinds {
        let done = home.run(&["placeholder", kind]).await;
        let text = done.stdout.trim();
        assert!(done.code == Some(0) && text.starts_with(prefix), "{done:?}");
        let lines = format!("X-Api-Key: {text}\r\nX-Other: {text}\r\n");
        let answer = scene.get(ORDERS, "", &format!("/v1/x?api_key={text}"), &lines).await;
        assert_eq!(answer.status(), 200, "{kind}: {}", answer.everything());
        let seen = scene.stage.orders.requests().pop().unwrap();
        assert_eq!(seen.count(text), 0, "{kind}: {seen:#?}");
        scene.stage.injected(&seen, &scene.stage.orders_issuer.token()).unwrap();
    }
    let audit = scene.stage.running().unwrap().audit();
    assert!(audit.iter().all(|r| r["static_key"].is_null()), "none looks like a real key to us");
    let done = home.run(&["placeholder", "what"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
}

/// Two variables of one route, or one variable twice: whichever a tool sends, there is one credential.
#[tokio::test]
async fn several_of_one_route_are_as_good_as_one() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let stage = Stage::valetkey_with(|v| {
        let route = |name: &str, env: &str| {
            format!(
                "name = {name:?}\nhost = {EVIL:?}\ncredential = {name:?}\n\
                 strip = [\"header:x-api-key\", \"query:key\"]\nenv = {{ {env} }}"
            )
        };
        let mine = "A_USER = \"placeholder:opaque\", A_KEY = \"placeholder:github\", A_MORE = \"placeholder:jwt\"";
        v.minting("mine", &issuer)
            .minting("other", &other)
            .route(&route("mine", mine))
            .route(&route("other", "B_KEY = \"placeholder:opaque\""))
    })
    .await;
    let home = &stage.running().unwrap().home;
    let opened = home.run(&["session", "open", "--json"]).await;
    let opened: serde_json::Value = serde_json::from_str(&opened.stdout).unwrap();
    let of = |name: &str| opened["placeholders"][name].as_str().unwrap().to_owned();
    let (user, key, more, foreign) = (of("A_USER"), of("A_KEY"), of("A_MORE"), of("B_KEY"));
    let basic = STANDARD.encode(format!("{user}:{key}"));
    let good = [
        ("/x", format!("Authorization: Basic {basic}\r\n")),
        ("/x", format!("X-Api-Key: {user}\r\nX-Other: {key}\r\nX-Third: {more}\r\n")),
        ("/x", format!("X-Api-Key: {user} {key}\r\n")),
        (&format!("/x?key={user}"), format!("Authorization: Bearer {key}\r\n")),
    ];
    for (target, lines) in &good {
        let answer = stage.get(EVIL, target, lines).await.unwrap();
        assert_eq!(answer.status(), 200, "{target} {lines}: {}", answer.everything());
        let seen = stage.evil.requests().pop().unwrap();
        assert_eq!(seen.count("laceholder"), 0, "{seen:#?}");
        assert_eq!(seen.one("authorization"), format!("Bearer {}", issuer.token()));
    }
    for lines in [
        format!("X-Api-Key: {user}\r\nX-Other: {key}\r\nX-Third: {foreign}\r\n"),
        format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{foreign}:{key}"))),
    ] {
        let answer = stage.get(EVIL, "/x", &lines).await.unwrap();
        own_answer(&answer, &[403], &["placeholder-refused"]).unwrap();
    }
    assert_eq!(stage.evil.requests().len(), good.len());
    assert!(other.minted().is_empty());
}
