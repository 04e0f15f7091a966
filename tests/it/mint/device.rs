//! `device`: a person logs in by a code, with the terminal of `valetkey login` on one side and a provider that
//! says pending, slow down, no or yes on the other.

use serde_json::json;

use super::bearer;
use crate::harness::client::Finished;
use crate::harness::idp::{CLIENT, Idp, PERSON};
use crate::harness::soon;
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::valetkey::{Home, Running, Valetkey};

fn credential(idp: &Idp, more: &str) -> String {
    format!(
        "[credentials.mine]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}\n\
         scope = [\"openid\", \"orders\"]\n{more}",
        idp.issuer()
    )
}

async fn stage(idp: &Idp) -> Stage {
    Stage::valetkey_with(|builder| {
        builder
            .toml(&credential(idp, ""))
            .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\""))
    })
    .await
}

fn home(idp: &Idp, more: &str) -> Home {
    Valetkey::new().toml(&credential(idp, more)).written()
}

/// `valetkey login mine`, under way.
fn login(home: &Home) -> Running {
    home.spawn(home.command(&["login", "mine"]))
}

/// Runs a login to its end, which must be a failure.
async fn fails(home: &Home, code: &str) -> Finished {
    let done = soon("the login to end", home.run(&["login", "mine"])).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains(&format!("error[{code}]")), "{code}: {}", done.stderr);
    assert!(!done.stderr.contains("foreign-detail"), "{}", done.stderr);
    done
}

#[tokio::test]
async fn a_person_logs_in_and_out() {
    let idp = Idp::start().await;
    let stage = stage(&idp).await;
    let home = stage.running().unwrap().home().clone();
    let answer = stage.get(EVIL, "/x", "").await.unwrap();
    own_answer(&answer, &[403], &["login-required"]).unwrap();
    assert!(answer.text().contains("type: valetkey login mine"), "{}", answer.text());
    // Nobody was asked, so nobody has to be spared: it is the same at once, and a login ends it at once.
    own_answer(&stage.get(EVIL, "/x", "").await.unwrap(), &[403], &["login-required"]).unwrap();

    let mut terminal = login(&home);
    terminal.says("WDJB-MJHT").await.expect("the code is shown");
    assert!(terminal.stderr_text().contains(&format!("{}/activate\n", idp.issuer())));
    idp.approve();
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    let told = terminal.says("logged in for `mine`").await.expect("it is told");
    assert!(told.contains(&format!("as {PERSON}")), "{told}");
    assert!(told.contains("the key in the key file"), "{told}");

    assert_eq!(
        bearer(&stage, "/x").await,
        idp.minted()[1],
        "the login's own access token is not used"
    );
    let status = home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let shown = &status["logins"][0];
    assert_eq!((&shown["credential"], &shown["user"]), (&json!("mine"), &json!(PERSON)));
    assert_eq!(
        (&shown["state"], &shown["protected_by"]),
        (&json!("logged-in"), &json!("key-file"))
    );
    let text = home.run(&["status"]).await.stdout;
    assert!(text.contains(PERSON), "{text}");

    let out = home.run(&["logout", "mine"]).await;
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    let revoked = idp.calls_of("/revoke");
    assert_eq!(revoked[0].one("token_type_hint"), "refresh_token");
    assert_eq!(revoked[0].one("token"), idp.refresh_tokens()[1], "the latest");
    let answer = stage.get(EVIL, "/x", "").await.unwrap();
    own_answer(&answer, &[403], &["login-required"]).unwrap();
    let audit = home.audit();
    let told: Vec<_> = (audit.iter())
        .filter(|record| record["event"] == "session" && record["credential"] == "mine")
        .map(|record| (&record["context"]["action"], &record["context"]["user"]))
        .collect();
    let (ada, logged) = (json!(PERSON), [json!("logged-in"), json!("logged-out")]);
    assert_eq!(told, [(&logged[0], &ada), (&logged[1], &ada)]);
    let again = home.run(&["logout", "mine"]).await;
    assert_eq!((again.code, again.stderr.contains("nobody was logged in")), (Some(0), true));
    let secrets = [idp.refresh_tokens(), idp.minted()].concat();
    super::silent(&stage, &secrets).await;
    for secret in secrets {
        assert!(!terminal.output().contains(&secret) && !out.stderr.contains(&secret));
    }
}

/// Without a daemon the command writes the record itself, into the same chain.
#[tokio::test]
async fn a_login_is_recorded_without_a_daemon() {
    let idp = Idp::start().await;
    let home = home(&idp, "");
    let mut terminal = login(&home);
    terminal.says("WDJB-MJHT").await.unwrap();
    idp.approve();
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    home.run(&["logout", "mine"]).await;
    let audit = home.audit();
    let told: Vec<_> = audit.iter().map(|record| &record["context"]["action"]).collect();
    assert_eq!(told, ["logged-in", "logged-out"]);
    assert_eq!(audit[0]["context"]["user"], PERSON);
    assert_eq!(home.run(&["audit", "verify"]).await.code, Some(0));
}

#[tokio::test]
async fn slow_down_slows_down() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.polls = vec!["authorization_pending", "slow_down"]);
    let home = home(&idp, "");
    let mut terminal = login(&home);
    terminal.says("WDJB-MJHT").await.unwrap();
    idp.approve();
    let begun = std::time::Instant::now();
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    let took = begun.elapsed().as_secs();
    assert_eq!(idp.calls_of("/token").len(), 3);
    assert!((7..15).contains(&took), "1 s, 1 s, and 5 s more: {took} s");
}

#[tokio::test]
async fn a_no_and_an_end_are_told_apart() {
    let idp = Idp::start().await;
    let home = home(&idp, "");
    for (word, code) in [("access_denied", "login-denied"), ("expired_token", "login-code-expired")]
    {
        idp.with(|idp| idp.polls = vec![word]);
        fails(&home, code).await;
    }
    idp.with(|idp| idp.device_answer = json!({ "expires_in": 1 }));
    fails(&home, "login-code-expired").await;
    assert!(home.run(&["logout", "mine"]).await.stderr.contains("nobody was logged in"));
}

#[tokio::test]
async fn a_person_is_sent_to_nobody_else() {
    let idp = Idp::start().await;
    let home = home(&idp, "");
    for page in [
        "https://evil.example/device",
        "http://evil.example/",
        "javascript:alert(1)",
        "https://a@127.0.0.1/",
    ] {
        for member in ["verification_uri", "verification_uri_complete"] {
            idp.with(|idp| idp.device_answer = json!({ member: page }));
            let done = fails(&home, "verification-foreign").await;
            assert!(!done.stderr.contains("evil.example"), "{}", done.stderr);
        }
    }
    for code in ["AB\u{1b}[2JCD", "", "ABCD\nEFGH"] {
        idp.with(|idp| idp.device_answer = json!({ "user_code": code }));
        let done = fails(&home, "device-answer-invalid").await;
        assert!(!done.stderr.contains('\u{1b}'));
    }
    assert!(idp.calls_of("/token").is_empty(), "nobody polls for what nobody can approve");

    let named = Valetkey::new()
        .toml(&credential(&idp, "verification_origins = [\"https://verify.example\"]"))
        .written();
    idp.with(|idp| {
        idp.device_answer = json!({
            "verification_uri": "https://verify.example/d", "verification_uri_complete": null,
        });
        idp.polls = vec!["access_denied"];
    });
    let done = fails(&named, "login-denied").await;
    assert!(done.stderr.contains("https://verify.example/d"), "{}", done.stderr);
}

#[tokio::test]
async fn what_does_not_last_is_no_login() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.token_answer = json!({ "refresh_token": null }));
    let home = home(&idp, "");
    let mut terminal = login(&home);
    terminal.says("WDJB-MJHT").await.unwrap();
    idp.approve();
    assert_eq!(terminal.ended().await, Some(1));
    let told = terminal.says("error[login-without-refresh-token]").await;
    assert!(told.is_some(), "{}", terminal.output());
}

/// RFC 6749 section 6: a refresh asks for no more than the login was granted, and whoever logs in is told.
#[tokio::test]
async fn a_refresh_asks_for_what_was_granted() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.token_answer = json!({ "scope": "openid orders:read" }));
    let scope = "scope = [\"openid\", \"offline_access\", \"orders:read\", \"orders:write\"]";
    let credential = credential(&idp, "").replace("scope = [\"openid\", \"orders\"]", scope);
    let route = |name: &str, more: &str| {
        format!(
            "name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}\"]\ncredential = \"mine\"\n{more}"
        )
    };
    let stage = Stage::valetkey_with(|builder| {
        builder
            .toml(&credential)
            .route(&route("all", ""))
            .route(&route("read", "scope = [\"orders:read\"]"))
            .route(&route("some", "scope = [\"orders:read\", \"orders:write\"]"))
            .route(&route("write", "scope = [\"orders:write\"]"))
    })
    .await;
    let home = stage.running().unwrap().home().clone();
    let mut terminal = login(&home);
    terminal.says("WDJB-MJHT").await.unwrap();
    idp.approve();
    assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
    let told = terminal.says("warning[login-narrower]").await.expect("it is told");
    assert!(told.contains("offline_access orders:write"), "{told}");
    // That it is not named is no reason to refuse it when it comes.
    idp.with(|idp| idp.token_answer = json!({ "scope": "openid offline_access orders:read" }));
    bearer(&stage, "/all").await;
    idp.with(|idp| idp.token_answer = json!({}));
    bearer(&stage, "/read").await;
    bearer(&stage, "/some").await;
    let calls = idp.calls_of("/token");
    let refreshes = calls.iter().filter(|call| call.one("grant_type") == "refresh_token");
    let asked: Vec<_> = refreshes.map(|call| call.one("scope").to_owned()).collect();
    assert_eq!(asked, ["openid orders:read", "orders:read", "orders:read"]);
    // Nothing of what the route wants: asked for nothing, the issuer would give all there is.
    let before = idp.count();
    let answer = stage.get(EVIL, "/write", "").await.unwrap();
    own_answer(&answer, &[403], &["login-scope-missing"]).unwrap();
    assert!(answer.text().contains("type: valetkey login mine"), "{}", answer.text());
    assert_eq!(idp.count(), before, "nobody is asked, and no refresh token spent");
    let status = home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["logins"][0]["not_granted"], json!(["orders:write"]));
    let text = home.run(&["status"]).await.stdout;
    assert!(text.contains("not granted: orders:write"), "{text}");
}

/// However an issuer writes what it grants: a refresh asks for nothing else, and the login works.
#[tokio::test]
async fn a_refresh_asks_for_what_was_granted_in_any_words() {
    const WANTED: &str = "openid offline_access orders:read orders:write";
    for (granted, missing) in [
        (None, None),
        (Some("orders:write orders:read offline_access openid"), None),
        (Some("orders:read orders:write openid"), Some("offline_access")),
        (Some("openid openid orders:read orders:read"), Some("orders:write")),
        (Some("orders:read  orders:write"), Some("openid")),
        (Some("orders:read"), Some("orders:write")),
    ] {
        let idp = Idp::start().await;
        let answer = granted.map_or_else(|| json!({}), |granted| json!({ "scope": granted }));
        idp.with(|idp| idp.token_answer = answer);
        let words: Vec<_> = WANTED.split(' ').collect();
        let credential =
            credential(&idp, "").replace("[\"openid\", \"orders\"]", &json!(words).to_string());
        let stage = Stage::valetkey_with(|builder| {
            builder
                .toml(&credential)
                .route(&format!("name = \"all\"\nhost = {EVIL:?}\ncredential = \"mine\""))
        })
        .await;
        let mut terminal = login(stage.running().unwrap().home());
        terminal.says("WDJB-MJHT").await.unwrap();
        idp.approve();
        assert_eq!(terminal.ended().await, Some(0), "{}", terminal.output());
        let said = terminal.output();
        let narrower = said.lines().find(|line| line.contains("login-narrower"));
        let names = |line: &str| missing.is_some_and(|missing| line.contains(missing));
        assert_eq!(narrower.map(names), missing.map(|_| true), "{granted:?}: {said}");
        bearer(&stage, "/all").await;
        let calls = idp.calls_of("/token");
        let refresh = calls.iter().find(|call| call.one("grant_type") == "refresh_token").unwrap();
        let may: Vec<_> = granted.unwrap_or(WANTED).split(' ').collect();
        let asked = refresh.one("scope");
        assert!(asked.split(' ').all(|word| may.contains(&word)), "{granted:?}: {asked}");
    }
}
