//! What a person touches: commands, their exit codes and their words.

mod audit;
mod bench;
mod ca;
mod config_problems;
mod daemon;
mod demo;
mod run;
mod second_day;
mod sessions;
mod snapshots;
mod which_config;
