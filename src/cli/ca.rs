//! `ca show` and `ca rotate`; and the creation of the CA by `init`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::args::{Ca, CaRotate, CaShow};
use super::failure::{Failure, chain};
use super::{context, meant, printer};
use crate::ca::{Authority, CaError, Description, Opened, Rotation, Scope};
use crate::config::Config;
use crate::config::index::Whereabouts;
use crate::daemon;
use crate::model::clock::SystemClock;

pub(super) fn run(args: &Ca, explicit: Option<&Path>) -> Result<(), Failure> {
    match args {
        Ca::Rotate(args) => rotate(args, &context::config_to_use(explicit)?),
        Ca::Show(args) => show(args, &context::daemon(explicit)?.state_dir),
    }
}

/// Creates the CA where there is none yet, and says so.
pub(super) fn create(config: &Config) -> Result<(), Failure> {
    let (authority, opened) = open(config)?;
    let directory = authority.describe().directory;
    let verb = if opened == Opened::Existing {
        "there is a local CA already"
    } else {
        "created the local CA"
    };
    printer::note(&format!("{verb}: {}", directory.display()));
    if let Some(hint) = daemon::spare(hosts(config), config) {
        printer::note(&format!("a route for another host will need one more root: {hint}"));
    }
    Ok(())
}

/// For `check`: the names for which one more root will be made, and what would spare the next one.
pub(super) fn outgrown(config: &Config) -> Option<String> {
    let (ca, _) = crate::ca::show(&directory(config), SystemTime::now()).ok().flatten()?;
    if config.ca.unconstrained {
        return None;
    }
    let missing = Scope::Names(ca.permitted?).missing(&Scope::of_names(&names(config)).ok()?)?;
    if missing.is_empty() {
        return None;
    }
    let hint = daemon::spare(missing.iter().map(|name| &**name), config);
    let hint = hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    Some(format!(
        "note: one more root will be made, for {}: tools that run already keep the hosts that they had, and trust these once \
         they read their bundle anew{hint}",
        missing.join(", ")
    ))
}

fn show(args: &CaShow, state_dir: &Path) -> Result<(), Failure> {
    let dir = state_dir.join("ca");
    let (description, pem) = crate::ca::show(&dir, SystemTime::now())?.ok_or_else(|| {
        Failure::failed(
            "ca-absent",
            format!("there is no local CA yet: {}", dir.display()),
            "`valetkey init`, `run` and `serve` create it",
        )
    })?;
    if args.pem {
        printer::bytes(pem.as_bytes())
    } else if args.json {
        printer::json(&description)
    } else {
        printer::line(human(&description))
    }
}

fn rotate(args: &CaRotate, config: &Config) -> Result<(), Failure> {
    let (rotation, path) = if args.compromised {
        (Rotation::Compromised, "/v1/ca/rotate-compromised")
    } else {
        (Rotation::Planned, "/v1/ca/rotate")
    };
    let runtime = context::runtime()?;
    let description = runtime.block_on(async {
        match meant::find(&Whereabouts::of(config)).await? {
            Some(mut daemon) => Ok(daemon.post::<Description>(path).await?),
            None => rotate_here(config, rotation),
        }
    })?;
    if args.json.json {
        return printer::json(&description);
    }
    // The daemon and we describe it in the same words; what is on disk now is what it said.
    if let Some((description, _)) = crate::ca::show(&directory(config), SystemTime::now())? {
        printer::line(human(&description))?;
    }
    printer::note(if args.compromised {
        "nothing old is trusted any more: start every tool anew"
    } else {
        "nothing that runs loses trust: the old one signs to its end, and what starts from now on trusts both. Where \
         somebody may have its key: valetkey ca rotate --compromised"
    });
    Ok(())
}

fn rotate_here(config: &Config, rotation: Rotation) -> Result<Description, Failure> {
    let (authority, _) = open(config)?;
    authority.rotate(rotation)?;
    Ok(authority.describe())
}

fn open(config: &Config) -> Result<(Authority, Opened), Failure> {
    let clock = Arc::new(SystemClock);
    Ok(Authority::open(&directory(config), &config.ca, &names(config), clock)?)
}

fn hosts(config: &Config) -> impl Iterator<Item = &str> {
    config.routes.iter().map(|route| route.value.host.as_str())
}

fn names(config: &Config) -> Vec<Arc<str>> {
    hosts(config).chain(config.ca.permit.iter().map(String::as_str)).map(Arc::from).collect()
}

fn directory(config: &Config) -> PathBuf {
    config.state_dir.join("ca")
}

fn human(ca: &Description) -> String {
    let mut text = format!(
        "directory   {}\nmay sign    {}\nsuccessor   due {}",
        ca.directory.display(),
        listed(ca.permitted.as_deref()),
        ca.successor_due
    );
    for root in &ca.roots {
        let role = format!("{:?}", root.role).to_lowercase();
        text.push_str(&format!(
            "\n{role:<12}{}\n{:<12}for {}\n{:<12}until {}\n{:<12}sha256 {}",
            root.subject,
            "",
            listed(root.permitted.as_deref()),
            "",
            root.not_after,
            "",
            root.sha256
        ));
    }
    text
}

fn listed(names: Option<&[Arc<str>]>) -> String {
    names.map_or_else(|| "any name".to_owned(), |names| names.join(", "))
}

impl From<CaError> for Failure {
    fn from(error: CaError) -> Self {
        Self::failed(error.code(), chain(&error), error.hint())
    }
}
