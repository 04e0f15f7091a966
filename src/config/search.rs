//! Which config is meant from here: the one that is named, else the nearest `valetkey.toml`
//! upwards, else the user's own.
//!
//! A directory above may be anybody's: `/tmp` is. What others could have put there is passed over,
//! or whoever may write there would decide for all below it, off-switches included. One that was
//! trusted under its name is not: it is judged by what it holds.

use std::path::{Path, PathBuf};

use super::env;
use super::trust::Records;
use crate::local::place::{self, Exposure};

/// The name of a project's own config, in its directory.
pub const PROJECT_FILE: &str = "valetkey.toml";

/// Whose word says that a config is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `--config` on the command line.
    Flag,
    /// It is the user's own.
    Home,
    /// It is the nearest upwards: a project's own.
    Project,
    /// The variable `VALETKEY_CONFIG`.
    Variable,
}

/// One that could be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its path, as it was named.
    pub path: PathBuf,
    pub by: By,
}

/// All that could be meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    pub chosen: Option<Candidate>,
    /// Those that would without it, in their order.
    pub others: Vec<Candidate>,
    /// Those above, nearer than the chosen one, that others could have put there.
    pub passed_over: Vec<(PathBuf, Exposure)>,
}

/// Everywhere that a config may stand, seen from the working directory.
pub fn candidates(explicit: Option<&Path>) -> Candidates {
    let named = |path: PathBuf, by| Candidate { path, by };
    let flag = explicit.map(|path| named(path.to_owned(), By::Flag));
    let variable = env::path(env::CONFIG).map(|path| named(path, By::Variable));
    let here = std::env::current_dir().ok();
    let mut found = upwards(here.as_deref(), own().as_deref(), &Records::own());
    let before: Vec<_> = flag.into_iter().chain(variable).collect();
    if !before.is_empty() {
        found.passed_over.clear();
    }
    let mut all = before.into_iter().chain(found.chosen).chain(found.others);
    let chosen = all.next();
    // Named or found, the same one is no other.
    let absolute = |one: &Candidate| std::path::absolute(&one.path).ok();
    let same = chosen.as_ref().and_then(absolute);
    let others = all.filter(|one| absolute(one) != same).collect();
    Candidates { chosen, others, passed_over: found.passed_over }
}

/// The user's own config, be it there or not.
pub(super) fn own() -> Option<PathBuf> {
    env::config_home().map(|dir| dir.join(PROJECT_FILE))
}

fn upwards(here: Option<&Path>, own: Option<&Path>, records: &Records) -> Candidates {
    let mut found = Candidates::default();
    let mut all = Vec::new();
    let own_dir = own.and_then(|own| own.parent()?.canonicalize().ok());
    let mut own = own.filter(|own| own.exists()).map(Path::to_owned);
    for (above, dir) in here.into_iter().flat_map(Path::ancestors).enumerate() {
        let path = dir.join(PROJECT_FILE);
        if path.symlink_metadata().is_err() {
            continue;
        }
        // Whoever stands in the directory of his own config means that.
        if own_dir.as_deref() == Some(dir) {
            all.extend(own.take().map(|path| Candidate { path, by: By::Home }));
            continue;
        }
        match place::planted(&path).filter(|_| above > 0 && !is_known(records, &path)) {
            None => all.push(Candidate { path, by: By::Project }),
            Some(exposure) if all.is_empty() => found.passed_over.push((path, exposure)),
            Some(_) => {}
        }
    }
    all.extend(own.map(|path| Candidate { path, by: By::Home }));
    let mut all = all.into_iter();
    found.chosen = all.next();
    found.others = all.collect();
    found
}

/// Whether it was ever trusted under this name. A record that is not believed is somebody else's to
/// complain of.
fn is_known(records: &Records, path: &Path) -> bool {
    !matches!(records.find(path), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    struct Tree {
        _dir: tempfile::TempDir,
        top: PathBuf,
    }

    impl Tree {
        fn with(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let tree = Self { top: dir.path().canonicalize().unwrap(), _dir: dir };
            for file in files {
                fs::create_dir_all(tree.at(file).parent().unwrap()).unwrap();
                fs::write(tree.at(file), "config_version = 1\n").unwrap();
            }
            tree
        }

        fn at(&self, name: &str) -> PathBuf {
            self.top.join(name)
        }

        fn mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        /// What is found from a directory, by the names below the top.
        fn from(&self, here: &str) -> (Option<(String, By)>, Vec<String>, Vec<String>) {
            let own = self.at("home/.config/valetkey/valetkey.toml");
            let records = Records::none();
            let found = upwards(Some(&self.at(here)), Some(&own), &records);
            let short = |path: &Path| path.strip_prefix(&self.top).unwrap().display().to_string();
            (
                found.chosen.map(|one| (short(&one.path), one.by)),
                found.others.iter().map(|one| short(&one.path)).collect(),
                found.passed_over.iter().map(|(path, _)| short(path)).collect(),
            )
        }
    }

    const OWN: &str = "home/.config/valetkey/valetkey.toml";

    #[test]
    fn the_nearest_upwards_counts() {
        let tree = Tree::with(&["home/p/valetkey.toml", "home/p/in/valetkey.toml", OWN]);
        fs::create_dir_all(tree.at("home/p/in/a/b")).unwrap();
        fs::create_dir_all(tree.at("home/q")).unwrap();
        let project = |path: &str| Some((path.to_owned(), By::Project));
        let outer = || "home/p/valetkey.toml".to_owned();
        for (here, chosen, others) in [
            ("home/p/in/a/b", project("home/p/in/valetkey.toml"), vec![outer(), OWN.to_owned()]),
            ("home/p/in", project("home/p/in/valetkey.toml"), vec![outer(), OWN.to_owned()]),
            ("home/p", project(&outer()), vec![OWN.to_owned()]),
            ("home/q", Some((OWN.to_owned(), By::Home)), vec![]),
            ("home/.config/valetkey", Some((OWN.to_owned(), By::Home)), vec![]),
        ] {
            assert_eq!(tree.from(here), (chosen, others, vec![]), "{here}");
        }
        fs::remove_file(tree.at(OWN)).unwrap();
        assert_eq!(tree.from("home/q").0, None);
    }

    /// Nobody decides for others what is used below a directory that he may write to.
    #[test]
    fn what_others_could_have_put_above_is_passed_over() {
        let tree = Tree::with(&["open/valetkey.toml", "open/in/x", OWN]);
        let own = || Some((OWN.to_owned(), By::Home));
        let planted = || vec!["open/valetkey.toml".to_owned()];
        assert_eq!(tree.from("open/in").0.unwrap().1, By::Project, "control");
        tree.mode("open", 0o777);
        assert_eq!(tree.from("open/in"), (own(), vec![], planted()));
        // Where one stands oneself it is refused aloud until it is trusted.
        assert_eq!(tree.from("open").0.unwrap().1, By::Project);
        tree.mode("open", 0o1777);
        assert_eq!(tree.from("open/in").0.unwrap().1, By::Project, "our own file in /tmp");
        tree.mode("open/valetkey.toml", 0o666);
        assert_eq!(tree.from("open/in"), (own(), vec![], planted()));
        // A link that leads nowhere is no way to have all below it fail.
        fs::remove_file(tree.at("open/valetkey.toml")).unwrap();
        symlink("nowhere", tree.at("open/valetkey.toml")).unwrap();
        tree.mode("open", 0o777);
        assert_eq!(tree.from("open/in"), (own(), vec![], planted()));
        if rustix::process::geteuid().is_root() {
            tree.mode("open", 0o1777);
            std::os::unix::fs::lchown(tree.at("open/valetkey.toml"), Some(12345), None).unwrap();
            assert_eq!(tree.from("open/in"), (own(), vec![], planted()));
            fs::remove_file(tree.at("open/valetkey.toml")).unwrap();
            fs::write(tree.at("open/valetkey.toml"), "").unwrap();
            std::os::unix::fs::chown(tree.at("open/valetkey.toml"), Some(12345), None).unwrap();
            assert_eq!(tree.from("open/in"), (own(), vec![], planted()));
        }
    }
}
