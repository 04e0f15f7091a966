//! What a trusted config has run, believed or spent that lies in its project: read once, judged by its digest, and used
//! from copies of our own.
//!
//! A pull changes such files as easily as the config itself, and the kernel runs whatever has the name by
//! then. So nothing of the project is run or believed where it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
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
    /// Reads what `config` has run, believed or spent of its project. What cannot be held is a problem, and so is
    /// whatever is written elsewhere than below the state directory.
    pub(super) fn read(config: &Config) -> Result<Self, Vec<Problem>> {
        let project = Project::of(config);
        let mut problems = Problems::of(&config.path);
        let mut wanted = BTreeSet::new();
        for (helper, line) in helpers(config) {
            match project.words(helper) {
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
        let interpreters = files.values().flatten().filter_map(|file| interpreter(&file.bytes));
        for path in interpreters.filter(|path| project.holds(path)) {
            let message = format!("a helper's interpreter lies in the project: {}", path.display());
            problems.error(
                0,
                "helper-unheld",
                message,
                "begin the script with one of the system's",
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

/// Removes the copies below a state directory that none of these holds: some are secrets.
pub fn prune<'a>(state_dir: &Path, live: impl Iterator<Item = &'a Held>) -> io::Result<()> {
    let live: BTreeSet<&str> =
        live.flat_map(Held::files).filter_map(|(_, sha256)| sha256).collect();
    let entries = match fs::read_dir(state_dir.join(DIRECTORY)) {
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

/// What a config has written to: a project's own must not name another's trail, logins or socket, nor a place that
/// a pull may lead elsewhere.
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

    /// Whether a pull may change what is at `path`: the way there leads through the project, be it by a link or by
    /// names that are absent yet.
    fn holds(&self, path: &Path) -> bool {
        let within = |path: &PathBuf| self.0.iter().any(|top| path.starts_with(top));
        steps(path).iter().any(within)
    }

    /// The files that a command line names; or the word that reaches into the project otherwise.
    fn words(&self, helper: &Helper) -> Result<Vec<PathBuf>, String> {
        let program = helper.program.to_string_lossy();
        let words =
            || std::iter::once(&*program).chain(helper.arguments.iter().map(String::as_str));
        // Who is handed a text to carry out can be told to read anything.
        let carries_out = |(at, word): (usize, &str)| {
            let name =
                Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            INTERPRETERS
                .contains(&name)
                .then(|| words().skip(at + 1).find(|word| is_text_option(word)))?
        };
        if let Some(option) = words().enumerate().find_map(carries_out) {
            return Err(format!("{program} … {option} …"));
        }
        let mut files = vec![helper.program.clone()];
        for argument in &helper.arguments {
            // It is run in `/`.
            let path = Path::new("/").join(path_in(argument));
            if self.holds(&path) {
                if path.is_dir() {
                    return Err(argument.clone());
                }
                files.push(path);
            } else if self.is_named_in(argument) {
                return Err(argument.clone());
            }
        }
        Ok(files)
    }

    /// Whether a text holds the project's path, however many slashes are in it.
    fn is_named_in(&self, text: &str) -> bool {
        let plain: String =
            text.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        self.0.iter().any(|top| {
            let top = top.to_string_lossy();
            let top = top.trim_matches('/');
            !top.is_empty() && plain.contains(top)
        })
    }
}

/// Programs that carry out a text which is one of their arguments.
const INTERPRETERS: [&str; 17] = [
    "ash", "awk", "bash", "busybox", "dash", "deno", "fish", "gawk", "ksh", "lua", "node", "perl",
    "php", "python", "ruby", "sh", "zsh",
];

/// `-c`, `-lc`, `-e`, `--eval`, …
fn is_text_option(word: &str) -> bool {
    let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    short.is_some_and(|flags| flags.contains(['c', 'e', 'E', 'r', 'p']))
        || ["--eval", "--exec", "--print", "--command", "eval"]
            .iter()
            .any(|long| word.starts_with(long))
}

/// The interpreter that the first line of a script names.
fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    Some(PathBuf::from(line.split_ascii_whitespace().next()?))
}

/// Every place that the way to a path leads through: each link, and what it stands for.
fn steps(path: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let (mut at, mut found, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    while let Some(name) = names.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        found.push(at.clone());
        if let Ok(target) = fs::read_link(&at)
            && links < MAX_LINKS
        {
            links += 1;
            at.pop();
            names.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
        }
    }
    found
}

/// As many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The same path without `.` and `..`, as it is written.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The directory of the project that a directory belongs to: the outermost that is under version control, or itself.
fn top(dir: &Path) -> PathBuf {
    let marked = |dir: &&Path| MARKS.iter().any(|mark| dir.join(mark).symlink_metadata().is_ok());
    dir.ancestors().filter(marked).last().unwrap_or(dir).to_owned()
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
    fn knows_what_an_argument_reaches() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("p/.git")).unwrap();
        fs::create_dir_all(top.join("p/sub")).unwrap();
        fs::write(top.join("p/mint.sh"), "").unwrap();
        std::os::unix::fs::symlink(top.join("p/mint.sh"), top.join("link")).unwrap();
        fs::create_dir_all(top.join("p/sub/.hg")).unwrap();
        assert_eq!(self::top(&top.join("p/sub")), top.join("p"), "the outermost");
        let project = Project(vec![top.join("p")]);
        let at = |name: &str| top.join(name).display().to_string();
        let words = |program: &str, arguments: &[&str]| {
            project.words(&Helper {
                program: program.into(),
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                env: vec![],
                timeout: std::time::Duration::from_secs(1),
            })
        };
        std::os::unix::fs::symlink(top.join("p"), top.join("way")).unwrap();
        for (argument, file) in [
            (at("p/mint.sh"), at("p/mint.sh")),
            (format!("--script={}", at("p/mint.sh")), at("p/mint.sh")),
            (at("p/mint.sh").trim_start_matches('/').to_owned(), at("p/mint.sh")),
            (at("link"), at("link")),
            (at("q/../p/gone"), at("q/../p/gone")),
            (at("way/gone"), at("way/gone")),
            (at("p/gone"), at("p/gone")),
        ] {
            let found = words("/usr/bin/x", &[&argument]).unwrap();
            assert_eq!(found, [PathBuf::from("/usr/bin/x"), file.into()], "{argument}");
        }
        let doubled = at("p/mint.sh").replace("/p/", "//p//");
        for unheld in [at("p/sub"), format!(". {}; mint", at("p/mint.sh")), format!("a={doubled}")]
        {
            assert!(words("/usr/bin/x", &[&unheld]).is_err(), "{unheld}");
        }
        for text in [
            &["/bin/sh", "-c", "x"][..],
            &["/usr/bin/env", "bash", "-lc", "x"],
            &["/usr/bin/python3.11", "-c", "x"],
            &["/usr/bin/node", "--eval=x"],
        ] {
            assert!(words(text[0], &text[1..]).is_err(), "{text:?}");
        }
        for elsewhere in ["get", "/usr/bin/env", "--name=x", "-c", &at("q")] {
            assert_eq!(words("/usr/bin/x", &[elsewhere]).unwrap().len(), 1, "{elsewhere}");
        }
        // The way is what counts, and not only where it ends.
        std::os::unix::fs::symlink("/bin/echo", top.join("p/echo")).unwrap();
        assert!(project.holds(&top.join("q/../p/echo")) && !project.holds(Path::new("/bin/echo")));
        assert_eq!(interpreter(b"#! /p/x -u\nrest"), Some("/p/x".into()));
        assert_eq!(normal(Path::new("/s/../x/./y")), Path::new("/x/y"));
        let copies = [(PathBuf::from(at("p/mint.sh")), PathBuf::from("/s/held/1/mint.sh"))].into();
        let with = |argument: &str| with_copies(argument.to_owned(), &copies);
        assert_eq!(with(&at("p/mint.sh")), "/s/held/1/mint.sh");
        assert_eq!(with(&format!("--script={}", at("p/mint.sh"))), "--script=/s/held/1/mint.sh");
        assert_eq!(with("get"), "get");
    }
}
