//! Floor 2: what the program says of itself while it runs.

pub mod log;
pub mod metrics;
