//! Valetkey: placeholder in, fresh token out.

pub mod audit;
pub mod config;
pub mod model;
