//! Valetkey: placeholder in, fresh token out.

pub mod audit;
pub mod ca;
pub mod cli;
pub mod client;
pub mod config;
pub mod model;
pub mod net;
pub mod policy;
