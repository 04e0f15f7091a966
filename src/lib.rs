//! Valetkey: placeholder in, fresh token out.

pub mod config;
pub mod model;
pub mod net;
