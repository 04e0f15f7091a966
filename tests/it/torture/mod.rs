//! Hostile peers (HOSTILE.md B and J): whoever floods, stalls or lies hurts nobody but itself.
//!
//! `raw_h2` writes HTTP/2 frames by hand, `vitals` reads what the daemon takes from the machine.

mod descriptors;
mod fairness;
mod floods;
mod memory;
pub mod raw_h2;
mod shares;
mod slow;
mod stall;
pub mod vitals;
