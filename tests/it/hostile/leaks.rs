//! The leak gate for what every daemon holds, whatever its grants (those are `mint/canaries.rs`): tokens, the issuer's
//! secret, session secrets, placeholders, a client's own standing key, a bought cookie, a parent's password and the
//! CA's key, searched for in every place after everything that goes well and badly; and planted in the real places,
//! where they must be found.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;

use crate::harness::api::{Answer, Api, Seen};
use crate::harness::canary;
use crate::harness::client::{connect_with, dial, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::issuer::Reply;
use crate::harness::leak::{Canary, Sinks};
use crate::harness::parent::{Manner, Parent};
use crate::harness::soon;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage};

/// Reached through the parent only.
const FAR: &str = "far.example:443";

struct Scene {
    stage: Stage,
    parent: Parent,
    /// `Proxy-Authorization` of an open session, with its secret and its placeholder.
    login: String,
    session: String,
    placeholder: String,
    canaries: Vec<Canary>,
    cookie: String,
}

async fn scene() -> Scene {
    let secret = canary("secret");
    let password = canary("password");
    let configured = canary("session");
    let login = STANDARD.encode(format!("corp:{password}"));
    let parent = Parent::start(Manner::Honest(Some(format!("Basic {login}"))), &[]).await;
    let stage = Stage::valetkey_with(|v| {
        v.verbose()
            .file("orders.secret", &format!("{secret}\n"))
            .file("parent.password", &format!("{password}\n"))
            .file("ci.key", &format!("{configured}\n"))
            .upstream(&format!(
                "parent = {{ url = \"http://{}\", user = \"corp\", password = {{ file = \"parent.password\" }} }}",
                parent.addr()
            ))
            .toml("[admin]\nmetrics = \"127.0.0.1:0\"")
            .toml("[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }")
            .route(&format!(
                "name = \"bound\"\nhost = \"{ORDERS}\"\npath = [\"/bound/**\"]\ncredential = \"orders\"\n\
                 strip = [\"header:x-api-key\", \"query:api_key\"]\nenv = {{ BOUND_KEY = \"placeholder:opaque\" }}"
            ))
    })
    .await;
    let home = &stage.running().unwrap().home;
    let opened = home.run(&["session", "open", "--json"]).await;
    let opened: serde_json::Value = serde_json::from_str(&opened.stdout).expect("a session");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (name, session) = (text(&opened["name"]), text(&opened["secret"]));
    let placeholder = text(&opened["placeholders"]["BOUND_KEY"]);
    let key = file_below(&home.state, "intermediate.key");
    let cookie = canary("cookie");
    let mut canaries = vec![
        Canary::of("the client secret", &secret),
        Canary::of("the parent's password", &password),
        Canary::of("the secret of a configured session", &configured),
        Canary::whole("the secret of a session", session.as_bytes()),
        Canary::of("a standing key", &stage.standing_key),
        Canary::of("a bought cookie", &cookie),
        Canary::pem("the CA's key", &key.expect("the CA's key")),
    ];
    // Six characters of a checksum end it; what is random stands before.
    let random = &placeholder.as_bytes()[placeholder.len() - 49..placeholder.len() - 6];
    canaries.push(Canary::whole("a placeholder", random));
    let login =
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{session}")));
    Scene { stage, parent, login, session: name, placeholder, canaries, cookie }
}

fn file_below(directory: &Path, name: &str) -> Option<String> {
    let paths = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    paths.into_iter().find_map(|path| match path.is_dir() {
        true => file_below(&path, name),
        false if path.ends_with(name) => std::fs::read_to_string(&path).ok(),
        false => None,
    })
}

impl Scene {
    /// One request in a tunnel of its own, by the session, with every key a client may send.
    async fn get(&self, host: &str, target: &str, lines: &str) -> Message {
        let (answer, reader) =
            connect_with(self.stage.proxy_addr(), &format!("{host}:443"), &self.login).await;
        if answer.status() != 200 {
            return answer;
        }
        let trusted = if host == EVIL {
            self.stage.pki.pem().to_owned()
        } else {
            self.stage.ca_pem().to_owned()
        };
        let config = tls_config(crate::harness::client::Trust::Roots(&trusted), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, host, config).await.unwrap());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        exchange(&mut tunnel, request.as_bytes()).await.unwrap_or_default()
    }

    async fn plain(&self, request: &str) -> Message {
        let mut reader = dial(self.stage.proxy_addr()).await;
        exchange(&mut reader, request.as_bytes()).await.unwrap_or_default()
    }

    /// Everything that may go well or badly, and what came back.
    async fn everything(&self, answers: &mut Sinks) {
        let stage = &self.stage;
        let (key, bound, cookie) = (&stage.standing_key, &self.placeholder, self.cookie.clone());
        stage.orders.answer(move |seen| {
            let sent = seen.all("authorization").join(",");
            let answer = Answer::ok(format!("{{\"you sent\":{sent:?}}}"));
            // Bought with a token, or none of its business.
            let bought = if sent.is_empty() { "none" } else { cookie.as_str() };
            answer.header("Set-Cookie", format!("session={bought}")).header("X-Echo", sent)
        });
        let first = stage.get(ORDERS, "/v1/first", "").await.unwrap();
        answers.add("the first answer", first.everything());
        let own = format!("Authorization: Bearer {key}\r\nX-Api-Key: {key}\r\nCookie: a=b\r\n");
        let given = format!("Authorization: Bearer {bound}\r\n");
        let inner = format!("{given}{}", self.login);
        for (host, target, lines) in [
            (ORDERS, "/v1/x".to_owned(), own.clone()),
            (ORDERS, format!("/v1/x?api_key={key}"), own.clone()),
            (ORDERS, "/bound/x".to_owned(), given.clone()),
            (ORDERS, format!("/bound/x?api_key={bound}"), inner),
            (BILLING, "/v1/x".to_owned(), self.login.clone()),
            // Not at home there; no route; no path; no request; nobody.
            (BILLING, "/v1/x".to_owned(), given.clone()),
            (ORDERS, "/v9/x".to_owned(), given.clone()),
            (ORDERS, "/v1/../x".to_owned(), own.clone()),
            (ORDERS, "/v1/x".to_owned(), format!("{own}Transfer-Encoding: x\r\n")),
            (ORDERS, "/v1/x".to_owned(), format!("{own}X-Long: {}\r\n", "y".repeat(70_000))),
            (EVIL, "/v1/x".to_owned(), "X-Nothing: here\r\n".to_owned()),
            ("far.example", "/".to_owned(), own.clone()),
        ] {
            let answer = self.get(host, &target, &lines).await;
            answers.add(&format!("the answer of {host}"), answer.everything());
        }
        for request in [
            format!(
                "GET http://{ORDERS}/v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{}{given}\r\n",
                self.login
            ),
            format!(
                "GET https://{ORDERS}/v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{}{given}\r\n",
                self.login
            ),
            format!("GET http://u:{key}@{ORDERS}/ HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", self.login),
            format!("CONNECT u:{key}@{ORDERS}:443 HTTP/1.1\r\n\r\n"),
            format!(
                "CONNECT {FAR} HTTP/1.1\r\nProxy-Authorization: Basic {}\r\n\r\n",
                STANDARD.encode(format!("ci:{key}"))
            ),
        ] {
            answers.add("an answer to a plain request", self.plain(&request).await.everything());
        }
        // The issuer tells everything that it was told.
        let calls = stage.orders_issuer.calls();
        let told: String = calls.iter().map(Message::everything).collect();
        let error = serde_json::json!({ "error": "invalid_client", "error_description": told });
        stage.orders_issuer.reply(Reply::json(401, &error.to_string()));
        let home = &stage.running().unwrap().home;
        let revoked = home.run(&["revoke", "--session", &self.session]).await;
        answers.add("revoke", revoked.stdout + &revoked.stderr);
        answers.add("after it", self.get(ORDERS, "/v1/x", &own).await.everything());
        let mine = stage.get(ORDERS, "/v1/mine", &own).await;
        answers.add("a refusal", mine.map(|answer| answer.everything()).unwrap_or_default());
    }
}

/// What the upstreams that should get no token and no key got: everything but the one slot that is theirs.
fn received(sinks: &mut Sinks, name: &str, api: &Api, own: bool) {
    let line = |seen: &Seen| {
        let mut all = format!("{} {} {}\n", seen.method, seen.target, seen.authority);
        for (name, value) in &seen.headers {
            if !(own && name.eq_ignore_ascii_case("authorization")) {
                all += &format!("{name}: {}\n", String::from_utf8_lossy(value));
            }
        }
        all + &String::from_utf8_lossy(&seen.body)
    };
    let all: String = api.requests().iter().map(line).collect();
    sinks.add(&format!("requests at {name}"), all + "\n");
}

/// Everything that can be asked of the daemon.
async fn asked(stage: &Stage, sinks: &mut Sinks) {
    let home = &stage.running().unwrap().home;
    let url = format!("https://{ORDERS}/v1/x");
    for arguments in [
        &["session", "list", "--json"][..],
        &["session", "list"],
        &["audit", "query", "--json"],
        &["audit", "verify"],
        &["audit", "inventory", "--json"],
        &["explain", "GET", &url],
        &["check", "--json"],
        &["ca", "show", "--pem"],
    ] {
        let done = home.run(arguments).await;
        sinks.add(&arguments.join(" "), done.stdout + &done.stderr + "\n");
    }
    let line = stage.running().unwrap().says("metrics on http://").await.unwrap();
    let at = line.split("metrics on http://").nth(1).unwrap().split('/').next().unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let answer = exchange(&mut dial(at.parse().unwrap()).await, request.as_bytes()).await.unwrap();
    sinks.add("metrics", answer.everything());
}

#[tokio::test]
async fn nothing_that_a_daemon_holds_is_anywhere() {
    let scene = scene().await;
    let mut sinks = Sinks::default();
    scene.everything(&mut sinks).await;
    let stage = &scene.stage;
    received(&mut sinks, "the routed API", &stage.orders, true);
    received(&mut sinks, "the other routed API", &stage.billing, true);
    received(&mut sinks, "an unrouted one", &stage.evil, false);
    received(&mut sinks, "the same host in the clear", &stage.orders_plain, false);
    received(&mut sinks, "another port of it", &stage.orders_alt, false);
    let asked_of_parent = scene.parent.asked();
    assert!(!asked_of_parent.is_empty(), "the parent was asked");
    asked(stage, &mut sinks).await;
    let mut all = Sinks::of(stage.running().unwrap()).await.and(sinks);
    // No core, and nothing left where it worked.
    let home = stage.running().unwrap().home.path(".");
    let names: Vec<_> = std::fs::read_dir(home).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("core")), "{names:?}");

    let tokens = stage.tokens();
    assert!(
        tokens.len() >= 3,
        "one each for this user, the session, and another host: {}",
        tokens.len()
    );
    let mut canaries = scene.canaries.clone();
    canaries.extend(tokens.iter().map(|token| Canary::of("a token", token)));
    // The CA's key has one place; the others have none here.
    let place = all.take(|name| name.ends_with("intermediate.key"));
    let (key, others): (Vec<_>, Vec<_>) =
        canaries.iter().cloned().partition(|c| c.name == "the CA's key");
    assert!(!place.found(&key).is_empty() && place.found(&others).is_empty(), "its own place");
    all.must_not_hold(&canaries);
    // What parent and issuer are told: their own secret each, and nothing else.
    let mut told = Sinks::default();
    told.add("the parent", asked_of_parent.iter().map(Message::everything).collect::<String>());
    let rest: Vec<_> =
        canaries.iter().filter(|c| c.name != "the parent's password").cloned().collect();
    told.must_not_hold(&rest);
    let mut told = Sinks::default();
    let calls = [stage.orders_issuer.calls(), stage.billing_issuer.calls()].concat();
    told.add("the issuers", calls.iter().map(Message::everything).collect::<String>());
    let revoked = |c: &&Canary| c.name != "the client secret" && c.name != "a token";
    assert!(!told.found(&scene.canaries[..1]).is_empty(), "the issuer was told the client secret");
    told.must_not_hold(&canaries.iter().filter(revoked).cloned().collect::<Vec<_>>());
    stage.control().await.unwrap();
    println!(
        "sent: {} canaries of {} kinds, {} bytes searched",
        canaries.len(),
        scene.canaries.len() + 1,
        all.len()
    );
}

/// A canary that is really put there is found there: by a tool, an upstream, a file, a log, the audit.
#[tokio::test]
async fn a_planted_leak_is_found_in_each_kind_of_place() {
    let stage = Stage::valetkey_with(|v| v.verbose()).await;
    let home = stage.running().unwrap().home.clone();
    let value = canary("planted");
    let planted = [Canary::of("what is planted", &value)];
    let plant = |sinks: &Sinks, place: &str| {
        let found = sinks.found(&planted);
        assert!(found.iter().any(|one| one.contains(place)), "{place}: {found:?}");
    };
    // A path is no secret: it stands in the audit, and went to the upstream.
    let answer = stage.get(ORDERS, &format!("/v2/{value}"), "").await.unwrap();
    let told = home.run(&["explain", "GET", &format!("https://{ORDERS}/v1/{value}")]).await;
    // What is wrong with a config is told, by the name of the key.
    home.rewrite(|text| format!("{value} = 1\n{text}"));
    stage.running().unwrap().sighup();
    stage.running().unwrap().says(&value).await.unwrap();
    let mut sinks = Sinks::of(stage.running().unwrap()).await;
    plant(&sinks, "its output");
    plant(&sinks, "audit.jsonl");
    received(&mut sinks, "the routed API", &stage.orders, true);
    plant(&sinks, "requests at");
    // An answer of the upstream's own.
    let back = STANDARD.encode(&value);
    stage.orders.answer(move |_| Answer::ok(format!("as {back}")));
    sinks.add(
        "an answer",
        stage.get(ORDERS, "/v2/x", "").await.unwrap().everything() + &answer.text(),
    );
    plant(&sinks, "an answer (base64");
    sinks.add("explain", told.stdout);
    plant(&sinks, "explain");
    std::fs::write(home.state.join("left-behind"), value.bytes().rev().collect::<Vec<_>>())
        .unwrap();
    sinks.directory(&home.state);
    plant(&sinks, "left-behind (backwards");
    // A child of this process, with it in its environment, and one with it on its command line.
    let mut children = Sinks::default();
    let mut of_environment = tokio::process::Command::new("sh");
    of_environment.args(["-c", "echo; read x"]).env("LEAKED", &value);
    let mut of_arguments = tokio::process::Command::new("sh");
    of_arguments.args(["-c", "echo; read x", &value]);
    let mut running = vec![];
    for mut command in [of_environment, of_arguments] {
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut said = Reader::new(child.stdout.take().unwrap());
        soon("a child that runs", said.until(b"\n")).await.unwrap();
        running.push((child, said));
    }
    children.children(std::process::id());
    plant(&children, "environ of a child");
    plant(&children, "cmdline of a child");
    for (mut child, _) in running {
        let _ = child.stdin.take().unwrap().write_all(b"\n").await;
        let _ = child.wait().await;
    }
}
