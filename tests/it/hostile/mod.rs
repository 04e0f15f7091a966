//! The hostile suite: every case by its number with the tests that show it (`cases.rs`), and tests that close a class
//! of cases with generated variants where others show an example. `tests/hostile` prints it all as a table.

mod cases;
mod configs;
mod dice;
pub mod echo;
pub mod framing;
pub mod hosts;
mod http2;
mod issuer;
mod leaks;
mod many;
mod memory;
mod names;
pub mod paths;
pub mod slots;
pub mod table;
