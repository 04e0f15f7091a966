//! Placeholder until `cli` exists.
fn main() {}
