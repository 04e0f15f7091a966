//! What most commands begin with: the config, loaded, its problems said.

use std::path::Path;

use super::failure::{Failure, chain};
use super::printer;
use crate::config::Config;
use crate::config::problem::Problem;
use crate::config::{LoadError, load, load_to_use};

/// The config. Its errors are printed, all of them; warnings are left to `check` and `serve`.
pub(super) fn config(explicit: Option<&Path>) -> Result<Config, Failure> {
    Ok(config_and_warnings(explicit)?.0)
}

/// The config and its warnings.
pub(super) fn config_and_warnings(
    explicit: Option<&Path>,
) -> Result<(Config, Vec<Problem>), Failure> {
    load(explicit).map_err(said)
}

/// The config for whoever reads its secrets or writes to its state: nothing but what was judged is used.
pub(super) fn config_to_use(explicit: Option<&Path>) -> Result<Config, Failure> {
    Ok(load_to_use(explicit, None).map_err(said)?.0)
}

/// All problems are printed; what is left is why that is the end.
pub(super) fn said(error: LoadError) -> Failure {
    if let LoadError::Invalid { problems, .. } = &error {
        printer::problems(problems);
    }
    error.into()
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::usage(error.code(), chain(&error), error.hint())
    }
}

/// A runtime for one command: one thread, no more than it takes to talk to the daemon.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::failed(
            "runtime-unavailable",
            chain(&error),
            "the system refused a resource: check `ulimit -n`",
        )
    })
}
