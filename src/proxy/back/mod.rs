//! Towards upstreams: what is sent, on which connection, and what comes back.

pub(super) mod drained;
mod http2;
pub(super) mod lent;
pub(super) mod pool;
pub(super) mod reply;
pub(super) mod tunnel;
pub(super) mod upgrade;
pub(super) mod upload;
pub(super) mod upstream;
