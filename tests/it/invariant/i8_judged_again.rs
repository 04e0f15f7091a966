//! I8, every request is judged again: what was withdrawn is not given, on a tunnel that was open before as well.

use crate::ensure;
use crate::harness::client::exchange;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I8": what_was_withdrawn_is_not_given_on_an_open_tunnel);

async fn what_was_withdrawn_is_not_given_on_an_open_tunnel(stage: &mut Stage) -> Verdict {
    let mut tunnel = stage.tunnel(ORDERS).await?;
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = exchange(&mut tunnel, request.as_bytes()).await.ok_or("no answer")?;
    ensure!(answer.status() == 200, "before: {}", answer.everything());
    stage.withdraw_orders().await;
    let answer = exchange(&mut tunnel, request.as_bytes()).await.ok_or("no second answer")?;
    let seen = stage.orders.requests();
    ensure!(seen.len() == 1, "it went on with a token: {:#?}", seen.last());
    own_answer(&answer, &[403], &["credential-revoked"])?;
    stage.control().await
}
