//! What most commands begin with: the config, loaded, its problems said.

use std::path::Path;
use std::sync::Once;

use super::failure::{Failure, chain};
use super::printer;
use crate::config::Config;
use crate::config::index::Whereabouts;
use crate::config::locate::{LocateError, StateError};
use crate::config::problem::Problem;
use crate::config::search::{self, By};
use crate::config::{LoadError, load, load_to_use};
use crate::config::{env, locate};
use crate::local::place::{self, PlaceError, Private};

/// The config. Its errors are printed, all of them; warnings are left to `check` and `serve`.
pub(super) fn config(explicit: Option<&Path>) -> Result<Config, Failure> {
    Ok(config_and_warnings(explicit)?.0)
}

/// Where the daemon of a config is, and what it wrote: for what manages one that runs, or reads its
/// trail. No config needs to load for that, nor to be trusted: an off-switch works whatever else is
/// broken.
pub(super) fn daemon(explicit: Option<&Path>) -> Result<Whereabouts, Failure> {
    warn_of_passed_over(explicit);
    let named = locate::name(explicit)?;
    // It would lead to a daemon that nobody here has named.
    if let Some(exposure) = place::foreign_link(&named) {
        return Err(LocateError::exposed(named, exposure).into());
    }
    // A state directory that is named says more than what is known of a config.
    let elsewhere = |entry: &Whereabouts| {
        env::path(env::STATE_DIR)
            .is_some_and(|dir| std::path::absolute(dir).is_ok_and(|dir| dir != entry.state_dir))
    };
    match (Whereabouts::find(&named).filter(|entry| !elsewhere(entry)), load(explicit)) {
        (Some(entry), _) => Ok(entry),
        (None, Ok((config, _))) => Ok(Whereabouts::of(&config)),
        // Where it would be, if the config said nothing of that.
        (None, Err(error)) => {
            let real = std::fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
            let state_dir = locate::state_dir(&real)?;
            if !state_dir.join(SOCKET).exists() {
                return Err(said(error));
            }
            Ok(Whereabouts {
                config: named,
                socket: state_dir.join(SOCKET),
                audit: state_dir.join(AUDIT),
                state_dir,
                ..Whereabouts::default()
            })
        }
    }
}

/// The same for whoever reads what it wrote: a directory that another user put there is not its.
pub(super) fn own_daemon(explicit: Option<&Path>) -> Result<Whereabouts, Failure> {
    let place = daemon(explicit)?;
    match Private::open(&place.state_dir) {
        Ok(_) | Err(PlaceError::Absent { .. }) => Ok(place),
        Err(error) => {
            let error = StateError::from(error);
            Err(Failure::failed(error.code(), chain(&error), error.hint()))
        }
    }
}

/// As `admin.socket` is by default.
const SOCKET: &str = "admin.sock";
/// As `audit.path` is by default.
const AUDIT: &str = "audit.jsonl";

/// The config and its warnings.
pub(super) fn config_and_warnings(
    explicit: Option<&Path>,
) -> Result<(Config, Vec<Problem>), Failure> {
    warn_of_passed_over(explicit);
    load(explicit).map_err(said)
}

/// The config where it loads; whoever does without says nothing of what is wrong with it.
pub(super) fn config_quietly(explicit: Option<&Path>) -> Option<Config> {
    load(explicit).ok().map(|(config, _)| config)
}

/// The config for whoever reads its secrets or writes to its state: nothing but what was judged is
/// used.
pub(super) fn config_to_use(explicit: Option<&Path>) -> Result<Config, Failure> {
    warn_of_passed_over(explicit);
    Ok(load_to_use(explicit, None).map_err(said)?.0)
}

/// Says which config is used, in one line, where another one could have been meant and nobody has
/// typed which.
pub(super) fn say_which(explicit: Option<&Path>) {
    let found = search::candidates(explicit);
    let (Some(chosen), [other, rest @ ..]) = (found.chosen, found.others.as_slice()) else {
        return;
    };
    let why = match chosen.by {
        By::Flag => return,
        By::Home => "your own",
        By::Project => "the nearest",
        By::Variable => "VALETKEY_CONFIG names it",
    };
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    printer::note(&format!(
        "config: {} ({why}), not {}{more}",
        chosen.path.display(),
        other.path.display()
    ));
}

/// Says once which configs above are not looked at.
pub(super) fn warn_of_passed_over(explicit: Option<&Path>) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        for (path, exposure) in search::candidates(explicit).passed_over {
            let path = path.display();
            printer::warn(
                "config-passed-over",
                &format!("a config above is not used, for others could have put it there: {path}: {exposure}"),
                &format!("where it is meant: valetkey trust {path}, or --config {path}"),
            );
        }
    });
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
