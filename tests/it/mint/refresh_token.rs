//! `refresh-token`: what the issuer gives in place of a refresh token is never lost, and no refresh token is
//! spent once its successor is known.

use serde_json::json;

use super::{bearer, silent};
use crate::harness::idp::{CLIENT, Idp};
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::until;
use crate::harness::valetkey::Valetkey;

/// `ttl` of a second: each request a second later mints anew; here, each path does.
fn credential(idp: &Idp) -> String {
    format!(
        "grant = \"refresh-token\"\nissuer = {:?}\nclient_id = {CLIENT:?}\n\
         refresh_token = {{ file = \"first\" }}\nscope = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]",
        idp.issuer()
    )
}

/// Routes by path, each with a scope and so a token of its own: each first request is a refresh.
const WAYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

async fn scene(idp: &Idp) -> Stage {
    let first = idp.logged_in();
    Stage::valetkey_with(|builder| ways(builder.file("first", &first), &credential(idp))).await
}

fn ways(builder: Valetkey, credential: &str) -> Valetkey {
    WAYS.iter().fold(builder.toml(&format!("[credentials.mine]\n{credential}")), |builder, way| {
        builder.route(&format!(
            "name = {way:?}\nhost = {EVIL:?}\npath = [\"/{way}\"]\ncredential = \"mine\"\nscope = [{way:?}]"
        ))
    })
}

fn secrets(idp: &Idp) -> Vec<String> {
    [idp.refresh_tokens(), idp.minted()].concat()
}

#[tokio::test]
async fn each_refresh_spends_the_latest_and_narrows_the_scope() {
    let idp = Idp::start().await;
    let mut stage = scene(&idp).await;
    for way in ["a", "b"] {
        assert_eq!(Some(bearer(&stage, &format!("/{way}")).await), idp.minted().pop());
    }
    let home = stage.running().unwrap().home().clone();
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    stage.restart(&home).await;
    bearer(&stage, "/c").await;
    let calls = idp.calls_of("/token");
    let spent: Vec<_> = calls.iter().map(|call| call.one("refresh_token").to_owned()).collect();
    assert_eq!(spent, idp.refresh_tokens()[..3], "each once, in order, across a restart");
    let asked: Vec<_> = calls.iter().map(|call| call.one("scope")).collect();
    assert_eq!(asked, ["a", "b", "c"]);
    silent(&stage, &secrets(&idp)).await;
}

#[tokio::test]
async fn no_refresh_token_stands_in_any_file() {
    let idp = Idp::start().await;
    let stage = scene(&idp).await;
    bearer(&stage, "/a").await;
    let mut all = String::new();
    super::files(&stage.running().unwrap().home().state, &mut all);
    assert!(all.contains("\"protected_by\":\"key-file\""), "the search reads the login");
    for token in secrets(&idp) {
        for form in crate::harness::stage::forms(&token) {
            assert!(!all.contains(&form), "a token is at rest as {form}");
        }
    }
}

#[tokio::test]
async fn an_issuer_that_rotates_nothing_is_fine() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.rotates = false);
    let stage = scene(&idp).await;
    for way in ["/a", "/b"] {
        bearer(&stage, way).await;
    }
    assert_eq!(idp.refresh_tokens().len(), 1);
    assert_eq!(idp.with(|idp| idp.refreshes), 2);
}

#[tokio::test]
async fn a_lost_answer_is_made_up_for_by_the_old_token_where_the_issuer_allows() {
    let idp = Idp::start().await;
    idp.with(|idp| (idp.grace, idp.lose) = (true, 1));
    let stage = scene(&idp).await;
    let answer = stage.get(EVIL, "/a", "").await.unwrap();
    own_answer(&answer, &[503], &["issuer-unreachable"]).unwrap();
    bearer(&stage, "/b").await;
    bearer(&stage, "/c").await;
    let calls = idp.calls_of("/token");
    let spent: Vec<_> = calls.iter().map(|call| call.one("refresh_token").to_owned()).collect();
    let given = idp.refresh_tokens();
    assert_eq!(spent, [&given[0], &given[0], &given[2]].map(Clone::clone));
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
}

#[tokio::test]
async fn reuse_detection_ends_the_login_and_is_told_as_such() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.lose = 1);
    let stage = scene(&idp).await;
    stage.get(EVIL, "/a", "").await.unwrap();
    let answer = stage.get(EVIL, "/b", "").await.unwrap();
    own_answer(&answer, &[403], &["login-required"]).unwrap();
    let asked = idp.count();
    let again = stage.get(EVIL, "/c", "").await.unwrap();
    own_answer(&again, &[403], &["login-required"]).unwrap();
    assert_eq!(idp.count(), asked, "an issuer that said no is not asked again");
    let audit = stage.running().unwrap().audit();
    let mints: Vec<_> = audit.iter().filter(|record| record["event"] == "mint").collect();
    let last = mints.last().unwrap();
    assert_eq!(
        (&last["code"], &last["context"]["detail"]),
        (&json!("login-required"), &json!("login-reuse-detected"))
    );
    assert_eq!(idp.with(|idp| idp.violations), 0);
    stage.control().await.unwrap();

    // A new token in the place of the first begins a new login.
    let fresh = idp.logged_in();
    std::fs::write(stage.running().unwrap().home().path("first"), fresh).unwrap();
    bearer(&stage, "/d").await;
}

#[tokio::test]
async fn a_passing_error_costs_nothing() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.break_off = 1);
    let stage = scene(&idp).await;
    let answer = stage.get(EVIL, "/a", "").await.unwrap();
    own_answer(&answer, &[503], &["issuer-unreachable"]).unwrap();
    idp.with(|idp| idp.token_answer = json!({ "token_type": "mac" }));
    let answer = stage.get(EVIL, "/b", "").await.unwrap();
    own_answer(&answer, &[502], &["issuer-answer-invalid"]).unwrap();
    idp.with(|idp| idp.token_answer = json!({}));
    bearer(&stage, "/c").await;
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
    let spent = idp.calls_of("/token");
    let given = idp.refresh_tokens();
    assert_eq!(
        spent[2].one("refresh_token"),
        given[1],
        "kept although its access token was no use"
    );
}

#[tokio::test]
async fn a_refusal_of_another_kind_keeps_the_login() {
    let idp = Idp::start().await;
    let first = idp.logged_in();
    let wrong = credential(&idp).replace(CLIENT, "somebody-else");
    let stage = Stage::valetkey_with(|builder| ways(builder.file("first", &first), &wrong)).await;
    let answer = stage.get(EVIL, "/a", "").await.unwrap();
    own_answer(&answer, &[502], &["issuer-refused"]).unwrap();
    assert!(idp.alive());
    let home = stage.running().unwrap().home().clone();
    home.rewrite(|text| text.replace("somebody-else", CLIENT));
    stage.running().unwrap().sighup();
    stage.running().unwrap().says("config reloaded").await;
    bearer(&stage, "/b").await;
}

/// The waiter's patience ends before the issuer answers; the answer is stored all the same.
#[tokio::test]
async fn the_end_of_the_daemon_waits_for_an_exchange() {
    let idp = Idp::start().await;
    let mut stage = scene(&idp).await;
    bearer(&stage, "/a").await;
    let gate = idp.hold();
    let before = idp.calls_of("/token").len();
    let waiting = async { stage.get(EVIL, "/b", "").await };
    let arrived = until("the exchange", || idp.calls_of("/token").len() > before);
    tokio::select! {
        _ = waiting => panic!("the gate is closed"),
        () = arrived => {}
    }
    stage.running_mut().sigterm();
    let home = stage.running().unwrap().home().clone();
    stage.running().unwrap().says("stopping").await;
    gate.open();
    idp.release();
    stage.running_mut().ended().await;
    stage.restart(&home).await;
    bearer(&stage, "/c").await;
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
}

#[tokio::test]
async fn a_full_disk_spends_nothing() {
    let idp = Idp::start().await;
    let first = idp.logged_in();
    let stage = Stage::valetkey_with(|builder| {
        ways(builder.file("first", &first).toml("[logins]\ndir = \"elsewhere\""), &credential(&idp))
    })
    .await;
    // What cannot be written, root or not: a file stands where the directory should be.
    let place = stage.running().unwrap().home().state.join("elsewhere");
    std::fs::write(&place, "").unwrap();
    let answer = stage.get(EVIL, "/a", "").await.unwrap();
    own_answer(&answer, &[503], &["secret-unavailable"]).unwrap();
    assert!(idp.calls_of("/token").is_empty(), "nothing was spent");
    std::fs::remove_file(&place).unwrap();
    bearer(&stage, "/b").await;
    silent(&stage, &secrets(&idp)).await;
}
