//! What a refusal says to do next is what helps, and can be pasted as it stands.

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::client::{Finished, connect_with, finish};
use crate::harness::idp::{CLIENT, Idp, PERSON};
use crate::harness::pki::Pki;
use crate::harness::soon;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, own_answer};
use crate::harness::valetkey::{Home, Valetkey, program};

/// The first command of ours that a text tells somebody to type, in quotes or after `type:`.
fn told(text: &str) -> String {
    let begins = ["`valetkey ", ": valetkey "].iter().filter_map(|begin| text.find(begin)).min();
    let rest = &text[begins.unwrap_or_else(|| panic!("no command in: {text}"))..];
    let end = if rest.starts_with('`') { &['`'][..] } else { &['\n', '"', ';', ','] };
    let rest = rest.trim_start_matches(['`', ':', ' ']);
    rest[..rest.find(end).unwrap_or(rest.len())].to_owned()
}

/// Types it into a shell that stands elsewhere and knows nothing of the config.
async fn paste(home: &Home, command: &str) -> Finished {
    let valetkey = home.bare_command(&[]);
    let mut shell = tokio::process::Command::new("sh");
    shell.env_clear();
    shell.envs(valetkey.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let program = program();
    let bin = program.parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{bin}:{path}")).current_dir("/").args(["-c", command]);
    finish(&mut shell).await
}

async fn opened(home: &Home, options: &[&str]) -> Value {
    let done = home.run(&[&["session", "open", "--json"][..], options].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

fn basic(name: &str, secret: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
    format!("Proxy-Authorization: Basic {pair}\r\n")
}

#[tokio::test]
async fn commands_in_hints_work_where_they_are_pasted() {
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    let flag = format!("--config {}", home.config.display());
    let done = home.run(&["session", "end", "nobody"]).await;
    assert_eq!(told(&done.stderr), format!("valetkey session list {flag}"), "{done:?}");
    assert_eq!(paste(home, &told(&done.stderr)).await.code, Some(0));
    // And one that a tool reads: it knows nothing of the config's place.
    let (answer, _) =
        connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &basic("x", "y")).await;
    own_answer(&answer, &[407], &["proxy-auth-failed"]).unwrap();
    let text = answer.text().replace("\\\"", "\"");
    assert!(text.contains(&format!("eval \"$(valetkey env {flag})\"")), "{text}");
    assert!(text.contains(&format!("`valetkey run {flag}`")), "{text}");
    // Without a flag, where a variable names it.
    let mut command = home.bare_command(&["session", "end", "nobody"]);
    let done = finish(command.env("VALETKEY_CONFIG", &home.config)).await;
    assert_eq!(told(&done.stderr), format!("valetkey session list {flag}"), "{done:?}");
    // A word of a shell.
    let odd = home.path("it's odd.toml");
    std::fs::copy(&home.config, &odd).unwrap();
    let end = || {
        let mut end = home.bare_command(&["session", "end", "x", "--config"]);
        end.arg(&odd);
        end
    };
    // The daemon of the other config answers there, and is named.
    let done = finish(&mut end()).await;
    assert_eq!(told(&done.stderr), format!("valetkey status {flag}"), "{done:?}");
    let done = finish(end().env("VALETKEY_STATE_DIR", home.path("odd-state"))).await;
    // It would serve until it is ended.
    let shown = paste(home, &told(&done.stderr).replace(" serve ", " check ")).await;
    assert_eq!(shown.code, Some(0), "{done:?} {shown:?}");
}

/// One's own `--only` is no affair of whoever keeps the config.
#[tokio::test]
async fn a_route_that_the_session_left_out() {
    let stage = Stage::valetkey().await;
    let session = opened(&stage.running().unwrap().home, &["--only", "orders"]).await;
    let name = session["name"].as_str().unwrap();
    let lines = basic(name, session["secret"].as_str().unwrap());
    let (answer, reader) =
        connect_with(stage.proxy_addr(), &format!("{BILLING}:443"), &lines).await;
    assert_eq!(answer.status(), 200);
    let config = crate::harness::client::tls_config(stage.trust(), &["http/1.1"]);
    let tls = crate::harness::client::tls(reader.stream, BILLING, config).await.unwrap();
    let mut reader = crate::harness::http1::Reader::new(tls);
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {BILLING}\r\n\r\n");
    let answer = crate::harness::client::exchange(&mut reader, request.as_bytes()).await.unwrap();
    own_answer(&answer, &[403], &["route-not-in-session"]).unwrap();
    let text = answer.text();
    assert!(text.contains("--only") && text.contains(name), "{text}");
    assert!(!text.contains("whoever keeps"), "{text}");
}

#[tokio::test]
async fn an_issuer_with_a_private_ca() {
    let private = Pki::new();
    let idp = Api::tls(&private.server(&["idp.example"])).await;
    let stage = Stage::valetkey_with(|builder| {
        builder
            .reaching("idp.example:443", idp.addr())
            .credential_at("private", "https://idp.example/token", "")
            .route(&format!("name = \"private\"\nhost = {EVIL:?}\ncredential = \"private\""))
    })
    .await;
    let answer = stage.get(EVIL, "/x", "").await.unwrap();
    own_answer(&answer, &[502], &["issuer-tls-invalid"]).unwrap();
    assert!(answer.text().contains("upstream.extra_roots"), "{}", answer.text());
    // The log comes by a thread of its own, so it may be later than the answer.
    let log = stage.running().unwrap().says("issuer-tls-invalid").await.expect("the owner is told");
    assert!(log.contains("extra_roots"), "{log}");
    stage.control().await.unwrap();
}

/// A slip ends nobody's access, and must not look as if it had; but it holds, for whoever comes by that name.
#[tokio::test]
async fn revoking_somebody_whom_nobody_knows() {
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    let done = home.run(&["revoke", "--user", "nobodyhere"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("error[unknown-user]: nobody named `nobodyhere`"), "{done:?}");
    let open = home.run(&["session", "open", "--user", "nobodyhere"]).await;
    assert_eq!(open.code, Some(3), "it holds all the same: {open:?}");
    let undo = paste(home, &told(&done.stderr)).await;
    assert_eq!(undo.code, Some(0), "{undo:?}");
    for (name, near) in [("rooot", "root"), ("uid:0", "root"), ("anne", "ann")] {
        opened(home, &["--user", "ann"]).await;
        let done = home.run(&["revoke", "--json", "--user", name]).await;
        assert_eq!(done.code, Some(1), "{name}: {done:?}");
        assert!(done.stderr.contains(&format!("did you mean `{near}`?")), "{name}: {done:?}");
        let said: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!((&said["unknown"], &said["nearest"]), (&json!(true), &json!(near)));
    }
    for known in ["ann", "root", "uid:4000000"] {
        let done = home.run(&["revoke", "--user", known]).await;
        assert_eq!(done.code, Some(0), "{known}: {done:?}");
    }
}

/// A build daemon that outlives its session is told so, and locks nobody out; whoever guesses is still counted.
#[tokio::test]
async fn what_outlives_its_session_is_no_guesser() {
    let mut stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let session = opened(&home, &[]).await;
    let (name, secret) = (session["name"].as_str().unwrap(), session["secret"].as_str().unwrap());
    assert_eq!(home.run(&["session", "end", name]).await.code, Some(0));
    let lines = basic(name, secret);
    for restarted in [false, true] {
        for _ in 0..30 {
            let (answer, _) =
                connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &lines).await;
            own_answer(&answer, &[407], &["proxy-auth-ended"]).unwrap();
            let text = answer.text();
            assert!(
                text.contains("this session has ended; a background process kept its environment"),
                "{text}"
            );
        }
        let wrong = basic(name, "a guess");
        let (answer, _) = connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &wrong).await;
        own_answer(&answer, &[407], &["proxy-auth-failed"]).unwrap();
        if !restarted {
            // However the daemon ends: most sessions of `run` are lost with one.
            stage.running_mut().sigkill().await;
            stage.restart(&home).await;
        }
    }
    let wrong = basic(name, "a guess");
    let mut last = 0;
    for _ in 0..30 {
        let (answer, _) = connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &wrong).await;
        last = answer.status();
    }
    assert_eq!(last, 429, "who guesses is counted");
    stage.control().await.unwrap();
}

/// A login at an issuer that the config names no more is seen, and can be ended there.
#[tokio::test]
async fn a_login_at_an_earlier_issuer() {
    let (before, after) = (Idp::start().await, Idp::start().await);
    let credential = format!(
        "[credentials.mine]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}\n\
         scope = [\"openid\", \"orders\"]\n",
        before.issuer()
    );
    let home = Valetkey::new().toml(&credential).written();
    let mut terminal = home.spawn(home.command(&["login", "mine"]));
    terminal.says("WDJB-MJHT").await.unwrap();
    before.approve();
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    let status = async || -> Value {
        let done = home.run(&["status", "--json"]).await;
        serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    };
    assert_eq!(status().await["logins"].as_array().unwrap().len(), 1);
    home.rewrite(|text| text.replace(&before.issuer(), &after.issuer()));
    let shown = status().await;
    let states: Vec<_> = (shown["logins"].as_array().unwrap().iter())
        .map(|login| (login["state"].as_str().unwrap(), login["issuer"].as_str().unwrap()))
        .collect();
    let (old, new) = (before.issuer(), after.issuer());
    assert_eq!(states, [("none", &*new), ("left-behind", &*old)]);
    assert_eq!(shown["logins"][1]["user"], PERSON);
    let out = home.run(&["logout", "mine"]).await;
    assert_eq!(out.code, Some(0), "{out:?}");
    assert!(out.stderr.contains("login-left-behind"), "{out:?}");
    assert!(before.calls_of("/revoke").is_empty());
    let text = home.run(&["status"]).await.stdout;
    assert!(text.contains("left-behind") && text.contains("--left-behind"), "{text}");
    let hint = told(out.stderr.split("hint").last().unwrap());
    let ended = soon("the login to end", paste(&home, &hint)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let revoked = before.calls_of("/revoke");
    assert_eq!(revoked[0].one("token"), before.refresh_tokens()[0]);
    assert_eq!(revoked[0].one("client_id"), CLIENT);
    assert!(after.calls_of("/revoke").is_empty());
    assert_eq!(status().await["logins"].as_array().unwrap().len(), 1);
    let again = home.run(&["logout", "mine", "--left-behind"]).await;
    assert!(again.code == Some(0) && again.stderr.contains("no login"), "{again:?}");
    assert_eq!(home.audit().iter().filter(|r| r["context"]["action"] == "logged-out").count(), 1);
}
