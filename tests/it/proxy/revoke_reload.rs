//! `valetkey revoke` after a reload.

use tokio::io::AsyncWriteExt as _;

use super::revoke::{bearer, get, revoke, stage};
use crate::harness::api::Answer;
use crate::harness::issuer::Issuer;
use crate::harness::stage::{EVIL, own_answer};
use crate::harness::{Gate, soon};

/// A request that was judged before a reload goes on with the token of that time; a revocation after the
/// reload finds both.
#[tokio::test]
async fn a_reload_before_it_hides_nothing() {
    let issuer = Issuer::start().await;
    let stage = stage(&issuer).await;
    let gate = Gate::closed();
    let held = gate.clone();
    stage.evil.answer(move |_| Answer::ok("late").after(&held));
    let mut open = stage.tunnel(EVIL).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {EVIL}\r\n\r\n");
    open.stream.write_all(request.as_bytes()).await.unwrap();
    stage.evil.request(0).await;
    let before = bearer(&stage);
    stage.evil.answer(|_| Answer::ok("soon"));
    let running = stage.running().unwrap();
    running.home.rewrite(|text| {
        text.replace("client_id = \"mine-cli\"", "client_id = \"mine-cli\"\nttl = \"4m\"")
    });
    running.sighup();
    running.says("config reloaded").await;
    let mut another = stage.tunnel(EVIL).await.unwrap();
    assert_eq!(get(&mut another, EVIL).await.status(), 200);
    let after = bearer(&stage);
    assert_ne!(before, after);
    let done = revoke(&stage, &["--credential", "mine"]).await;
    assert!(done.stdout.contains("2 tokens"), "{done:?}");
    let answer = soon("an answer", open.response()).await.unwrap();
    own_answer(&answer, &[403], &["credential-revoked"]).unwrap();
    issuer.revoked(&before).await;
    issuer.revoked(&after).await;
    gate.open();
}
