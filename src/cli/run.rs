//! `run [--] CMD…`: CMD behind the proxy, in a session of its own that ends with it.
//!
//! Touches neither stdin nor stdout; on a terminal it offers the logins that CMD needs. Whatever
//! fails on our side is 125; else CMD's exit code.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::args::Run;
use super::environment::Environment;
use super::failure::{Exit, Failure};
use super::join::Stay;
use super::platform::Keeper;
use super::session;
use super::{child, context, decided, login, unfit, unreached};
use crate::admin::INSIDE_SESSION;
use crate::admin::wire::SessionKind;

/// How long the daemon may take to end the session before we leave; it watches our pid besides.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(
    args: &Run,
    explicit: Option<&Path>,
    verbose: u8,
    keeper: &Keeper,
) -> Result<Exit, Failure> {
    keeper.take_in_orphans();
    let ours = |failure: Failure| failure.exiting(child::OURS);
    let config = context::config_to_use(explicit).map_err(ours)?;
    context::say_which(explicit);
    let runtime = context::runtime().map_err(ours)?;
    runtime.block_on(async {
        if !args.quiet {
            login::before_run(&config, args, verbose > 0).await;
        }
        let begun = session::begin(&config, Stay::WhileUsed, SessionKind::Run, &args.purpose).await;
        let mut open = match begun {
            Err(failure) if failure.code == INSIDE_SESSION && within(args) => {
                return supervise(args, &Environment::default(), keeper).await;
            }
            begun => begun.map_err(ours)?,
        };
        if !args.quiet {
            decided::say(verbose, explicit, &config, &open);
            open.say_warnings();
            unfit::say(&args.command);
        }
        let result = supervise(args, &open.environment, keeper).await;
        if !args.quiet && matches!(result, Ok(Exit::Child(code)) if code != 0) {
            unreached::say(&mut open, &args.command).await;
        }
        let _ = timeout(CLOSE_PATIENCE, open.close()).await;
        result
    })
}

/// Whether the command of an outer `run` may go on as it is: in its session, by the variables that
/// it has, unless another one is asked for.
fn within(args: &Run) -> bool {
    let proxy = std::env::var("HTTPS_PROXY").unwrap_or_default();
    args.purpose.only.is_empty() && args.purpose.reason.is_none() && proxy.contains("//run-")
}

async fn supervise(
    args: &Run,
    environment: &Environment,
    keeper: &Keeper,
) -> Result<Exit, Failure> {
    let mut signals = child::Signals::catch()?;
    let mut running = child::spawn(&args.command, environment)?;
    keeper.forget(environment.remove.iter().map(String::as_str));
    child::wait(&mut running, &mut signals, keeper).await
}
