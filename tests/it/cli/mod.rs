//! What a person touches: commands, their exit codes and their words.

mod ca;
mod config_problems;
mod run;
mod snapshots;
