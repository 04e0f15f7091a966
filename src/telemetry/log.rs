//! The log: one line an event, on stderr, never a secret. The audit says who did what; this says how
//! the program fares.

use tracing::level_filters::LevelFilter;

/// Starts logging. `verbose` 0: what an operator should know; 1: why a connection failed; 2: everything.
pub fn init(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // A second call (tests in one process) leaves the first one standing.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_ansi(false)
        .with_target(verbose > 0)
        // It would panic where stderr is gone, and take the daemon with it.
        .log_internal_errors(false)
        .try_init()
        .ok();
}
