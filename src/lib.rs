//! Valetkey: placeholder in, fresh token out.

pub mod admin;
pub mod audit;
pub mod broker;
pub mod ca;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod inject;
pub mod mint;
pub mod model;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod store;
pub mod telemetry;
