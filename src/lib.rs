//! Valetkey: placeholder in, fresh token out.

pub mod audit;
pub mod cli;
pub mod config;
pub mod model;
pub mod policy;
