//! `run [--] CMD…`: CMD behind the proxy, in a session of its own that ends with it.
//!
//! Touches neither stdin nor stdout; on a terminal it offers the logins that are missing. Whatever fails on our side is 125; else CMD's exit code.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::args::Run;
use super::failure::{Exit, Failure};
use super::join::Stay;
use super::session::{self, Kind};
use super::{child, context, login};

/// How long the daemon may take to end the session before we leave; it watches our pid besides.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Run, explicit: Option<&Path>) -> Result<Exit, Failure> {
    let ours = |failure: Failure| failure.exiting(child::OURS);
    let config = context::config(explicit).map_err(ours)?;
    let runtime = context::runtime().map_err(ours)?;
    runtime.block_on(async {
        login::before_run(&config).await;
        let begun = session::begin(&config, Stay::WhileUsed, Kind::Run, &args.purpose).await;
        let mut open = begun.map_err(ours)?;
        open.say_warnings();
        let result = supervise(args, &open).await;
        let _ = timeout(CLOSE_PATIENCE, open.close()).await;
        result
    })
}

async fn supervise(args: &Run, open: &session::Open) -> Result<Exit, Failure> {
    let mut signals = child::Signals::catch()?;
    let mut running = child::spawn(&args.command, &open.environment)?;
    child::wait(&mut running, &mut signals).await
}
