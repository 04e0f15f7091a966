//! [`Project`]: the directories that a pull may change, and [`Fence`], by which a trusted config's
//! helpers are kept out of them.
//!
//! What a helper is told by its words is judged here, so that what it needs of its project is held.
//! What it finds by itself nobody can judge beforehand: the kernel keeps it out, where it can.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::{Config, Helper};
use crate::local::fence;

/// What marks the top of a project.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// The directories that a pull may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project(Vec<PathBuf>);

/// What the helpers of a trusted project's own config are kept out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub(super) project: Project,
    /// The copies of what is held of it, wherever they lie.
    pub(super) copies: Vec<PathBuf>,
}

impl Fence {
    /// Keeps this thread, and whatever it starts, out of the project: where the kernel can.
    pub fn keep_out(&self) -> io::Result<()> {
        if !fence::is_kept() {
            return Ok(());
        }
        fence::keep_out(&self.project.real(), &self.copies)
    }

    /// A `PATH` without what leads into the project.
    pub fn path(&self, value: &OsStr) -> OsString {
        let outside = |entry: &PathBuf| !self.project.holds(&Path::new("/").join(entry));
        // What was split can be joined.
        std::env::join_paths(std::env::split_paths(value).filter(outside)).unwrap_or_default()
    }

    /// Whether a variable's value is a way into the project that nothing shuts.
    pub fn lets_in(&self, value: &OsStr) -> bool {
        !fence::is_kept() && self.project.is_reached_by(&value.to_string_lossy())
    }
}

impl Project {
    /// From the name that was trusted, and from where it leads.
    pub(super) fn of(config: &Config) -> Self {
        let mut tops = BTreeSet::new();
        for file in [&config.named, &config.path] {
            let dir = file.parent().unwrap_or(Path::new("/"));
            let top = top(dir);
            tops.extend(fs::canonicalize(&top));
            tops.insert(top);
        }
        Self(tops.into_iter().collect())
    }

    /// Where it is, links followed.
    pub fn real(&self) -> Vec<PathBuf> {
        let real = |top: &PathBuf| fs::canonicalize(top).unwrap_or_else(|_| top.clone());
        self.0.iter().map(real).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether nothing is outside of it.
    pub(super) fn is_everything(&self) -> bool {
        self.real().iter().any(|top| top == Path::new("/"))
    }

    /// Whether a pull may change what is at `path`: the way there leads through the project, be it
    /// by a link or by names that are absent yet.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let within = |path: &PathBuf| self.0.iter().any(|top| path.starts_with(top));
        steps(path).iter().any(within)
    }

    /// The files that a command line names; or the word that reaches into the project otherwise.
    /// `kept`: the kernel keeps the helper from what no word tells.
    pub(super) fn words(&self, helper: &Helper, kept: bool) -> Result<Vec<PathBuf>, String> {
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
            } else if self.is_named_in(argument) || !(kept || self.is_plain(argument)) {
                return Err(argument.clone());
            }
        }
        Ok(files)
    }

    /// Whether no program can be led into the project by a word: it has nothing in it that is
    /// carried out or filled in, and names no directory from which one goes on.
    fn is_plain(&self, word: &str) -> bool {
        word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c))
            && !word.split('/').any(|part| part == "..")
            && !self.is_reached_by(word)
    }

    /// Whether a text names the project, or a directory above it but `/`.
    fn is_reached_by(&self, text: &str) -> bool {
        let rooted = text.find('/').map_or("", |at| &text[at..]);
        let paths =
            [text, path_in(text), rooted].into_iter().flat_map(|part| part.split([':', ',', '=']));
        let real = |path: &str| fs::canonicalize(Path::new("/").join(path)).ok();
        let reaches = |path: PathBuf| {
            path != Path::new("/")
                && self.0.iter().any(|top| top.starts_with(&path) || path.starts_with(top))
        };
        self.is_named_in(text) || paths.filter_map(real).any(reaches)
    }

    /// Whether the first line of a script leads into the project.
    pub(super) fn is_begun_with(&self, script: &[u8]) -> bool {
        let Some(line) = script.strip_prefix(b"#!") else { return false };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = OsStr::from_bytes(line).to_string_lossy();
        let within = |word: &str| self.holds(&Path::new("/").join(path_in(word)));
        line.split_ascii_whitespace().any(within) || self.is_named_in(&line)
    }

    /// Whether a text holds the project's path, however many slashes and dots are in it.
    fn is_named_in(&self, text: &str) -> bool {
        let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
        let plain = parts.collect::<Vec<_>>().join("/");
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

/// What of an argument could be a path.
pub(super) fn path_in(argument: &str) -> &str {
    match argument.split_once('=') {
        Some((name, path)) if name.starts_with('-') => path,
        _ => argument,
    }
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
pub(super) fn normal(path: &Path) -> PathBuf {
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

/// The directory of the project that a directory belongs to: the outermost that is under version
/// control, or itself.
fn top(dir: &Path) -> PathBuf {
    let marked = |dir: &&Path| MARKS.iter().any(|mark| dir.join(mark).symlink_metadata().is_ok());
    dir.ancestors().filter(marked).last().unwrap_or(dir).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project `p`, with links to it and into it beside it; and the directory that they are in.
    fn tree() -> (tempfile::TempDir, PathBuf, Project) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("p/.git")).unwrap();
        fs::create_dir_all(top.join("p/sub/.hg")).unwrap();
        fs::write(top.join("p/mint.sh"), "").unwrap();
        std::os::unix::fs::symlink(top.join("p/mint.sh"), top.join("link")).unwrap();
        std::os::unix::fs::symlink(top.join("p"), top.join("way")).unwrap();
        let project = Project(vec![top.join("p")]);
        (dir, top, project)
    }

    fn helper(program: &str, arguments: &[&str]) -> Helper {
        Helper {
            program: program.into(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![],
            timeout: std::time::Duration::from_secs(1),
            fence: None,
        }
    }

    #[test]
    fn knows_what_an_argument_reaches() {
        let (_dir, top, project) = tree();
        assert_eq!(self::top(&top.join("p/sub")), top.join("p"), "the outermost");
        let at = |name: &str| top.join(name).display().to_string();
        let words =
            |program: &str, arguments: &[&str]| project.words(&helper(program, arguments), true);
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
    }

    /// Where the kernel keeps nobody out, a word is plain or it is refused.
    #[test]
    fn takes_plain_words_where_nobody_is_kept_out() {
        let (_dir, top, project) = tree();
        let at = |name: &str| top.join(name).display().to_string();
        let word = |word: &str| project.words(&helper("/usr/bin/x", &[word]), false);
        let above = top.display().to_string();
        let dotted = at("p/mint.sh").replace("/p/", "/./p/");
        for led in [
            &above,
            &format!("-C{above}"),
            &format!("--directory={above}"),
            above.trim_start_matches('/'),
            &format!("/usr/..{above}"),
            &format!("-S{dotted}"),
            "~/p/mint.sh",
            "$HOME/p/mint.sh",
            "BEGIN{system(\"x\")}",
            ";",
            "sh x",
        ] {
            assert!(word(led).is_err(), "{led}");
        }
        for plain in ["get", "--name=x", "/usr/bin/env", "https://a.example/b?c", "/", "1:2"] {
            assert_eq!(word(plain).is_ok(), !plain.contains('?'), "{plain}");
        }
        assert!(
            project.is_reached_by(&format!("/usr/lib:{above}"))
                && !project.is_reached_by("/usr/lib:/")
        );
    }

    #[test]
    fn knows_what_leads_there() {
        let (_dir, top, project) = tree();
        let at = |name: &str| top.join(name).display().to_string();
        let fence = Fence { project: project.clone(), copies: vec![] };
        let path = format!("/usr/bin:{}:{}:/bin", at("p/bin"), at("way/bin"));
        assert_eq!(fence.path(OsStr::new(&path)), "/usr/bin:/bin");
        // The way is what counts, and not only where it ends.
        std::os::unix::fs::symlink("/bin/echo", top.join("p/echo")).unwrap();
        assert!(project.holds(&top.join("q/../p/echo")) && !project.holds(Path::new("/bin/echo")));
        let begun = |line: String| project.is_begun_with(format!("#!{line}\nrest").as_bytes());
        for line in ["p/mint.sh", "p/gone -u"].map(&at) {
            assert!(begun(line.clone()) && begun(format!(" /bin/sh {line}")), "{line}");
            assert!(
                begun(format!("/usr/bin/env -S sh {line}")) && begun(format!("/bin/sh -x{line}"))
            );
        }
        assert!(!begun("/usr/bin/env -S sh -u".to_owned()));
        assert_eq!(normal(Path::new("/s/../x/./y")), Path::new("/x/y"));
    }
}
