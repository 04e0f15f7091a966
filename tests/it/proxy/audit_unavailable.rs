//! I9, no audit, no injection. The disk is made full for Valetkey alone by a limit on file size, which
//! binds root too; SIGXFSZ is ignored, so that writing fails with EFBIG.

use crate::harness::client::finish;
use crate::harness::stage::{ORDERS, Stage, own_answer};
use crate::harness::{figure, soon};

/// Sets the soft limit of the daemon's file size.
async fn limit(stage: &Stage, bytes: &str) {
    let pid = stage.running().unwrap().pid().unwrap().to_string();
    let mut command = tokio::process::Command::new("prlimit");
    let done = finish(command.args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")])).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

fn audit_size(stage: &Stage) -> u64 {
    let path = stage.running().unwrap().home.state.join("audit.jsonl");
    std::fs::metadata(path).map(|m| m.len()).unwrap_or_default()
}

#[tokio::test]
async fn no_audit_no_injection_and_then_on_again() {
    let mut stage = Stage::valetkey_with(|v| v.ignoring_file_size_signal()).await;
    stage.control().await.unwrap();
    let got = stage.billing.requests().len();
    limit(&stage, &audit_size(&stage).to_string()).await;
    // A record in flight may still fit; from the first refusal on, none does.
    for n in 0..3 {
        let answer = stage.get(ORDERS, &format!("/v1/{n}"), "").await.unwrap();
        own_answer(&answer, &[503], &["audit-unavailable"]).unwrap();
        assert!(!answer.all("retry-after").is_empty(), "{}", answer.everything());
    }
    stage.bare("the API", &stage.orders).unwrap();
    assert_eq!(stage.billing.requests().len(), got);

    limit(&stage, "unlimited").await;
    let since = std::time::Instant::now();
    soon("injection to go on", async {
        while stage.get(ORDERS, "/v1/again", "").await.unwrap().status() != 200 {}
    })
    .await;
    figure("audit-full", format!("0 of 3 injected, 503; goes on after {:.1?}", since.elapsed()));
    let seen = stage.orders.requests();
    stage.injected(&seen[seen.len() - 1], &stage.orders_issuer.token()).unwrap();
    stage.control().await.unwrap();
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let verified = stage.running().unwrap().home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn on_failure_continue_is_loud_and_goes_on() {
    let stage = Stage::valetkey_with(|v| {
        v.ignoring_file_size_signal().toml("[audit]\non_failure = \"continue\"")
    })
    .await;
    stage.running().unwrap().says("on_failure").await.expect("said at start");
    limit(&stage, &audit_size(&stage).to_string()).await;
    let answer = stage.get(ORDERS, "/v1/x", "").await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    limit(&stage, "unlimited").await;
    stage.control().await.unwrap();
}
