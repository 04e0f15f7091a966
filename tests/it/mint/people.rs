//! People log in at npm's oidc-provider, whose own pages a headless person walks through: by a code and with a
//! browser; refresh with rotation, its reuse detection, revocation.
//!
//! Its tokens are verified as an API would (RFC 9068). The relay between is how an answer gets lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::bearer;
use crate::clients::provider::{Launched, Verifier};
use crate::clients::{finish, peer, tests_file};
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::valetkey::{Home, Running};
use crate::harness::{Background, accept_loop, look_again, soon};

const API: &str = "https://api.people.example";
const CLIENT: &str = "valetkey-cli";

async fn provider() -> Launched {
    let more = json!({
        "application_type": "native",
        "grant_types": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "response_types": ["code"],
        "redirect_uris": ["http://127.0.0.1/callback"],
        "scope": "openid offline_access orders:read orders:write",
    });
    let client = json!({ "id": CLIENT, "auth": "none", "audience": API, "more": more });
    Launched::start(&json!({ "ttl": 300, "people": true, "clients": [client] })).await
}

fn credential(grant: &str, issuer: &str) -> String {
    format!(
        "[credentials.{grant}]\ngrant = {grant:?}\n{issuer}\nclient_id = {CLIENT:?}\n\
         scope = [\"openid\", \"offline_access\", \"orders:read\", \"orders:write\"]\n\
         login_params = {{ prompt = \"consent\" }}\n"
    )
}

/// Routes `/GRANT/read` and `/GRANT/write`, each with a scope and so a token of its own.
fn routes(grant: &str) -> String {
    ["read", "write"]
        .map(|way| {
            format!(
                "[[routes]]\nname = \"{grant}-{way}\"\nhost = {EVIL:?}\npath = [\"/{grant}/{way}\"]\n\
                 credential = {grant:?}\nscope = [\"orders:{way}\"]\n"
            )
        })
        .concat()
}

/// The person, to the end of their way.
async fn person(url: &str, code: &str) -> String {
    let mut node = Command::new(peer("npm/node"));
    node.arg(tests_file("peers/oidc-provider/person.mjs")).env_clear();
    node.env("PERSON_URL", url).env("PERSON_NAME", "ada").env("PERSON_CODE", code);
    let done = soon("the person to be done", finish(&mut node, b"")).await;
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout(), done.stderr());
    done.stdout()
}

/// The lines that a terminal shows indented: an address, and a code where there is one.
async fn shown(terminal: &Running, last: &str) -> Vec<String> {
    terminal.says(last).await.expect("it is shown");
    let text = terminal.stderr_text();
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

pub(super) async fn log_in(home: &Home, grant: &str) {
    let mut terminal = home.spawn(home.command(&["login", grant]));
    let end = if grant == "device" {
        let shown = shown(&terminal, "within").await;
        person(&shown[0], &shown[1]).await
    } else {
        let shown = shown(&terminal, "response_type=code").await;
        person(&shown[0], "").await
    };
    assert_eq!(
        soon("the login to end", terminal.ended()).await,
        Some(0),
        "{}{end}",
        terminal.output()
    );
    assert!(end.starts_with("200 "), "{end}");
    if grant == "authorization-code" {
        assert!(end.contains("Logged in"), "{end}");
        assert!(terminal.says("as ada").await.is_some(), "{}", terminal.output());
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn people_log_in_stay_logged_in_and_log_out() {
    let provider = provider().await;
    let verifier = Verifier::of(&provider.issuer).await;
    let issuer = format!("issuer = {:?}", provider.issuer);
    let mut stage = Stage::valetkey_with(|builder| {
        ["device", "authorization-code"].iter().fold(builder, |builder, grant| {
            builder.toml(&credential(grant, &issuer)).toml(&routes(grant))
        })
    })
    .await;
    let home = stage.running().unwrap().home().clone();
    let mut tokens = Vec::new();
    for grant in ["device", "authorization-code"] {
        log_in(&home, grant).await;
        for way in ["read", "write"] {
            let token = bearer(&stage, &format!("/{grant}/{way}")).await;
            let claims = verifier.verify(&token, API).unwrap();
            assert_eq!(
                (claims.sub.as_str(), claims.scope.as_str()),
                ("ada", &*format!("orders:{way}"))
            );
            tokens.push(token);
        }
    }
    // Across a restart, with the refresh token that came last.
    let place = std::fs::read_dir(home.state.join("logins")).unwrap().flatten();
    let login = place.map(|file| file.path()).find(|path| {
        path.extension().is_some_and(|e| e == "login")
            && std::fs::read_to_string(path).unwrap().contains("\"credential\":\"device\"")
    });
    let login = login.expect("the login of `device`");
    let stolen = std::fs::read(&login).unwrap();
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    stage.restart(&home).await;
    let token = bearer(&stage, "/device/read").await;
    assert!(verifier.verify(&token, API).is_ok() && !tokens.contains(&token));
    super::silent(&stage, &tokens).await;

    // Whoever copied both login and key spends an old refresh token: the provider ends the login for all.
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    std::fs::write(&login, stolen).unwrap();
    stage.restart(&home).await;
    let answer = stage.get(EVIL, "/device/read", "").await.unwrap();
    own_answer(&answer, &[403], &["login-required"]).unwrap();
    assert!(answer.text().contains("valetkey login device"), "{}", answer.text());
    assert!(provider.issued.all().iter().any(|line| line["event"] == "grant-revoked"));
    log_in(&home, "device").await;
    bearer(&stage, "/device/read").await;

    for grant in ["device", "authorization-code"] {
        let revoked =
            provider.issued.all().iter().filter(|l| l["event"] == "grant-revoked").count();
        let out = home.run(&["logout", grant]).await;
        assert_eq!(out.code, Some(0), "{}", out.stderr);
        assert!(out.stderr.contains("revoked at its issuer"), "{}", out.stderr);
        let now = provider.issued.all().iter().filter(|l| l["event"] == "grant-revoked").count();
        assert!(now > revoked, "the provider says so too");
        let answer = stage.get(EVIL, &format!("/{grant}/read"), "").await.unwrap();
        own_answer(&answer, &[403], &["login-required"]).unwrap();
    }
}

/// Between us and the provider; it can swallow what comes back.
struct Relay {
    addr: SocketAddr,
    deaf: Arc<AtomicBool>,
    _task: Background,
}

impl Relay {
    async fn to(issuer: &str) -> Self {
        let target: SocketAddr = issuer.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let deaf = Arc::new(AtomicBool::new(false));
        let swallows = Arc::clone(&deaf);
        let task = accept_loop(listener, move |mut client: TcpStream| {
            let swallows = Arc::clone(&swallows);
            async move {
                let Ok(mut server) = TcpStream::connect(target).await else { return };
                if !swallows.load(Ordering::SeqCst) {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
                let mut request = vec![0; 64 * 1024];
                let Ok(length) = client.read(&mut request).await else { return };
                let _ = server.write_all(&request[..length]).await;
                // All of the answer comes, and none of it goes on.
                let _ = server.read_to_end(&mut Vec::new()).await;
            }
        });
        Self { addr, deaf, _task: task }
    }
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn an_answer_that_was_lost_ends_the_login_at_an_issuer_without_grace() {
    let provider = provider().await;
    let relay = Relay::to(&provider.issuer).await;
    let named = format!(
        "token_url = \"http://{}/token\"\ndevice_url = \"{}/device/auth\"",
        relay.addr, provider.issuer
    );
    let stage = Stage::valetkey_with(|builder| {
        builder.toml(&credential("device", &named)).toml(&routes("device"))
    })
    .await;
    let home = stage.running().unwrap().home().clone();
    log_in(&home, "device").await;
    bearer(&stage, "/device/read").await;
    relay.deaf.store(true, Ordering::SeqCst);
    let answer = stage.get(EVIL, "/device/write", "").await.unwrap();
    own_answer(&answer, &[503], &["issuer-unreachable"]).unwrap();
    relay.deaf.store(false, Ordering::SeqCst);
    // The old one is tried once; the provider takes that for reuse.
    let ended = async {
        loop {
            let answer = stage.get(EVIL, "/device/write", "").await.unwrap();
            if answer.status() == 403 {
                return own_answer(&answer, &[403], &["login-required"]).unwrap();
            }
            look_again().await;
        }
    };
    soon("the back-off to end", ended).await;
    let status = home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["logins"][0]["code"], "login-reuse-detected", "{status}");
}

/// Kills spread over refreshes at an issuer without grace. One that comes between the rotation there and our storing
/// ends the login; no other costs anything.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_kill_at_an_issuer_without_grace_ends_a_login_only_where_it_must() {
    let kills = if crate::stream::is_large() { 100 } else { 10 };
    let provider = provider().await;
    let issuer = format!("issuer = {:?}", provider.issuer);
    let mut stage = Stage::valetkey_with(|builder| {
        builder.toml(&credential("device", &issuer)).toml(&routes("device"))
    })
    .await;
    let home = stage.running().unwrap().home().clone();
    log_in(&home, "device").await;
    let rotations =
        || provider.issued.all().iter().filter(|line| line["event"] == "rotated").count();
    let (mut kept, mut ended) = (0, 0);
    for kill in 0..kills {
        let before = rotations();
        // A daemon that starts has no token: this request is a refresh. The delay is the thing tested.
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_micros(kill * 30_000 / kills)) => {}
            _ = stage.get(EVIL, "/device/read", "") => {}
        }
        stage.running_mut().sigkill().await;
        stage.restart(&home).await;
        let answer = stage.get(EVIL, "/device/write", "").await.unwrap();
        if answer.status() == 200 {
            kept += 1;
            continue;
        }
        own_answer(&answer, &[403], &["login-required"]).unwrap();
        assert!(rotations() > before, "kill {kill}: nothing was rotated, and the login is gone");
        ended += 1;
        log_in(&home, "device").await;
    }
    println!("{kills} kills at an issuer without grace: {kept} cost nothing, {ended} the login");
    assert!(kept > 0, "{ended} of {kills}");
}
