//! An issuer that is down for a while: what the requests of that time are told, and how soon it is over.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::bearer;
use crate::harness::figure;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::stage::{EVIL, Stage};

/// Between two requests of the one tool.
const PACE: Duration = Duration::from_millis(50);

/// One request, as its tool saw it.
struct Asked {
    /// Since the issuer went away.
    at: Duration,
    took: Duration,
    status: u16,
    retry_after: Option<Duration>,
}

/// Asks all the time: from a mint, through an outage that begins right after it, to the first success.
async fn outage(life: Duration, down: Duration) -> Vec<Asked> {
    let mut issuer = Issuer::start().await;
    issuer.reply(Reply::Token { life: Some(life.as_secs()) });
    let stage = Stage::valetkey_with(|builder| {
        builder
            .minting("mine", &issuer)
            .route(&format!("name = \"mine\"\nhost = {EVIL:?}\ncredential = \"mine\""))
    })
    .await;
    assert_eq!(bearer(&stage, "/x").await, issuer.token());
    let start = Instant::now();
    let mut away = Some(issuer.down().await);
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut all: Vec<Asked> = Vec::new();
    loop {
        pace.tick().await;
        if start.elapsed() >= down
            && let Some(away) = away.take()
        {
            issuer.up(away);
        }
        let asked = Instant::now();
        let answer = stage.get(EVIL, "/x", "").await.unwrap();
        let after = answer.all("retry-after").first().and_then(|text| text.parse().ok());
        all.push(Asked {
            at: start.elapsed(),
            took: asked.elapsed(),
            status: answer.status(),
            retry_after: after.map(Duration::from_secs),
        });
        if answer.status() == 200 && away.is_none() {
            let minted = issuer.minted();
            assert_eq!(minted.len(), 2, "one mint before and one after");
            return all;
        }
        assert!(start.elapsed() < down + Duration::from_secs(60), "it never comes back");
    }
}

/// What PRODUCT promises of it.
fn kept(all: &[Asked], life: Duration, down: Duration) {
    let first = all.iter().position(|asked| asked.status != 200).expect("a refusal");
    let (before, after) = all.split_at(first);
    let (success, refused) = after.split_last().unwrap();
    // A moment passes between the mint and what is measured from.
    let slack = Duration::from_millis(500);
    let served = before.last().unwrap().at;
    assert!(served + slack > life, "served for {served:?} of {life:?}");
    assert!(served < life + slack, "an ended token served: {served:?} of {life:?}");
    for asked in refused {
        assert_eq!(asked.status, 503, "at {:?}", asked.at);
        assert!(asked.took < Duration::from_secs(5), "at {:?}: {:?}", asked.at, asked.took);
        let after = asked.retry_after.expect("Retry-After");
        assert!(after >= Duration::from_secs(1) && after <= Duration::from_secs(30), "{after:?}");
    }
    let slowest = refused.iter().map(|asked| asked.took).max().unwrap();
    let last = refused.last().unwrap();
    let allowed = last.at + last.retry_after.unwrap();
    assert_eq!(success.status, 200);
    assert!(
        success.at > down && success.at <= allowed + Duration::from_secs(1),
        "{:?}",
        success.at
    );
    figure(
        "issuer-down",
        format!(
            "down {down:?}, token of {life:?}: {} served until {served:?}; {} refused, slowest {slowest:?}; \
         success at {:?}, allowed by {allowed:?}",
            before.len(),
            refused.len(),
            success.at
        ),
    );
}

#[tokio::test]
async fn a_short_outage() {
    let (life, down) = (Duration::from_secs(3), Duration::from_secs(5));
    kept(&outage(life, down).await, life, down);
}

/// The figures of the issue.
#[tokio::test]
#[ignore = "takes two minutes: run tests/run"]
async fn an_outage_of_a_minute() {
    let (life, down) = (Duration::from_secs(30), Duration::from_secs(60));
    kept(&outage(life, down).await, life, down);
}
