//! Loads a config: finds its text, checks it, and says why there is none; at the start and again.

use std::path::{Path, PathBuf};

use super::check::parse;
use super::locate::{self, LocateError};
use super::problem::Problem;
use super::{Config, trust};

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The text has errors; warnings are in the list too.
    #[error("the config has errors: {path}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
        /// What could be read in spite of them, to be looked at further and never to be used.
        readable: Option<Box<Config>>,
    },
    /// There is no text.
    #[error(transparent)]
    Locate(#[from] LocateError),
}

impl LoadError {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "config-invalid",
            Self::Locate(error) => error.code(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Invalid { .. } => "`valetkey check` lists all problems".into(),
            Self::Locate(error) => error.hint(),
        }
    }
}

/// Finds, reads and checks the config; warnings come with it.
pub fn load(explicit: Option<&Path>) -> Result<(Config, Vec<Problem>), LoadError> {
    let found = locate::find(explicit)?;
    let state_dir = locate::state_dir(&found.path)?;
    let (mut config, problems) = parse(&found.path, &found.text, state_dir)?;
    config.named = found.named;
    Ok((config, problems))
}

/// What a config is read again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody asked for it, who may use this config.
    Asked,
    /// Its file changed: a project's own config must have been trusted as it is now.
    Noticed,
}

/// Reads the config of a daemon again. State stays where it is for the life of a daemon.
pub fn reload(running: &Config, trigger: Trigger) -> Result<(Config, Vec<Problem>), LoadError> {
    let found = locate::find(Some(&running.named))?;
    if trigger == Trigger::Noticed
        && trust::governs(&found.path)
        && !trust::is_trusted(&found.path, &found.text)
    {
        return Err(LocateError::Untrusted { path: found.path }.into());
    }
    let (mut config, problems) = parse(&found.path, &found.text, running.state_dir.clone())?;
    config.named.clone_from(&running.named);
    Ok((config, problems))
}
