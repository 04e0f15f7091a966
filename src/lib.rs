//! Valetkey: placeholder in, fresh token out.

pub mod broker;
pub mod config;
pub mod mint;
pub mod model;
pub mod net;
pub mod store;
