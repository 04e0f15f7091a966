//! `serve`: the daemon in the foreground, or detached as `run` and `env` start it.
//!
//! What it has to say goes to stderr; a failure to start is written as every command writes its
//! own, which is how `join` reads it back from the log.

use std::io;
use std::path::Path;

use tracing::Level;

use super::args::Serve;
use super::failure::Failure;
use super::{context, printer};
use crate::config::Config;

pub(super) fn run(args: &Serve, explicit: Option<&Path>, verbose: u8) -> Result<(), Failure> {
    if args.detached {
        // Away from the caller's terminal: its Ctrl-C and its hang-up are not for us. Fails only
        // for a group leader, which no child of `run` is.
        let _ = rustix::process::setsid();
    }
    log_to_stderr(verbose);
    let (config, warnings) = context::config_and_warnings(explicit)?;
    printer::problems(&warnings);
    start(config, args)
}

fn start(_config: Config, _args: &Serve) -> Result<(), Failure> {
    Err(Failure::failed("not-built", "the daemon is not built yet", "it comes with the next merge"))
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // Fails only where there is a subscriber already.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(io::stderr)
        .try_init();
}
