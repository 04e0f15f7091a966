//! `trust --list` and `trust --remove`: what of projects' own configs is trusted, and what no
//! longer.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::admin_client::AdminClient;
use super::failure::{Failure, chain};
use super::local_time::Here;
use super::table::table;
use super::{context, printer};
use crate::config::index::Whereabouts;
use crate::config::locate;
use crate::config::search::PROJECT_FILE;
use crate::config::trust::{Record, Records};
use crate::config::wording::nearest;
use crate::config::{LoadError, load_to_trust};
use crate::model::hint::config_flag;

/// One config that was trusted.
#[derive(Serialize)]
struct Trusted {
    config: String,
    since: String,
    state: TrustState,
    /// What is not as it was trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<String>,
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum TrustState {
    /// It is used as it stands.
    AsTrusted,
    /// It, or a file that it names, is another: it is not used until it is trusted again.
    Changed,
    /// Nothing has this name any more.
    Gone,
    /// It cannot be read, or does not load.
    Unreadable,
}

impl TrustState {
    fn as_words(self) -> &'static str {
        match self {
            Self::AsTrusted => "as trusted",
            Self::Changed => "changed",
            Self::Gone => "gone",
            Self::Unreadable => "unreadable",
        }
    }
}

pub(super) fn list(as_json: bool) -> Result<(), Failure> {
    let records = Records::own();
    let mut all = Vec::new();
    for record in records.all()? {
        match record {
            Ok(record) => all.push(looked_at(&records, record)),
            Err(error) => printer::warn(error.code(), &chain(&error), &error.hint()),
        }
    }
    if as_json {
        return printer::json(&all);
    }
    if all.is_empty() {
        printer::note("no project's own config is trusted");
        return Ok(());
    }
    printer::line(human(&all, &Here::new(false)).trim_start())
}

fn human(all: &[Trusted], here: &Here) -> String {
    table(["STATE", "SINCE", "CONFIG", "CHANGED"], all, |one| {
        let itself = |path: &String| *path == one.config;
        let changed = one.changed.iter();
        let changed = changed.map(|path| if itself(path) { "the config" } else { path });
        [
            one.state.as_words().to_owned(),
            here.short(&one.since),
            printer::plain(&one.config),
            printer::plain(&changed.collect::<Vec<_>>().join(", ")),
        ]
    })
}

/// What has become of what was trusted.
fn looked_at(records: &Records, record: Record) -> Trusted {
    let (state, changed) = state(records, &record);
    Trusted { config: record.named, since: record.since, state, changed }
}

fn state(records: &Records, record: &Record) -> (TrustState, Vec<String>) {
    let named = Path::new(&record.named);
    // A name that is no text was written down as one that looks like it.
    let is_its_name = records.find(named).is_ok_and(|found| found.as_ref() == Some(record));
    if !is_its_name {
        return (TrustState::Unreadable, Vec::new());
    }
    if named.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return (TrustState::Gone, Vec::new());
    }
    let itself = || vec![record.named.clone()];
    match load_to_trust(named) {
        Ok((found, _, held)) if record.is_for(&found, &held) => (TrustState::AsTrusted, Vec::new()),
        Ok((found, _, held)) => {
            let changed = record.changed(&held);
            let is_it = found.text != record.text.as_bytes() || changed.is_empty();
            let changed = changed.into_iter().chain(is_it.then(|| record.named.clone()));
            (TrustState::Changed, changed.collect())
        }
        // It is another that has mistakes, as a rule.
        Err(LoadError::Invalid { .. }) if !is_same_text(named, record) => {
            (TrustState::Changed, itself())
        }
        Err(_) => (TrustState::Unreadable, Vec::new()),
    }
}

fn is_same_text(named: &Path, record: &Record) -> bool {
    locate::find(Some(named)).is_ok_and(|found| found.text == record.text.as_bytes())
}

/// By its name, or by that of the directory that it is in, or was.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    let records = Records::own();
    let absolute = std::path::absolute(path).map_err(|error| {
        Failure::usage("path-invalid", error, "name the config as `valetkey trust --list` shows it")
    })?;
    for named in [absolute.clone(), absolute.join(PROJECT_FILE)] {
        if records.forget(&named)? {
            let shown = printer::plain(&named.display().to_string());
            printer::note(&format!("no longer trusted: {shown}"));
            return said_of_daemon(&named);
        }
    }
    let all: Vec<_> = records.all()?.into_iter().flatten().map(|record| record.named).collect();
    let shown = absolute.display().to_string();
    let meant = nearest(&shown, all.iter().map(String::as_str));
    let meant = meant.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    Err(Failure::failed(
        "not-trusted",
        format!("this is not trusted: {shown}"),
        format!("{meant}`valetkey trust --list` shows what is"),
    ))
}

/// A daemon that runs has read the config, and goes on with that.
fn said_of_daemon(named: &Path) -> Result<(), Failure> {
    let Some(Whereabouts { socket, .. }) = Whereabouts::find(named) else { return Ok(()) };
    let runs = |socket: PathBuf| async move { AdminClient::connect(&socket).await.is_ok() };
    if context::runtime()?.block_on(runs(socket)) {
        printer::warn(
            "daemon-still-runs",
            "a daemon of this config runs, and goes on with what it has read",
            &format!("end it: valetkey stop{}", config_flag(named)),
        );
    }
    Ok(())
}
