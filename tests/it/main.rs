//! Valetkey from the outside: the built program between real sockets, a fake issuer and a fake API.
//!
//! `harness/` holds the fakes, `invariant/` the promises of the contract as checks that run against
//! any proxy (`mutant.rs` runs them against a naive one, and each must fail there), the other files
//! what the contract says about commands, clients, faults, and the shape of the source itself.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on panics and says why"
)]

mod cli;
mod clients;
mod container;
mod docs;
mod faults;
mod floors;
mod harness;
mod hostile;
mod invariant;
mod local;
mod mint;
mod mutant;
mod proxy;
mod seeds;
mod soak;
mod stream;
mod torture;
mod tree;
