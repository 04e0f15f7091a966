//! Every grant with a canary for each of its secrets: minted from, refused with all of them in the refusal,
//! under a tool; and then searched for everywhere.

use http_body_util::Full;
use serde_json::json;

use super::{HOST, Rig, key};
use crate::harness::canary;
use crate::harness::client::{Trust, connect, dial, exchange, http2, http2_send, tls, tls_config};
use crate::harness::http1::Message;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::leak::{Canary, Sinks};
use crate::harness::valetkey::Valetkey;

/// One grant's credential, each secret of it a canary.
struct Planted {
    credential: String,
    /// Beside the config.
    files: Vec<(&'static str, String)>,
    /// Of the daemon, and of whoever starts a tool.
    variable: Option<(&'static str, String)>,
    canaries: Vec<Canary>,
    issuer: Option<Issuer>,
    /// What spoils the next mint, where no issuer can: a file and what it holds then.
    spoiled: Option<(&'static str, String)>,
}

impl Planted {
    fn new(credential: String) -> Self {
        let (files, canaries) = (vec![], vec![]);
        Self { credential, files, variable: None, canaries, issuer: None, spoiled: None }
    }

    fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    /// A file with a canary in it.
    fn secret(self, name: &'static str) -> Self {
        let value = canary(name);
        let mut planted = self.file(name, &value);
        planted.canaries.push(Canary::of(name, &value));
        planted
    }

    /// A file with a private key in it.
    fn key(self, name: &'static str) -> Self {
        let (pem, _) = key(&rcgen::PKCS_RSA_SHA256);
        let mut planted = self.file(name, &pem);
        planted.canaries.push(Canary::pem(name, &pem));
        planted
    }

    fn at(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    fn spoiled_by(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.spoiled = Some((name, text.into()));
        self
    }

    /// The text of a file.
    fn text(&self, name: &str) -> String {
        self.files.iter().find(|(file, _)| *file == name).unwrap().1.clone()
    }

    /// The next mint fails, and everything secret stands where the failure is told.
    fn spoil(&self, rig: &Rig) {
        let files = self.files.iter().map(|(_, text)| text.as_str());
        let said: String = files.chain(self.variable.iter().map(|(_, v)| v.as_str())).collect();
        if let Some(issuer) = &self.issuer {
            let error =
                json!({ "error": "invalid_client", "error_description": said, "error_uri": said });
            let reply = Reply::json(401, &error.to_string());
            issuer
                .reply(reply.header("WWW-Authenticate", format!("Basic realm={:?}", said.trim())));
        }
        if let Some((name, text)) = &self.spoiled {
            std::fs::write(rig.running.home.path(name), text).unwrap();
        }
    }
}

/// Prints what is in `printed`, after it wrote down what anybody can see of it and of who started it.
const HELPER: &str = "cd \"$(dirname \"$0\")\"\n\
    for file in cmdline environ; do cat /proc/$$/$file /proc/$PPID/$file >>seen-of-helpers; done\n\
    if test -e spoiled; then cat printed >&2; cat printed; exit 3; fi\n\
    cat printed\n";

async fn planted(grant: &str) -> Vec<Planted> {
    let issuer = Issuer::start().await;
    let at = format!("grant = {grant:?}\ntoken_url = {:?}\n", issuer.token_url());
    match grant {
        "client-credentials" => {
            let other = Issuer::start().await;
            let at_other = format!("grant = {grant:?}\ntoken_url = {:?}\n", other.token_url());
            let secret = canary("secret");
            let mut basic = Planted::new(format!(
                "{at}client_id = \"x\"\nclient_secret = {{ env = \"VK_IT_CLIENT_SECRET\" }}"
            ));
            basic.canaries.push(Canary::of("the client secret", &secret));
            basic.variable = Some(("VK_IT_CLIENT_SECRET", secret));
            let signed = format!(
                "{at_other}client_id = \"x\"\nauth = \"private-key-jwt\"\n\
                 client_key = {{ file = \"client.pem\" }}\nclient_key_algorithm = \"RS256\""
            );
            vec![basic.at(issuer), Planted::new(signed).key("client.pem").at(other)]
        }
        "exec" => {
            let credential = format!("grant = {grant:?}\ncommand = [\"/bin/sh\", \"HOME/helper\"]");
            let planted = Planted::new(credential).file("helper", HELPER).secret("printed");
            vec![planted.spoiled_by("spoiled", "")]
        }
        "http" => {
            let url = issuer.token_url();
            let credential = format!(
                "grant = {grant:?}\nurl = {url:?}\nheaders = {{ x-key = \"{{secret.a}}\" }}\n\
                 secrets = {{ a = {{ file = \"a.secret\" }}, b = {{ file = \"b.secret\" }} }}\n\
                 json = {{ key = \"{{secret.b}}\" }}\ntoken = \"/access_token\"\nerror = \"/error\""
            );
            vec![Planted::new(credential).secret("a.secret").secret("b.secret").at(issuer)]
        }
        "jwt" => {
            let credential = format!(
                "grant = {grant:?}\nkey = {{ file = \"app.pem\" }}\nalgorithm = \"PS256\"\niss = \"x\""
            );
            let planted = Planted::new(credential).key("app.pem");
            let broken = planted.text("app.pem").replace("-----END", "~~~~~END");
            vec![planted.spoiled_by("app.pem", broken)]
        }
        "jwt-bearer" => {
            let credential = format!(
                "{at}key = {{ file = \"app.pem\" }}\nalgorithm = \"RS256\"\niss = \"x\"\nsub = \"y\""
            );
            vec![Planted::new(credential).key("app.pem").at(issuer)]
        }
        "refresh-token" => {
            let credential =
                format!("{at}client_id = \"x\"\nrefresh_token = {{ file = \"refresh\" }}");
            let mut planted = Planted::new(credential).secret("refresh");
            let next = canary("refresh");
            let granted = json!({ "access_token": canary("vkt"), "token_type": "Bearer",
                "refresh_token": next, "expires_in": 1 });
            issuer.reply(Reply::json(200, &granted.to_string()));
            planted.canaries.push(Canary::of("the next refresh token", &next));
            vec![planted.at(issuer)]
        }
        "static-key" => {
            let credential = format!("grant = {grant:?}\nsecret = {{ file = \"legacy.key\" }}");
            let planted = Planted::new(credential).secret("legacy.key");
            let broken = planted.text("legacy.key").repeat(2).replace("legacy", " legacy\u{1}");
            vec![planted.spoiled_by("legacy.key", broken)]
        }
        "token-exchange" => {
            let credential = format!(
                "{at}subject_token = {{ file = \"subject\" }}\nactor_token_type = \"jwt\"\n\
                 actor_token = {{ exec = {{ command = [\"/bin/sh\", \"HOME/helper\"] }} }}"
            );
            let planted = Planted::new(credential).secret("subject").secret("printed");
            let kind = "urn:ietf:params:oauth:token-type:access_token";
            let granted = json!({ "access_token": canary("vkt"), "token_type": "Bearer",
                "issued_token_type": kind, "expires_in": 1 });
            issuer.reply(Reply::json(200, &granted.to_string()));
            vec![planted.file("helper", HELPER).at(issuer)]
        }
        other => panic!("plant the secrets of `{other}` here"),
    }
}

/// The rig of one credential, and a metrics page beside it.
async fn rig(planted: &Planted) -> Rig {
    Rig::with("env = { MINTED_KEY = \"placeholder:opaque\" }", |mut valetkey: Valetkey| {
        let home = valetkey.home().display().to_string();
        for (name, text) in &planted.files {
            valetkey = valetkey.file(name, text);
        }
        if let Some((name, value)) = &planted.variable {
            valetkey = valetkey.env(name, value);
        }
        let credential = planted.credential.replace("HOME", &home);
        valetkey
            .toml("[admin]\nmetrics = \"127.0.0.1:0\"")
            .toml(&format!("[credentials.minted]\n{credential}\nttl = \"1s\""))
    })
    .await
}

/// The page of metrics.
async fn metrics(rig: &Rig) -> String {
    let line = rig.running.says("metrics on http://").await.unwrap();
    let at = line.split("metrics on http://").nth(1).unwrap().split('/').next().unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let answer = exchange(&mut dial(at.parse().unwrap()).await, request.as_bytes()).await.unwrap();
    assert!(answer.text().contains("valetkey_mints_total"), "{}", answer.everything());
    answer.everything()
}

/// What a tool under `run` can see of its own environment, and of the command line that started it.
async fn tool(rig: &Rig) -> String {
    let home = &rig.running.home;
    let mut run = home.bare_command(&["run", "--config"]);
    let look = "cat /proc/$$/environ /proc/$$/cmdline /proc/$PPID/cmdline";
    run.arg(&home.config).args(["--", "/bin/sh", "-c", look]);
    let done = crate::harness::client::finish(&mut run).await;
    assert!(done.stdout.contains("MINTED_KEY=vk-placeholder-"), "{done:?}");
    done.stdout + &done.stderr
}

/// One request over HTTP/2, whose libraries log every field that nobody marked as sensitive.
async fn over_http2(rig: &Rig) -> Message {
    let (answer, reader) = connect(rig.running.proxy_addr(), &format!("{HOST}:443")).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let config = tls_config(Trust::Roots(&rig.ca), &["h2"]);
    let mut line = http2(tls(reader.stream, HOST, config).await.unwrap()).await;
    let request = http::Request::get(format!("https://{HOST}/v1/x"));
    http2_send(&mut line, request.body(Full::default()).unwrap()).await.unwrap()
}

/// A person logs in first: their own tests search for what that brings (`silent`), and mint as
/// `refresh-token` does ever after.
const BY_PEOPLE: [&str; 2] = ["authorization-code", "device"];

#[tokio::test]
async fn no_secret_and_no_token_of_any_grant_is_anywhere() {
    let mut searched = (0, 0);
    for grant in valetkey::config::Grant::NAMES.iter().filter(|grant| !BY_PEOPLE.contains(grant)) {
        for planted in planted(grant).await {
            let rig = rig(&planted).await;
            let answer = rig.get("/v1/x", "").await;
            assert_eq!(answer.status(), 200, "{grant}: {}", answer.everything());
            let slot = rig.api.request(0).await.one("authorization");
            let token = slot.strip_prefix("Bearer ").unwrap();
            // Of a JWT its signature: the rest is no secret, and much the same each time.
            let token = token.rsplit('.').next().unwrap();
            let mut canaries = planted.canaries.clone();
            canaries.push(Canary::of("the token", token));

            let mut sinks = Sinks::default();
            sinks.add("the answer", answer.everything());
            let answer = over_http2(&rig).await;
            assert_eq!(answer.status(), 200, "{grant}: {}", answer.everything());
            let seen = rig.api.request(1).await;
            assert!(seen.http2, "all the way");
            let other = seen.one("authorization");
            let other =
                other.strip_prefix("Bearer ").unwrap().rsplit('.').next().unwrap().to_owned();
            canaries.push(Canary::of("the other token", &other));
            sinks.add("an answer of HTTP/2", answer.everything());
            sinks.add("a tool", tool(&rig).await);
            planted.spoil(&rig);
            let failed = loop {
                // The token lives a second.
                let answer = rig.get("/v1/x", "").await;
                if answer.status() != 200 {
                    break answer;
                }
            };
            assert!([502, 503].contains(&failed.status()), "{grant}: {}", failed.everything());
            sinks.add("a refusal", failed.everything());
            sinks.add("metrics", metrics(&rig).await);
            let helpers = std::fs::read(rig.running.home.path("seen-of-helpers"));
            if planted.files.iter().any(|(name, _)| *name == "helper") {
                sinks.add("helpers", helpers.expect("a helper ran"));
            }
            let all = Sinks::of(&rig.running).await.and(sinks);
            all.must_not_hold(&canaries);
            let output = rig.running.output();
            assert!(output.contains("TRACE h2::"), "at trace level, libraries included");
            searched = (searched.0 + all.len(), searched.1 + canaries.len());
        }
    }
    println!("{} canaries, {} bytes searched", searched.1, searched.0);
}
