//! Floor 6: the data plane. A connection comes in by the `front`, where it is admitted, tunnelled,
//! refused or intercepted; `request` serves what is asked on it, by way of [`crate::passage`];
//! `back` carries it to its upstream. `live` knows all that is under way, and ends it. Read
//! `request::serve` first.
//!
//! Every task of a connection stays on the worker that accepted it; what workers share is
//! [`Proxy`], and the config's part of that is one [`World`], swapped whole.

mod back;
pub mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshakes;
pub mod live;
mod request;
mod share;
mod shared;
mod step_ups;
mod worker;

pub use back::pool::Pool;
pub use handshakes::{Distrust, Handshakes};
pub use share::Holder;
pub use shared::{
    HANDSHAKE_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, Proxy, Stop, TUNNEL_IDLE_TIMEOUT, World,
};
pub use step_ups::StepUps;
pub use worker::Worker;
