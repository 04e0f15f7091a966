//! What is asked on a connection, from its head to the end of its answer.

pub(super) mod body;
pub(super) mod exchange;
mod panic;
mod retry;
pub(super) mod serve;
mod step_up;
mod whole;
