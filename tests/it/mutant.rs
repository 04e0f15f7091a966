//! The mutant: every invariant check must be violated by the naive proxy, by name.
//!
//! A check that a naive proxy passes is no evidence. So that a violation means what it says, the
//! positive control alone must pass there.

use crate::harness::stage::Stage;
use crate::invariant::checks;

#[tokio::test]
async fn every_check_fails_against_the_naive_proxy() {
    let control = Stage::naive().await.control().await;
    assert_eq!(control, Ok(()), "the naive proxy does inject");
    let mut passed = Vec::new();
    println!("{:<4} {:<48} what the naive proxy did", "", "check");
    for named in checks() {
        let mut stage = Stage::naive().await;
        match (named.check)(&mut stage).await {
            Ok(()) => passed.push(named.name),
            Err(violation) => {
                let brief: String = violation
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .chars()
                    .take(110)
                    .collect();
                println!("{:<4} {:<48} {brief}", named.invariant, named.name);
            }
        }
    }
    for number in 1..=14 {
        let invariant = format!("I{number}");
        assert!(checks().any(|c| c.invariant == invariant), "{invariant} has checks");
    }
    assert!(passed.is_empty(), "these prove nothing, for the naive proxy passes them: {passed:?}");
}
