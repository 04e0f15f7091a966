//! The keyring of a desktop session, a real one: secrets read from it, logins kept in it; locked, gone and killed.

use std::time::Duration;

use serde_json::Value;

use super::bearer;
use crate::harness::idp::{CLIENT, Idp};
use crate::harness::keyring::Keyring;
use crate::harness::leak::{Canary, Sinks};
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::valetkey::{Home, Valetkey};
use crate::harness::{canary, look_again, soon, until};

pub(super) const WAYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A login by device, and routes by path, each with a scope and so a token of its own: each first request is a refresh.
pub(super) fn ways(builder: Valetkey, idp: &Idp, protection: &str) -> Valetkey {
    let credential = format!(
        "{protection}\n[credentials.mine]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}\nscope = {WAYS:?}",
        idp.issuer()
    );
    WAYS.iter().fold(builder.toml(&credential), |builder, way| {
        builder.route(&format!(
            "name = {way:?}\nhost = {EVIL:?}\npath = [\"/{way}\"]\ncredential = \"mine\"\nscope = [{way:?}]"
        ))
    })
}

const KEYRING: &str = "[logins]\nprotection = \"keyring\"";

async fn stage(idp: &Idp, keyring: &Keyring, protection: &str) -> Stage {
    Stage::valetkey_with(|builder| {
        ways(builder, idp, protection).verbose().env("DBUS_SESSION_BUS_ADDRESS", &keyring.bus)
    })
    .await
}

pub(super) async fn log_in(home: &Home, idp: &Idp) -> String {
    let mut terminal = home.spawn(home.command(&["login", "mine"]));
    terminal.says("WDJB-MJHT").await.expect("the code is shown");
    idp.approve();
    assert_eq!(soon("the login to end", terminal.ended()).await, Some(0), "{}", terminal.output());
    terminal.output()
}

pub(super) fn latest(idp: &Idp) -> String {
    idp.refresh_tokens().pop().unwrap()
}

/// The record that a login's item holds, by another program's word.
async fn item(keyring: &Keyring) -> Value {
    let text = keyring.lookup(&["application", "valetkey"]).await;
    serde_json::from_str(text.split_once('\n').map_or("null", |(_, json)| json)).unwrap()
}

async fn refused(stage: &Stage, path: &str, detail: &str) {
    let answer = stage.get(EVIL, path, "").await.unwrap();
    own_answer(&answer, &[503], &["secret-unavailable"]).unwrap();
    let audit = stage.running().unwrap().audit();
    let last = audit.iter().rev().find(|record| record["event"] == "mint").unwrap();
    assert_eq!(last["context"]["detail"], detail, "{last}");
}

async fn until_served(stage: &Stage, path: &str) {
    soon("the back-off to end", async {
        while stage.get(EVIL, path, "").await.unwrap().status() != 200 {
            look_again().await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_login_rests_in_the_keyring_and_nowhere_else() {
    let (idp, mut keyring) = (Idp::start().await, Keyring::start().await);
    // By itself: nothing in the config asks for it.
    let mut stage = stage(&idp, &keyring, "").await;
    let home = stage.running().unwrap().home().clone();
    let told = log_in(&home, &idp).await;
    assert!(told.contains("kept in the keyring"), "{told}");
    bearer(&stage, "/a").await;
    assert_eq!(item(&keyring).await["refresh"], latest(&idp), "another program finds it there");
    let status = home.run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["logins"][0]["protected_by"], "keyring");
    // Across the end of both: what the keyring said it stored is on the disk.
    stage.running_mut().sigkill().await;
    keyring.unlock().await;
    stage.restart(&home).await;
    bearer(&stage, "/b").await;
    assert_eq!(item(&keyring).await["refresh"], latest(&idp));

    let mut sinks = Sinks::of(stage.running().unwrap()).await;
    sinks.add("what the login said", told);
    sinks.directory(home.config.parent().unwrap());
    sinks.directory(keyring.home());
    let secrets = [idp.refresh_tokens(), idp.minted()].concat();
    let canaries: Vec<_> = secrets.iter().map(|secret| Canary::of("a token", secret)).collect();
    sinks.must_not_hold(&canaries);

    let out = home.run(&["logout", "mine"]).await;
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert_eq!(idp.calls_of("/revoke")[0].one("token"), latest(&idp));
    assert_eq!(item(&keyring).await, Value::Null, "gone from there");
    own_answer(&stage.get(EVIL, "/c", "").await.unwrap(), &[403], &["login-required"]).unwrap();
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_keyring_that_is_locked_or_gone_costs_nothing() {
    let (idp, mut keyring) = (Idp::start().await, Keyring::bus_only().await);
    let mut stage = stage(&idp, &keyring, KEYRING).await;
    let home = stage.running().unwrap().home().clone();
    let none = home.run(&["login", "mine"]).await;
    assert!(none.stderr.contains("error[keyring-unavailable]"), "{}", none.stderr);
    assert_eq!(idp.calls_of("/device").len(), 0, "nobody is sent off in vain");
    keyring.unlock().await;
    log_in(&home, &idp).await;
    bearer(&stage, "/a").await;
    let spent = idp.calls_of("/token").len();
    keyring.lock().await;
    refused(&stage, "/b", "keyring-locked").await;
    let status = home.run(&["status", "--json"]).await.stdout;
    assert!(status.contains("keyring-locked"), "{status}");
    let out = home.run(&["logout", "mine"]).await;
    assert!(out.stderr.contains("error[keyring-locked]"), "{}", out.stderr);
    keyring.kill().await;
    refused(&stage, "/c", "keyring-unavailable").await;
    assert_eq!(idp.calls_of("/token").len(), spent, "nothing was spent");
    keyring.unlock().await;
    until_served(&stage, "/b").await;
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
    // Without a daemon `status` asks the keyring itself.
    keyring.lock().await;
    stage.running_mut().sigkill().await;
    let alone = soon("status", home.run(&["status"])).await;
    assert_eq!(alone.code, Some(1), "{}", alone.stderr);
    for part in ["unreadable keyring-locked", "login for `mine`: unlock it"] {
        assert!(alone.stdout.contains(part), "{}", alone.stdout);
    }
}

/// Locked between the exchange and the storing of what it brought, and then our own death: the file stands in.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn what_a_locked_keyring_does_not_take_waits_in_the_file() {
    let (idp, mut keyring) = (Idp::start().await, Keyring::start().await);
    let mut stage = stage(&idp, &keyring, KEYRING).await;
    let home = stage.running().unwrap().home().clone();
    log_in(&home, &idp).await;
    let gate = idp.hold();
    let before = idp.calls_of("/token").len();
    let locking = async {
        until("the exchange", || idp.calls_of("/token").len() > before).await;
        keyring.lock().await;
        gate.open();
        idp.release();
    };
    let (answer, ()) = tokio::join!(stage.get(EVIL, "/a", ""), locking);
    assert_eq!(answer.unwrap().status(), 200, "{}", stage.running().unwrap().output());
    stage.running_mut().sigkill().await;
    let mut sinks = Sinks::default();
    sinks.directory(&home.state);
    sinks.must_not_hold(&[Canary::of("the new token", &latest(&idp))]);
    stage.restart(&home).await;
    refused(&stage, "/b", "keyring-locked").await;
    keyring.unlock().await;
    assert_ne!(item(&keyring).await["refresh"], latest(&idp), "it has the one before");
    until_served(&stage, "/b").await;
    assert_eq!(item(&keyring).await["refresh"], latest(&idp));
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
    let spent: Vec<_> = (idp.calls_of("/token").iter())
        .filter(|call| call.one("grant_type") == "refresh_token")
        .map(|call| call.one("refresh_token").to_owned())
        .collect();
    assert_eq!(spent, idp.refresh_tokens()[..2], "each once");
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn kills_lose_nothing_that_is_in_the_keyring() {
    const KILLS: u32 = 16;
    let (idp, keyring) = (Idp::start().await, Keyring::start().await);
    idp.with(|idp| idp.grace = true);
    let mut stage = stage(&idp, &keyring, KEYRING).await;
    killed_over_and_over(&idp, &mut stage, KILLS, Duration::from_millis(40)).await;
}

/// Kills it in refreshes, at moments that are so far apart, and asks for something after each.
pub(super) async fn killed_over_and_over(
    idp: &Idp,
    stage: &mut Stage,
    kills: u32,
    apart: Duration,
) {
    let home = stage.running().unwrap().home().clone();
    log_in(&home, idp).await;
    for kill in 0..kills {
        let answer = stage.get(EVIL, "/a", "").await.unwrap();
        assert_eq!(answer.status(), 200, "after kill {kill}: {}", answer.everything());
        let asked = idp.calls_of("/token").len();
        let killed = async {
            while !kill.is_multiple_of(4) && idp.calls_of("/token").len() == asked {
                tokio::task::yield_now().await;
            }
            // From at once to well after it has been stored: the delay is the thing tested.
            tokio::time::sleep(apart * kill).await;
        };
        tokio::select! {
            biased;
            () = killed => {}
            _ = stage.get(EVIL, "/b", "") => {}
        }
        stage.running_mut().sigkill().await;
        stage.restart(&home).await;
    }
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_secret_is_read_from_the_keyring() {
    let mut keyring = Keyring::start().await;
    let secret = canary("client-secret");
    keyring.store("orders", &secret).await;
    let issuer = crate::harness::issuer::Issuer::start().await;
    let credential = |name: &str, item: &str| {
        format!(
            "[credentials.{name}]\ngrant = \"client-credentials\"\ntoken_url = {:?}\nclient_id = \"x\"\n\
             auth = \"post\"\nclient_secret = {{ keyring = {item:?} }}\nttl = \"1s\"",
            issuer.token_url()
        )
    };
    let route = |name: &str| {
        format!("name = {name:?}\nhost = {EVIL:?}\npath = [\"/{name}\"]\ncredential = {name:?}")
    };
    let stage = Stage::valetkey_with(|builder| {
        let builder = builder.toml(&credential("mine", "orders")).toml(&credential("none", "else"));
        let builder = builder.route(&route("mine")).route(&route("none"));
        builder.verbose().env("DBUS_SESSION_BUS_ADDRESS", &keyring.bus)
    })
    .await;
    bearer(&stage, "/mine").await;
    assert_eq!(super::parameter(&issuer.call(0).await, "client_secret"), secret);
    refused(&stage, "/none", "keyring-item-missing").await;
    let mut sinks = Sinks::of(stage.running().unwrap()).await;
    sinks.directory(keyring.home());
    sinks.must_not_hold(&[Canary::of("the secret", &secret)]);
    keyring.lock().await;
    let locked = async {
        // The token lives a second.
        while stage.get(EVIL, "/mine", "").await.unwrap().status() == 200 {}
    };
    soon("the token to end", locked).await;
    refused(&stage, "/mine", "keyring-locked").await;
    keyring.unlock().await;
    until_served(&stage, "/mine").await;
}
