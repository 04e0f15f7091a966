//! I9, no audit, no injection: where no record can be written, no token leaves. (A full disk:
//! `proxy/audit_unavailable.rs`.)

use std::time::{Duration, Instant};

use crate::ensure;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I9": without_an_audit_no_token_leaves);

/// The file is looked for once a second.
const NOTICED: Duration = Duration::from_secs(5);

async fn without_an_audit_no_token_leaves(stage: &mut Stage) -> Verdict {
    stage.control().await?;
    let audit = stage.audit_file();
    std::fs::remove_file(&audit).map_err(|error| format!("it writes no audit: {error}"))?;
    std::fs::create_dir(&audit).map_err(|error| error.to_string())?;
    let since = Instant::now();
    let refused = loop {
        let answer = stage.get(ORDERS, "/v1/x", "").await?;
        if answer.status() != 200 {
            break answer;
        }
        ensure!(since.elapsed() < NOTICED, "tokens leave and nothing is written down");
    };
    own_answer(&refused, &[503], &["audit-unavailable"])?;
    let before = stage.orders.requests().len();
    let answer = stage.get(ORDERS, "/v1/again", "").await?;
    own_answer(&answer, &[503], &["audit-unavailable"])?;
    ensure!(stage.orders.requests().len() == before, "a request left");
    Ok(())
}
