//! The invariants of the contract as checks over a [`Stage`], by number.
//!
//! Each check runs against Valetkey as a test of its own, and `mutant.rs` runs the same function
//! against the naive proxy, where it must be violated.

use std::pin::Pin;

use crate::harness::stage::{Stage, Verdict};
use crate::hostile::{echo, framing, hosts, paths, slots};

mod i10_mint_failure;
mod i11_bounded;
mod i12_alone;
mod i13_silent;
mod i14_constrained;
mod i1_one_authority;
mod i2_no_cleartext;
mod i4_judged_is_sent;
mod i5_owned_slots;
mod i6_nothing_comes_back;
mod i7_no_crossing;
mod i8_judged_again;
mod i9_no_audit;

type Check = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// One check and where it belongs.
pub struct Named {
    pub invariant: &'static str,
    pub name: &'static str,
    pub check: Check,
}

/// Names the checks of one invariant, and makes each a test against Valetkey.
macro_rules! invariant {
    ($invariant:literal: $($check:ident),+ $(,)?) => {
        pub const CHECKS: &[$crate::invariant::Named] = &[$($crate::invariant::Named {
            invariant: $invariant,
            name: stringify!($check),
            check: |stage| Box::pin($check(stage)),
        }),+];

        mod holds {
            $(#[tokio::test]
            async fn $check() {
                let mut stage = $crate::harness::stage::Stage::valetkey().await;
                let verdict = super::$check(&mut stage).await;
                let said = stage.running().map(|r| r.stderr_text()).unwrap_or_default();
                if let Err(violation) = verdict {
                    panic!("{} violated: {violation}\n--- stderr\n{said}", $invariant);
                }
            })+
        }
    };
}
pub(crate) use invariant;

/// All of them.
pub fn checks() -> impl Iterator<Item = &'static Named> {
    [
        i1_one_authority::CHECKS,
        i2_no_cleartext::CHECKS,
        i4_judged_is_sent::CHECKS,
        i5_owned_slots::CHECKS,
        i6_nothing_comes_back::CHECKS,
        i7_no_crossing::CHECKS,
        i8_judged_again::CHECKS,
        i9_no_audit::CHECKS,
        i10_mint_failure::CHECKS,
        i11_bounded::CHECKS,
        i12_alone::CHECKS,
        i13_silent::CHECKS,
        i14_constrained::CHECKS,
        hosts::CHECKS,
        framing::CHECKS,
        slots::CHECKS,
        paths::CHECKS,
        echo::CHECKS,
    ]
    .into_iter()
    .flatten()
}
