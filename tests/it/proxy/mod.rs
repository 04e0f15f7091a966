//! The data plane from the outside: what goes in, what comes out, what is written down.

#[cfg(feature = "hudsucker")]
mod adapter;
mod admission;
mod attribution;
mod audit_chain;
mod audit_unavailable;
mod broker;
mod circle;
mod crossing;
mod drain;
mod framing;
mod guard;
mod hpack;
mod http2;
mod lifecycle;
mod limits;
mod listeners;
mod live;
mod main_job;
pub(crate) mod observe;
mod over_blocking;
mod parent;
mod placeholders;
mod policies;
mod process;
mod refusals;
mod reload;
mod revoke;
mod revoke_reload;
mod routes;
mod sidecar;
mod tls;
mod tls_faults;
mod transparent;
mod upstream;
