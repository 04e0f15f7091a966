//! What a trusted config has run or believed that lies in its project: read once, judged by its digest, and used
//! from copies of our own.
//!
//! A pull changes such files as easily as the config itself, and the kernel runs whatever has the name by
//! then. So nothing of the project is run or believed where it lies.

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
use super::{Config, Grant, Helper, SecretSource};
use crate::local::place::{self, PlaceError, Private};
use crate::model::hex::hex;

/// The largest file that is held, in bytes: a helper may be a program of some size.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Below the state directory.
const DIRECTORY: &str = "held";
/// Below that, where nothing ever is.
const ABSENT: &str = "absent";
/// What marks the top of a project.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// What is held of one config, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    files: BTreeMap<PathBuf, Option<File>>,
}

/// One file.
#[derive(Clone, PartialEq, Eq)]
struct File {
    sha256: String,
    bytes: Arc<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a session's secret.
        f.debug_tuple("File").field(&self.sha256).finish()
    }
}

impl Held {
    /// Reads what `config` has run or believed of its project. What cannot be held is a problem.
    pub(super) fn read(config: &Config) -> Result<Self, Vec<Problem>> {
        let project = Project::of(config);
        let mut problems = Problems::of(&config.path);
        let mut wanted = BTreeSet::new();
        for (helper, line) in helpers(config) {
            wanted.insert(helper.program.clone());
            for argument in &helper.arguments {
                match project.argument(argument) {
                    Argument::Elsewhere => {}
                    Argument::File(path) => drop(wanted.insert(path)),
                    Argument::Unheld => problems.error(
                        line,
                        "helper-unheld",
                        format!("an argument of {} reaches into the project in a way that cannot be held: {argument}", helper.program.display()),
                        "name each file by an argument of its own, and by its absolute path; or keep the helper outside of the project",
                    ),
                }
            }
        }
        wanted.extend(config.upstream.extra_roots.iter().cloned());
        wanted.extend(config.sessions.iter().filter_map(|session| session.secret.file().cloned()));
        let mut files = BTreeMap::new();
        for path in wanted.into_iter().filter(|path| project.holds(path)) {
            match read(&path) {
                Ok(file) => drop(files.insert(path, file)),
                Err(error) => {
                    problems.error(0, error.code(), error.to_string(), error.hint());
                }
            }
        }
        if problems.any_error() { Err(problems.into_sorted()) } else { Ok(Self { files }) }
    }

    /// The files, and the SHA-256 of each in hex; `None` for one that is not there.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Option<&str>)> {
        self.files.iter().map(|(path, file)| (&**path, file.as_ref().map(|file| &*file.sha256)))
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

    /// Puts copies below a state directory; where each file's copy is.
    pub(super) fn keep(&self, state_dir: &Path) -> Result<BTreeMap<PathBuf, PathBuf>, PlaceError> {
        let mut copies = BTreeMap::new();
        for (path, file) in &self.files {
            let dir = state_dir.join(DIRECTORY);
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

/// `DIR/SHA256/NAME`, so that a program is called what it was called.
fn copy(dir: &Path, path: &Path, file: &File) -> Result<PathBuf, PlaceError> {
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

fn is_as(known: place::Opened, file: &File) -> bool {
    known.read(MAX_BYTES).is_ok_and(|bytes| bytes == **file.bytes)
}

/// `None`: there is nothing, which is a state like any other.
fn read(path: &Path) -> Result<Option<File>, PlaceError> {
    match place::open(path) {
        Err(PlaceError::Absent { .. }) => Ok(None),
        Err(error) => Err(error),
        Ok(opened) => {
            let bytes = Zeroizing::new(opened.read(MAX_BYTES)?);
            let sha256 = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
            Ok(Some(File { sha256, bytes: Arc::new(bytes) }))
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

/// What an argument of a helper has to do with the project.
#[derive(Debug, PartialEq, Eq)]
enum Argument {
    Elsewhere,
    File(PathBuf),
    Unheld,
}

/// The directories that a pull may change.
struct Project(Vec<PathBuf>);

impl Project {
    /// From the name that was trusted, and from where it leads.
    fn of(config: &Config) -> Self {
        let mut tops = BTreeSet::new();
        for file in [&config.named, &config.path] {
            let dir = file.parent().unwrap_or(Path::new("/"));
            let top = top(dir);
            tops.extend(fs::canonicalize(&top));
            tops.insert(top);
        }
        Self(tops.into_iter().collect())
    }

    /// Whether a pull may change what is at `path`: it lies there, or is a name from elsewhere for what does.
    fn holds(&self, path: &Path) -> bool {
        let within = |path: &Path| self.0.iter().any(|top| path.starts_with(top));
        within(path) || fs::canonicalize(path).is_ok_and(|real| within(&real))
    }

    /// A file by its path, alone or behind `--name=`.
    fn argument(&self, argument: &str) -> Argument {
        let path = Path::new(path_in(argument));
        if path.is_absolute() && self.holds(path) {
            let plain = !path.is_dir();
            return if plain { Argument::File(path.to_owned()) } else { Argument::Unheld };
        }
        let named = |top: &PathBuf| {
            let top = top.to_string_lossy();
            top.len() > 1 && argument.contains(&*top)
        };
        if self.0.iter().any(named) { Argument::Unheld } else { Argument::Elsewhere }
    }
}

/// The directory of the project that a directory belongs to: where its version control is, or itself.
fn top(dir: &Path) -> PathBuf {
    let marked = |dir: &&Path| MARKS.iter().any(|mark| dir.join(mark).symlink_metadata().is_ok());
    dir.ancestors().find(marked).unwrap_or(dir).to_owned()
}

/// What of an argument could be a path.
fn path_in(argument: &str) -> &str {
    match argument.split_once('=') {
        Some((name, path)) if name.starts_with('-') => path,
        _ => argument,
    }
}

/// The same argument with the copy of its file in its place.
pub(super) fn with_copies(argument: String, copies: &BTreeMap<PathBuf, PathBuf>) -> String {
    let path = path_in(&argument);
    match copies.get(Path::new(path)) {
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
    fn knows_what_an_argument_reaches() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("p/.git")).unwrap();
        fs::create_dir_all(top.join("p/sub")).unwrap();
        fs::write(top.join("p/mint.sh"), "").unwrap();
        std::os::unix::fs::symlink(top.join("p/mint.sh"), top.join("link")).unwrap();
        assert_eq!(self::top(&top.join("p/sub")), top.join("p"));
        let project = Project(vec![top.join("p")]);
        let at = |name: &str| top.join(name).display().to_string();
        for (argument, file) in [
            (at("p/mint.sh"), at("p/mint.sh")),
            (format!("--script={}", at("p/mint.sh")), at("p/mint.sh")),
            (at("link"), at("link")),
            (at("p/gone"), at("p/gone")),
        ] {
            assert_eq!(project.argument(&argument), Argument::File(file.into()), "{argument}");
        }
        for unheld in
            [at("p/sub"), format!(". {}; mint", at("p/mint.sh")), format!("a={}", at("p"))]
        {
            assert_eq!(project.argument(&unheld), Argument::Unheld, "{unheld}");
        }
        for elsewhere in ["get", "/usr/bin/env", "--name=x", &at("q")] {
            assert_eq!(project.argument(elsewhere), Argument::Elsewhere, "{elsewhere}");
        }
        let copies = [(PathBuf::from(at("p/mint.sh")), PathBuf::from("/s/held/1/mint.sh"))].into();
        let with = |argument: &str| with_copies(argument.to_owned(), &copies);
        assert_eq!(with(&at("p/mint.sh")), "/s/held/1/mint.sh");
        assert_eq!(with(&format!("--script={}", at("p/mint.sh"))), "--script=/s/held/1/mint.sh");
        assert_eq!(with("get"), "get");
    }
}
