//! I11, everything is bounded: what is larger than anybody needs is refused, and costs no token. (Floods, slow clients,
//! memory: `torture`.)

use crate::ensure;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I11":
    a_header_without_an_end_is_refused,
    a_target_without_an_end_is_refused,
);

async fn a_header_without_an_end_is_refused(stage: &mut Stage) -> Verdict {
    let lines = format!("X-Large: {}\r\n", "x".repeat(70 * 1024));
    let answer = stage.get(ORDERS, "/v1/x", &lines).await?;
    nothing_left(stage)?;
    own_answer(&answer, &[431], &["headers-too-large"])?;
    stage.control().await
}

async fn a_target_without_an_end_is_refused(stage: &mut Stage) -> Verdict {
    let answer = stage.get(ORDERS, &format!("/v1/{}", "x".repeat(9 * 1024)), "").await?;
    nothing_left(stage)?;
    own_answer(&answer, &[414], &["uri-too-long"])?;
    stage.control().await
}

fn nothing_left(stage: &Stage) -> Verdict {
    let requests = stage.orders.requests().len();
    ensure!(requests == 0, "{requests} requests of that size went upstream");
    Ok(())
}
