//! SIGKILL at any point of a refresh or a login loses no login, and daemons that share one take turns.
//!
//! `VALETKEY_TEST_LARGE=1` gives the kills their full number.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::client::{Trust, connect, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::idp::{CLIENT, Idp};
use crate::harness::pki::Pki;
use crate::harness::stage::{EVIL, Stage};
use crate::harness::valetkey::{Running, Valetkey};
use crate::harness::{api::Api, figure, soon};

const KILLS: u64 = 24;
const ALL_KILLS: u64 = 200;

fn kills() -> u64 {
    if std::env::var_os("VALETKEY_TEST_LARGE").is_some() { ALL_KILLS } else { KILLS }
}

/// What is spread: from at once to well after an exchange has been stored. The delay is the thing tested.
fn delay(kill: u64) -> Duration {
    Duration::from_micros(kill * 40_000 / kills())
}

fn login(idp: &Idp, way: &str) -> String {
    format!(
        "[credentials.mine]\ngrant = \"device\"\nissuer = {:?}\nclient_id = {CLIENT:?}\n\
         scope = [{way}]",
        idp.issuer()
    )
}

/// Routes `/0`, `/1`, … each with a scope and so a token of its own: its first request is a refresh.
fn ways(mut builder: Valetkey, idp: &Idp, count: usize) -> Valetkey {
    let scopes: Vec<_> = (0..count).map(|way| format!("\"s{way}\"")).collect();
    builder = builder.toml(&login(idp, &scopes.join(", ")));
    (0..count).fold(builder, |builder, way| {
        builder.route(&format!(
            "name = \"r{way}\"\nhost = {EVIL:?}\npath = [\"/{way}\"]\ncredential = \"mine\"\nscope = [\"s{way}\"]"
        ))
    })
}

async fn log_in(running: &crate::harness::valetkey::Home, idp: &Idp) {
    let mut terminal = running.spawn(running.command(&["login", "mine"]));
    terminal.says("WDJB-MJHT").await.expect("the code is shown");
    idp.approve();
    assert_eq!(soon("the login to end", terminal.ended()).await, Some(0), "{}", terminal.output());
}

#[tokio::test]
async fn kills_during_refresh_lose_nothing() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.grace = true);
    let mut stage = Stage::valetkey_with(|builder| ways(builder, &idp, 2)).await;
    let home = stage.running().unwrap().home().clone();
    log_in(&home, &idp).await;
    for kill in 0..kills() {
        // After whatever the kill before this left behind: it works.
        let answer = stage.get(EVIL, "/0", "").await.unwrap();
        assert_eq!(answer.status(), 200, "after kill {kill}: {}", answer.everything());
        let asked = idp.calls_of("/token").len();
        let killed = async {
            // Most of them in or after the exchange, some before it is sent.
            while !kill.is_multiple_of(6) && idp.calls_of("/token").len() == asked {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(delay(kill)).await;
        };
        tokio::select! {
            biased;
            () = killed => {}
            _ = stage.get(EVIL, "/1", "") => {}
        }
        stage.running_mut().sigkill().await;
        stage.restart(&home).await;
    }
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
    let spent = idp.with(|idp| idp.refreshes);
    println!(
        "{} kills, {spent} refreshes, no refresh token spent again, no invalid_grant",
        kills()
    );
    assert!(spent as u64 > kills(), "the kills met refreshes: {spent}");
    figure("refresh-killed", format!("{} kills over {spent} refreshes, 0 logins lost", kills()));
}

/// A login that is killed leaves the one before it, or stands itself.
#[tokio::test]
async fn kills_during_login_leave_a_login() {
    let idp = Idp::start().await;
    idp.with(|idp| idp.grace = true);
    let mut stage = Stage::valetkey_with(|builder| ways(builder, &idp, 1)).await;
    let home = stage.running().unwrap().home().clone();
    log_in(&home, &idp).await;
    for kill in 0..kills() / 4 {
        let mut terminal = home.spawn(home.command(&["login", "mine"]));
        terminal.says("WDJB-MJHT").await.unwrap();
        let polls = idp.calls_of("/token").len();
        idp.approve();
        while idp.calls_of("/token").len() == polls {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(delay(kill * 4)).await;
        let _ = terminal.sigkill().await;
        stage.running_mut().sigkill().await;
        stage.restart(&home).await;
        let answer = stage.get(EVIL, "/0", "").await.unwrap();
        assert_eq!(answer.status(), 200, "after kill {kill}: {}", answer.everything());
    }
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
}

#[tokio::test]
async fn two_daemons_share_a_login_and_take_turns() {
    const WAYS: usize = 12;
    let idp = Idp::start().await;
    let pki = Pki::new();
    let api = Api::tls(&pki.server(&[EVIL])).await;
    let shared = tempfile::tempdir().unwrap();
    let dir = shared.path().join("logins");
    let daemon = || async {
        let builder = Valetkey::new()
            .trusting(&pki)
            .reaching(&format!("{EVIL}:443"), api.addr())
            .toml(&format!("[logins]\ndir = {:?}", dir.display().to_string()));
        ways(builder, &idp, WAYS).start().await
    };
    let (one, two) = (daemon().await, daemon().await);
    log_in(one.home(), &idp).await;
    let mut requests = JoinSet::new();
    for running in [&one, &two] {
        let ca = running.ca_pem().await;
        for way in 0..WAYS {
            requests.spawn(get(running, &ca, way));
        }
    }
    let statuses = soon("all requests", requests.join_all()).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
    assert_eq!(idp.with(|idp| idp.refreshes), 2 * WAYS);
}

/// One request in a tunnel of its own; a mint that waited too long for its turn is asked for again.
fn get(running: &Running, ca: &str, way: usize) -> impl Future<Output = u16> + 'static {
    let (proxy, ca) = (running.proxy_addr(), ca.to_owned());
    async move {
        loop {
            let (answer, reader) = connect(proxy, &format!("{EVIL}:443")).await;
            assert_eq!(answer.status(), 200, "{}", answer.everything());
            let config = tls_config(Trust::Roots(&ca), &["http/1.1"]);
            let mut tunnel = Reader::new(tls(reader.stream, EVIL, config).await.unwrap());
            let request = format!("GET /{way} HTTP/1.1\r\nHost: {EVIL}\r\n\r\n");
            let status = exchange(&mut tunnel, request.as_bytes()).await.unwrap().status();
            if status != 503 {
                return status;
            }
        }
    }
}
