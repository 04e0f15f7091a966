//! Valetkey: placeholder in, fresh token out.

pub mod client;
pub mod config;
pub mod model;
pub mod net;
pub mod policy;
