//! The log: one line an event, on stderr, never a secret. The audit says who did what; this says
//! how the program fares.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::model::plain;

/// Lines that wait for whoever reads stderr; what comes after that is lost.
const WAITING: usize = 1024;

/// Lets the log be written to its end when dropped; waits for that no longer than a second.
#[must_use]
pub struct Logging {
    _guard: WorkerGuard,
}

/// Starts logging. `verbose` 0: what an operator should know; 1: why a connection failed; 2:
/// everything.
///
/// A thread of its own writes: a terminal that was stopped, or a pager, must not stop the proxy.
pub fn init(verbose: u8) -> Logging {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING)
        .thread_name("valetkey-log")
        .finish(io::stderr());
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // A second call (tests in one process) leaves the first one standing.
    tracing_subscriber::fmt()
        .with_writer(move || Cleaned(writer.clone()))
        .with_max_level(level)
        .with_ansi(false)
        .with_target(verbose > 0)
        // It would panic where stderr is gone, and take the daemon with it.
        .log_internal_errors(false)
        .try_init()
        .ok();
    Logging { _guard: guard }
}

/// One event, one line: what others chose in it can neither begin another nor do anything to a
/// terminal.
struct Cleaned(NonBlocking);

impl Write for Cleaned {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = plain::line(text.strip_suffix('\n').unwrap_or(&text)).into_owned() + "\n";
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
