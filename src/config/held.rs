//! What a trusted config has run, believed or spent that lies in its project: read once, judged by
//! its digest, and used from copies of our own.
//!
//! A pull changes such files as easily as the config itself, and the kernel runs whatever has the
//! name by then. So nothing of the project is run or believed where it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::problem::{Problem, Problems};
use super::project::{Fence, Project, normal, path_in};
use super::{Config, Grant, Helper, SecretSource};
use crate::local::fence;
use crate::local::place::{self, PlaceError, Private};
use crate::model::hex::hex;

/// The largest file that is held, in bytes: a helper may be a program of some size.
const MAX_HELD: u64 = 64 * 1024 * 1024;
const HELD_FILES: &str = "held";
/// Below that, where nothing ever is.
const ABSENT: &str = "absent";

/// What is held of one config, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    files: BTreeMap<PathBuf, Option<KeptFile>>,
    project: Project,
}

/// What takes the place of a project's files in a config that is used because it was trusted.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By the file that it was made of.
    pub(super) copies: BTreeMap<PathBuf, PathBuf>,
    /// What its helpers are kept out of.
    pub(super) fence: Option<Arc<Fence>>,
}

#[derive(Clone, PartialEq, Eq)]
struct KeptFile {
    sha256: String,
    bytes: Arc<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for KeptFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a session's secret.
        f.debug_tuple("KeptFile").field(&self.sha256).finish()
    }
}

impl Held {
    /// Reads what `config` has run, believed or spent of its project. What cannot be held is a
    /// problem, and so is whatever is written elsewhere than below the state directory.
    pub(super) fn read(config: &Config) -> Result<Self, Vec<Problem>> {
        let project = Project::of(config);
        let mut problems = Problems::of(&config.path);
        let mut wanted = BTreeSet::new();
        for (helper, line) in helpers(config) {
            if project.is_everything() {
                let message =
                    "the project is the whole machine, so no helper can be kept out of it";
                let hint = "put the config into a directory of its own";
                problems.error(line, "helper-unheld", message, hint);
                continue;
            }
            match project.words(helper, fence::is_kept()) {
                Ok(files) => wanted.extend(files),
                Err(argument) => problems.error(
                    line,
                    "helper-unheld",
                    format!("a helper of a project's own config reaches into it in a way that cannot be held: {argument}"),
                    "name the program itself and each file by an argument of its own, by absolute paths and without a shell's `-c`; or keep the helper outside of the project",
                ),
            }
        }
        wanted.extend(config.upstream.extra_roots.iter().cloned());
        wanted.extend(config.policies.files.iter().map(|file| file.path.clone()));
        let credentials = config.credentials.values();
        wanted.extend(credentials.filter_map(|it| it.grant.certificate()).cloned());
        wanted.extend(config.secret_sources().filter_map(SecretSource::file).cloned());
        let mut files = BTreeMap::new();
        for path in wanted.into_iter().filter(|path| project.holds(path)) {
            if let Some(exposure) = place::exposure(&path) {
                let error = PlaceError::Exposed { path, exposure };
                problems.error(0, error.code(), error.to_string(), error.hint());
                continue;
            }
            match read(&path) {
                Ok(file) => drop(files.insert(path, file)),
                Err(error) => problems.error(0, error.code(), error.to_string(), error.hint()),
            }
        }
        let begun = |file: &KeptFile| project.is_begun_with(&file.bytes);
        for (path, _) in files.iter().filter(|(_, file)| file.as_ref().is_some_and(begun)) {
            let message =
                format!("the first line of a helper leads into the project: {}", path.display());
            problems.error(
                0,
                "helper-unheld",
                message,
                "begin the script with an interpreter of the system's, and with no file of the project",
            );
        }
        for (key, path) in outputs(config) {
            if !normal(path).starts_with(&config.state_dir) {
                let message = format!(
                    "`{key}` of a project's own config lies outside of its state directory: {}",
                    path.display()
                );
                problems.error(
                    0,
                    "output-elsewhere",
                    message,
                    "leave it out, or name a place below the state directory without `..`",
                );
            }
        }
        if problems.any_error() { Err(problems.into_sorted()) } else { Ok(Self { files, project }) }
    }

    /// The files, and the SHA-256 of each in hex; `None` for one that is not there.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Option<&str>)> {
        self.files.iter().map(|(path, file)| (&**path, file.as_ref().map(|file| &*file.sha256)))
    }

    /// The project that they are held of.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Adds to what a trusted state is told by.
    pub(super) fn digest_into(&self, context: &mut digest::Context) {
        for (path, sha256) in self.files() {
            context.update(path.as_os_str().as_bytes());
            context.update(b"\0");
            context.update(sha256.unwrap_or(ABSENT).as_bytes());
            context.update(b"\0");
        }
    }

    /// Puts copies below a state directory: what is used of the project from then on, and what is
    /// kept out of it.
    pub(super) fn kept(&self, state_dir: &Path) -> Result<Kept, PlaceError> {
        let copies = self.keep(state_dir)?;
        let project = self.project.clone();
        let fence = Fence { project, copies: copies.values().cloned().collect() };
        Ok(Kept { copies, fence: Some(Arc::new(fence)) })
    }

    /// Puts copies below a state directory; where each file's copy is.
    fn keep(&self, state_dir: &Path) -> Result<BTreeMap<PathBuf, PathBuf>, PlaceError> {
        let mut copies = BTreeMap::new();
        for (path, file) in &self.files {
            let dir = state_dir.join(HELD_FILES);
            let copy = match file {
                Some(file) => copy(&dir, path, file)?,
                // What turns up there later is not what was trusted.
                None => dir.join(ABSENT).join(path.file_name().unwrap_or_default()),
            };
            copies.insert(path.clone(), copy);
        }
        Ok(copies)
    }
}

/// Removes the copies below a state directory that none of these holds: some are secrets.
pub fn prune<'a>(state_dir: &Path, live: impl Iterator<Item = &'a Held>) -> io::Result<()> {
    let live: BTreeSet<&str> =
        live.flat_map(Held::files).filter_map(|(_, sha256)| sha256).collect();
    let entries = match fs::read_dir(state_dir.join(HELD_FILES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| !live.contains(name)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// `DIR/SHA256/NAME`, so that a program is called what it was called.
fn copy(dir: &Path, path: &Path, file: &KeptFile) -> Result<PathBuf, PlaceError> {
    let dir = dir.join(&file.sha256);
    Private::create(&dir)?;
    let copy = dir.join(path.file_name().unwrap_or_default());
    let write = || -> io::Result<()> {
        if place::open(&copy).is_ok_and(|known| is_as(known, file)) {
            return Ok(());
        }
        let mut fresh = tempfile::NamedTempFile::new_in(&dir)?;
        fresh.write_all(&file.bytes)?;
        fresh.as_file().set_permissions(fs::Permissions::from_mode(0o500))?;
        fresh.as_file().sync_all()?;
        // A name that is being run stays what it is: the new file takes its place.
        fresh.persist(&copy)?;
        Ok(())
    };
    write().map_err(|source| PlaceError::Io { path: copy.clone(), source })?;
    Ok(copy)
}

fn is_as(known: place::Opened, file: &KeptFile) -> bool {
    known.read(MAX_HELD).is_ok_and(|bytes| bytes == **file.bytes)
}

/// `None`: there is nothing, which is a state like any other.
fn read(path: &Path) -> Result<Option<KeptFile>, PlaceError> {
    match place::open(path) {
        Err(PlaceError::Absent { .. }) => Ok(None),
        Err(error) => Err(error),
        Ok(opened) => {
            let bytes = Zeroizing::new(opened.read(MAX_HELD)?);
            let sha256 = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
            Ok(Some(KeptFile { sha256, bytes: Arc::new(bytes) }))
        }
    }
}

/// All programs that a config runs, each with its line.
pub fn helpers(config: &Config) -> impl Iterator<Item = (&Helper, usize)> {
    let of_credentials = config.credentials.values().flat_map(|credential| {
        let own = match &credential.grant {
            Grant::Exec(exec) => Some(&exec.helper),
            _ => None,
        };
        let secrets = credential.grant.secrets().into_iter().filter_map(SecretSource::helper);
        own.into_iter().chain(secrets).map(|helper| (helper, credential.line))
    });
    let of_sessions = (config.sessions.iter())
        .filter_map(|session| Some((session.secret.helper()?, session.line)));
    let login = config.upstream.parent.as_ref().and_then(|parent| parent.login.as_ref());
    let of_parent = login.and_then(|login| Some((login.password.helper()?, 0)));
    of_credentials.chain(of_sessions).chain(of_parent)
}

/// What a config has written to: a project's own must not name another's trail, logins or socket,
/// nor a place that a pull may lead elsewhere.
fn outputs(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    let always: [(_, &Path); 3] = [
        ("admin.socket", &config.admin.socket),
        ("audit.path", &config.audit.path),
        ("logins.dir", &config.logins.dir),
    ];
    let published = config.ca.publish.iter().map(|dir| ("ca.publish", &**dir));
    let sockets = config.proxy.sockets.iter().map(|path| ("proxy.listen", &**path));
    always.into_iter().chain(published).chain(sockets)
}

/// The same argument with the copy of its file in its place.
pub(super) fn with_copies(argument: String, copies: &BTreeMap<PathBuf, PathBuf>) -> String {
    let path = path_in(&argument);
    match copies.get(&Path::new("/").join(path)) {
        Some(copy) => {
            let before = &argument[..argument.len() - path.len()];
            format!("{before}{}", copy.display())
        }
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_the_place_of_its_file() {
        let copies = [(PathBuf::from("/p/mint.sh"), PathBuf::from("/s/held/1/mint.sh"))].into();
        let with = |argument: &str| with_copies(argument.to_owned(), &copies);
        assert_eq!(with("/p/mint.sh"), "/s/held/1/mint.sh");
        assert_eq!(with(&format!("--script={}", "/p/mint.sh")), "--script=/s/held/1/mint.sh");
        assert_eq!(with("get"), "get");
    }
}
