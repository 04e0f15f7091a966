//! Valetkey: placeholder in, fresh token out.

pub mod ca;
pub mod config;
pub mod model;
