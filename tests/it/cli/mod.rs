//! What a person touches: commands, their exit codes and their words.

mod any_config;
mod audit;
mod bench;
mod ca;
mod check_online;
mod completions;
mod config_problems;
mod daemon;
mod demo;
mod explain_code;
mod hints;
mod run;
mod second_day;
mod sessions;
mod snapshots;
mod trusted;
mod which_config;
