//! An upstream that wants more of the person than the login gives: they are told what to type, and nothing is minted.

use crate::harness::api::Answer;
use crate::harness::idp::{CLIENT, Idp};
use crate::harness::soon;
use crate::harness::stage::{EVIL, Stage};

async fn log_in(stage: &Stage, idp: &Idp, more: &[&str]) {
    let home = stage.running().unwrap().home();
    let mut terminal = home.spawn(home.command(&[&["login", "mine"], more].concat()));
    terminal.says("WDJB-MJHT").await.expect("the code is shown");
    idp.approve();
    assert_eq!(soon("the login to end", terminal.ended()).await, Some(0), "{}", terminal.output());
}

#[tokio::test]
async fn the_person_is_told_what_to_type_and_nothing_is_minted() {
    let idp = Idp::start().await;
    let stage = Stage::valetkey_with(|builder| {
        builder
            .toml(&format!(
                "[credentials.mine]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}\nscope = [\"openid\"]",
                idp.issuer()
            ))
            .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\""))
    })
    .await;
    log_in(&stage, &idp, &[]).await;
    stage.evil.answer(|seen| {
        let challenge = match seen.target.as_str() {
            "/scope" => "error=\"insufficient_scope\", scope=\"orders:write\"",
            _ => "error=\"insufficient_user_authentication\", acr_values=\"urn:mfa $(id)\", max_age=60",
        };
        let status = if seen.target == "/scope" { 403 } else { 401 };
        Answer::ok("foreign").status(status).header("WWW-Authenticate", format!("Bearer {challenge}"))
    });
    let minted = idp.minted().len() + 1;
    let config = stage.running().unwrap().home().config.display().to_string();
    let login = format!("valetkey login mine --config {config}");
    for (path, status, hint) in [
        (
            "/scope",
            403,
            format!(
                "have `orders:write` in `scope` of the credential and its route, then type: {login}"
            ),
        ),
        ("/acr", 401, format!("type: {login} --acr-values 'urn:mfa' --max-age 60")),
    ] {
        for _ in 0..5 {
            let answer = stage.get(EVIL, path, "").await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (status, "foreign"));
            let said = answer.all("proxy-status");
            assert_eq!(said, [format!("valetkey; details=\"step-up-required\"; hint=\"{hint}\"")]);
        }
        let shown = stage.running().unwrap().home().run(&["status"]).await.stdout;
        assert!(shown.contains(&format!("an upstream wants more of `mine`: {hint}")), "{shown}");
    }
    assert_eq!(idp.minted().len(), minted, "one token for all of them");
    for told in ["orders:write", "--acr-values"] {
        stage.running().unwrap().says(told).await.expect("it is logged");
    }
    let output = stage.running().unwrap().output();
    assert_eq!(output.matches("step-up-required").count(), 2, "once each: {output}");

    let flags = ["--acr-values", "urn:mfa", "--max-age", "60"];
    log_in(&stage, &idp, &flags).await;
    let asked = idp.calls_of("/device").pop().unwrap();
    assert_eq!((asked.one("acr_values"), asked.one("max_age")), ("urn:mfa", "60"));
    let shown = stage.running().unwrap().home().run(&["status"]).await.stdout;
    assert!(!shown.contains("wants more"), "{shown}");
}
