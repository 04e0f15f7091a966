//! The data plane from the outside: what goes in, what comes out, what is written down.

#[cfg(feature = "hudsucker")]
mod adapter;
mod admission;
mod audit_chain;
mod audit_unavailable;
mod broker;
mod drain;
mod framing;
mod guard;
mod hpack;
mod http2;
mod lifecycle;
mod listeners;
mod live;
mod main_job;
mod observe;
mod over_blocking;
mod parent;
mod process;
mod reload;
mod revoke;
mod routes;
mod transparent;
mod upstream;
