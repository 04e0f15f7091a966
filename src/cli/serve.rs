//! `serve`: the daemon, in the foreground or as `run` and `env` start it.

use std::path::Path;

use super::args::Serve;
use super::failure::{Failure, chain};
use super::{context, printer};
use crate::config::load_to_use;
use crate::daemon::{self, Options};
use crate::store::{self, helper};
use crate::telemetry;

pub(super) fn run(args: &Serve, explicit: Option<&Path>, verbose: u8) -> Result<(), Failure> {
    // What whoever started us left open is not ours, nor our helpers'.
    store::close_inherited();
    helper::keep_watch();
    if args.detached {
        // Fails only for a leader of a process group, which is as far away as we want to be.
        let _ = rustix::process::setsid();
    }
    let _logging = telemetry::log::init(verbose);
    context::warn_of_passed_over(explicit);
    let (config, warnings) =
        load_to_use(explicit, args.expect.as_deref()).map_err(context::said)?;
    printer::problems(&warnings);
    daemon::serve(Options { config, idle_exit: args.idle_exit }).map_err(|error| {
        if let daemon::Error::Policy(problems) = &error {
            printer::problems(problems);
        }
        Failure::failed(error.code(), chain(&error), error.hint())
    })
}
