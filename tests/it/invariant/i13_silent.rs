//! I13, secrets have a type: nothing that is written down holds one. (Every grant, place and encoding:
//! `mint/canaries.rs`, `hostile/leaks.rs`.)

use crate::ensure;
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I13": what_is_written_down_holds_no_token);

async fn what_is_written_down_holds_no_token(stage: &mut Stage) -> Verdict {
    let answer = stage.get(ORDERS, "/v1/x", "").await?;
    ensure!(answer.status() == 200, "{}", answer.everything());
    stage.control().await?;
    let written = stage.written_down().await;
    ensure!(written.contains(ORDERS), "it writes down what it does: {written}");
    stage.silent("what is written down", &written)
}
