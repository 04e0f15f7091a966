//! Loads a config: finds its text, checks it, and says why there is none; at the start and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::check::{parse, parse_with};
use super::found::Found;
use super::held::{Held, helpers};
use super::locate::{self, LocateError, StateError};
use super::problem::{Problem, Problems};
use super::search;
use super::trust::{self, Records};
use crate::local::fence;
use crate::local::place::{self, PlaceError};

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The text has errors; warnings are in the list too.
    #[error("the config has errors: {path}", path = path.display())]
    Invalid {
        path: PathBuf,
        problems: Vec<Problem>,
        /// What could be read in spite of them, to be looked at further and never to be used.
        readable: Option<Box<Config>>,
    },
    /// There is no text to read problems from.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// What it has run or believed of its project cannot be kept apart from it.
    #[error("cannot keep copies of the project's files")]
    NotHeld(#[from] PlaceError),
    /// Its state has no place.
    #[error(transparent)]
    State(#[from] StateError),
}

impl LoadError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "config-invalid",
            Self::Locate(error) => error.code(),
            Self::NotHeld(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::Invalid { .. } => "`valetkey check` lists all problems".into(),
            Self::Locate(error) => error.hint(),
            Self::NotHeld(error) => error.hint(),
            Self::State(error) => error.hint(),
        }
    }
}

/// Whose word a config is used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Whoever names it: what he reads there is his own affair.
    Own,
    /// What was trusted under its name, and nothing else.
    Trust,
}

/// Finds, reads and checks the config; warnings come with it.
pub fn load(explicit: Option<&Path>) -> Result<(Config, Vec<Problem>), LoadError> {
    let found = locate::find(explicit)?;
    judge(&found, locate::state_dir(&found.path)?, word(&found), None, &Records::own())
}

/// The config of a daemon, or of a command that reads secrets: what it has run or believed of its
/// project are copies, so that it stays what was judged; and where others could put something else
/// in the place of its state directory, all of its paths are by the descriptor of the one that was
/// judged. `expected`: the digest of what whoever starts us has judged; nothing else is loaded.
pub fn load_to_use(
    explicit: Option<&Path>,
    expected: Option<&str>,
) -> Result<(Config, Vec<Problem>), LoadError> {
    let found = locate::find(explicit)?;
    let state = Arc::new(locate::open_state(&locate::state_dir(&found.path)?)?);
    let state_dir = match state.exposure() {
        None => state.path().to_owned(),
        Some(_) => state.anchor(),
    };
    let (mut config, problems) = judge(&found, state_dir, word(&found), expected, &Records::own())?;
    config.state = Some(state);
    config.unexposed = place::exposure(&found.named).is_none();
    Ok((hold(config, &found)?, problems))
}

/// Reads the config of a daemon again, by the name that it was loaded by. State stays where it is
/// for the life of a daemon. A config that was used because it was trusted has to be for as long;
/// one whose name was ever trusted, unless somebody asks for the very one that he has read
/// (`expected`). So it is with its place: where nobody else could put another config when this one
/// was taken up, none that somebody else could have put there is.
pub fn reload(
    running: &Config,
    expected: Option<&str>,
) -> Result<(Config, Vec<Problem>), LoadError> {
    let found = locate::find(Some(&running.named))?;
    let records = Records::own();
    let known = || records.find(&found.named).map_err(LocateError::from);
    let governed = running.held.is_some() || (expected.is_none() && known()?.is_some());
    let word = if governed { Word::Trust } else { Word::Own };
    if running.unexposed
        && word == Word::Own
        && expected.is_none()
        && let Some(exposure) = place::exposure(&found.named)
    {
        return Err(LocateError::exposed(found.named, exposure).into());
    }
    let (mut config, problems) =
        judge(&found, running.state_dir.clone(), word, expected, &records)?;
    config.state.clone_from(&running.state);
    config.unexposed = running.unexposed;
    Ok((hold(config, &found)?, problems))
}

/// A project's own config, to be looked at by whoever is asked to trust it.
pub fn load_to_trust(path: &Path) -> Result<(Found, Config, Held), LoadError> {
    let found = locate::find(Some(path))?;
    // A person is to read it.
    if found.text.len() > MAX_PROJECT {
        let (path, source_path) = (found.named.clone(), found.named);
        let source = PlaceError::TooLarge { path: source_path, most: MAX_PROJECT as u64 };
        return Err(LocateError::Unreadable { path, source }.into());
    }
    let (config, _) = parse_named(&found, locate::state_dir(&found.path)?)?;
    let held = held(&config)?;
    Ok((found, config, held))
}

/// The largest config that can be trusted, in bytes: some 3,000 routes.
const MAX_PROJECT: usize = 1024 * 1024;

fn word(found: &Found) -> Word {
    if found.is_project { Word::Trust } else { Word::Own }
}

/// One reading of one text: what is returned is what was judged.
pub(super) fn judge(
    found: &Found,
    state_dir: PathBuf,
    word: Word,
    expected: Option<&str>,
    records: &Records,
) -> Result<(Config, Vec<Problem>), LoadError> {
    let record = records.find(&found.named).map_err(LocateError::from)?;
    let untrusted = |changed| LocateError::Untrusted { path: found.named.clone(), changed };
    let (config, problems) = match record {
        None if word == Word::Trust => return Err(untrusted(Vec::new()).into()),
        Some(record) if !record.has_text(found) && word == Word::Trust => {
            return Err(untrusted(vec![search::PROJECT_FILE.to_owned()]).into());
        }
        Some(record) if record.has_text(found) => {
            let (mut config, mut problems) = parse_named(found, state_dir)?;
            let held = held(&config)?;
            if record.is_for(found, &held) {
                config.digest = trust::digest_of(found, &held);
                config.held = Some(held);
                problems.extend(unfenced(&config));
            } else if word == Word::Trust {
                let mut changed = record.changed(&held);
                if changed.is_empty() {
                    changed.push("its place".to_owned());
                }
                return Err(untrusted(changed).into());
            }
            (config, problems)
        }
        _ => parse_named(found, state_dir)?,
    };
    if expected.is_some_and(|expected| expected != config.digest) {
        return Err(LocateError::Changed { path: found.named.clone() }.into());
    }
    Ok((config, problems))
}

/// Said where the kernel can keep no helper out of its project.
fn unfenced(config: &Config) -> Option<Problem> {
    let (_, line) = helpers(config).next().filter(|_| !fence::is_kept())?;
    let mut problems = Problems::of(&config.path);
    problems.warn(line, UNFENCED, UNFENCED_SAYS, UNFENCED_HINT);
    problems.into_sorted().pop()
}

/// The stable word of it.
pub const UNFENCED: &str = "helper-unfenced";
pub const UNFENCED_SAYS: &str = "this kernel cannot keep helpers out of the project (no Landlock): what a helper opens there by itself is not what was trusted";
/// What to do about it.
pub const UNFENCED_HINT: &str = "run it where Landlock is (Linux 5.13, and a container's seccomp filter that allows it), or keep helpers that read nothing of the project";

pub(super) fn parse_named(
    found: &Found,
    state_dir: PathBuf,
) -> Result<(Config, Vec<Problem>), LoadError> {
    let (mut config, problems) = parse(&found.path, &found.text, state_dir)?;
    config.named.clone_from(&found.named);
    Ok((config, problems))
}

/// What a config has run or believed of its project.
pub(super) fn held(config: &Config) -> Result<Held, LoadError> {
    Held::read(config).map_err(|problems| LoadError::Invalid {
        path: config.path.clone(),
        problems,
        readable: None,
    })
}

/// The same config with copies in the place of what it holds.
pub(super) fn hold(config: Config, found: &Found) -> Result<Config, LoadError> {
    let Some(held) = &config.held else { return Ok(config) };
    let kept = held.kept(&config.state_dir)?;
    let (copied, _) = parse_with(&found.path, &found.text, config.state_dir.clone(), &kept)?;
    let paths = |config: &Config| {
        config.policies.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>()
    };
    if paths(&copied) != paths(&config) {
        // One has gone or come since they were judged.
        return Err(LocateError::Changed { path: found.named.clone() }.into());
    }
    let Config { named, digest, held, state, unexposed, .. } = config;
    Ok(Config { named, digest, held, state, unexposed, ..copied })
}
