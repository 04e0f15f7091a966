//! `[policy]`: which files it names, and what stands in them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Check;
use crate::config::policies::has_star;
use crate::config::problem::{Located, Problems};
use crate::config::wording::named;
use crate::config::{Policies, PolicyFile, file};
use crate::local::place;

/// The largest file of policies that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Files that are read at most.
const MAX_FILES: usize = 1000;

/// Of all of them together.
const MAX_TOTAL: usize = 4 * 1024 * 1024;

const SUFFIX: &str = ".cedar";
const AS_IN: &str = "as in cedar = [\"policies/*.cedar\"]: a file's name ends in `.cedar`, and that name alone may hold one `*`";

impl Check<'_> {
    pub(super) fn check_policies(
        &self,
        table: file::PolicyTable,
        problems: &mut Problems,
    ) -> Policies {
        let mut policies = Policies::default();
        let mut found = BTreeSet::new();
        for text in table.cedar {
            let line = self.line(&text);
            let path = self.beside_config(PathBuf::from(text.get_ref()));
            if !is_name(&path) {
                let message = format!("`cedar` names no file of policies{}", named(text.get_ref()));
                problems.error(line, "bad-policy-file", message, AS_IN);
            } else {
                match files_of(&path) {
                    Ok(files) if files.is_empty() => {
                        let message =
                            format!("`cedar` names a file that is not there: {}", path.display());
                        let hint = "correct the name, or take it out: without any policy routes alone decide";
                        problems.error(line, "policy-file-missing", message, hint);
                    }
                    Ok(files) => found.extend(files.into_iter().map(|file| (file, line))),
                    Err(error) => self.unread(line, &path, &error.to_string(), problems),
                }
            }
            // Whatever becomes of it: policies are asked for.
            policies.named.push(Located { value: path, line });
        }
        if found.len() > MAX_FILES {
            let message =
                format!("`cedar` names {} files, and at most {MAX_FILES} are read", found.len());
            problems.error(0, "policy-too-large", message, "put several policies into one file");
            return policies;
        }
        let mut total = 0;
        for (path, line) in found {
            if policies.files.iter().any(|file| file.path == path) {
                continue;
            }
            if let Some(text) = self.policy_text(&path, line, problems) {
                total += text.len();
                policies.files.push(PolicyFile { path, text: text.into() });
            }
            if total > MAX_TOTAL {
                let message = format!("the files of `cedar` are larger than {MAX_TOTAL} bytes");
                let hint = "keep those that say something";
                problems.error(line, "policy-too-large", message, hint);
                return policies;
            }
        }
        policies
    }

    fn policy_text(&self, path: &Path, line: usize, problems: &mut Problems) -> Option<String> {
        let copy = self.held(path.to_owned());
        if copy == path && self.kept.fence.as_ref().is_some_and(|fence| fence.project.holds(path)) {
            let message =
                format!("a file of policies has come into the project: {}", path.display());
            problems.error(line, "policy-file-missing", message, "type: valetkey trust");
            return None;
        }
        let bytes = match place::open(&copy).and_then(|opened| opened.read(MAX_FILE)) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unread(line, path, &error.to_string(), problems);
                return None;
            }
        };
        let text = String::from_utf8(bytes);
        if text.is_err() {
            self.unread(line, path, "it is not UTF-8", problems);
        }
        text.ok()
    }

    fn unread(&self, line: usize, path: &Path, why: &str, problems: &mut Problems) {
        let message = format!("a file of policies cannot be read: {}: {why}", path.display());
        let hint =
            format!("it is a text in UTF-8 of at most {MAX_FILE} bytes that this user can read");
        problems.error(line, "policy-file-unreadable", message, hint);
    }
}

/// Whether it can name files of policies.
fn is_name(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let dir = path.parent().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default();
    name.is_some_and(|name| name.ends_with(SUFFIX) && name.matches('*').count() <= 1)
        && !dir.contains('*')
}

/// The file of this name, or all that its star stands for, as a shell has it: none that is hidden.
fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    if !has_star(path) {
        return Ok(if path.symlink_metadata().is_ok() {
            vec![path.to_owned()]
        } else {
            Vec::new()
        });
    }
    let (before, after) = name.split_once('*').unwrap_or((name, ""));
    let fits = |name: &str| {
        name.len() >= before.len() + after.len()
            && name.starts_with(before)
            && name.ends_with(after)
            && !name.starts_with('.')
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        // One that is no text has no name that could be said, and is not passed over.
        if fits(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::parse;
    use crate::config::problem::Problem;

    fn load(dir: &Path, cedar: &str) -> Result<Policies, Vec<Problem>> {
        let text = format!("config_version = 1\n[policy]\ncedar = {cedar}\n");
        match parse(&dir.join("valetkey.toml"), text.as_bytes(), dir.join("state")) {
            Ok((config, _)) => Ok(config.policies),
            Err(crate::config::LoadError::Invalid { problems, .. }) => Err(problems),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn names_stand_for_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        fs::create_dir(at.join("p")).unwrap();
        for name in ["b.cedar", "a.cedar", ".hidden.cedar", "a.cedar~", "notes.txt", "ab.cedar"] {
            fs::write(at.join("p").join(name), name).unwrap();
        }
        symlink("b.cedar", at.join("p/link.cedar")).unwrap();
        let names = |cedar: &str| {
            let policies = load(&at, cedar).unwrap();
            let name = |file: &PolicyFile| file.path.file_name().unwrap().to_owned();
            assert!(policies.are_asked() || policies.files.is_empty());
            policies.files.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names("[\"p/*.cedar\"]"), ["a.cedar", "ab.cedar", "b.cedar", "link.cedar"]);
        assert_eq!(names("[\"p/a*.cedar\", \"p/a.cedar\"]"), ["a.cedar", "ab.cedar"]);
        assert_eq!(names("[\"p/b.cedar\"]"), ["b.cedar"]);
        assert_eq!(names("[]"), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_no_config() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        fs::create_dir(at.join("dir.cedar")).unwrap();
        fs::write(at.join("latin.cedar"), b"// \xe9").unwrap();
        fs::write(at.join("big.cedar"), vec![b' '; MAX_FILE as usize + 1]).unwrap();
        symlink("nowhere", at.join("loose.cedar")).unwrap();
        for (cedar, code) in [
            ("[\"gone.cedar\"]", "policy-file-missing"),
            ("[\"gone/*.cedar\"]", "policy-file-missing"),
            ("[\"x*.cedar\"]", "policy-file-missing"),
            ("[\"p/*\"]", "bad-policy-file"),
            ("[\"*/x.cedar\"]", "bad-policy-file"),
            ("[\"**.cedar\"]", "bad-policy-file"),
            ("[\"\"]", "bad-policy-file"),
            ("[\"dir.cedar\"]", "policy-file-unreadable"),
            ("[\"latin.cedar\"]", "policy-file-unreadable"),
            ("[\"big.cedar\"]", "policy-file-unreadable"),
            ("[\"loose.cedar\"]", "policy-file-unreadable"),
            ("7", "wrong-type"),
        ] {
            let problems = load(&at, cedar).unwrap_err();
            assert_eq!((problems[0].code, problems[0].line), (code, 3), "{cedar}: {problems:?}");
        }
    }
}
