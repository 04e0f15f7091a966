//! I12, one request's failure never changes another's outcome. (Panics and clients that vanish: `proxy/lifecycle.rs`,
//! `torture`.)

use std::time::Duration;

use crate::ensure;
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I12": a_mint_that_hangs_holds_up_nobody_else);

/// Far above what the neighbour needs.
const ENOUGH: Duration = Duration::from_secs(5);

async fn a_mint_that_hangs_holds_up_nobody_else(stage: &mut Stage) -> Verdict {
    let gate = stage.orders_issuer.hold();
    let stage = &*stage;
    let stuck = stage.get(ORDERS, "/v1/x", "");
    let neighbour = async {
        stage.orders_issuer.call(0).await;
        let served = tokio::time::timeout(ENOUGH, stage.control()).await;
        gate.open();
        served.unwrap_or_else(|_| Err(format!("another host's request waited {ENOUGH:?} for it")))
    };
    let (answer, served) = tokio::join!(stuck, neighbour);
    served?;
    ensure!(answer?.status() == 200, "it goes on once its issuer does");
    Ok(())
}
