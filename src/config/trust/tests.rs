//! A project that changes in any way after it was trusted: what is loaded, run or believed is what
//! was trusted last.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use proptest::prelude::*;

use super::{Record, Records};
use crate::config::found::Found;
use crate::config::load::{Word, held, hold, judge, parse_named};
use crate::config::locate::{self, LocateError};
use crate::config::{Config, Grant, LoadError};

/// What a pull, or somebody with write access to the project, can do to it.
#[derive(Clone, Debug)]
enum Change {
    /// The file gets this content, in place or by another file that is renamed over it.
    Write(File, u8, bool),
    /// The file becomes a link to one outside of the project with this content.
    Link(File, u8),
    /// The file becomes another name for one outside.
    HardLink(File, u8),
    Remove(File),
    /// The project's directory is moved away, and becomes a link to another with this content.
    SwapDirectory(u8),
    /// The project's directory is what it was again.
    PutBack,
    /// Whoever owns it reads it and trusts it.
    Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Config,
    Helper,
    Roots,
}

impl File {
    fn name(self) -> &'static str {
        match self {
            Self::Config => "valetkey.toml",
            Self::Helper => "mint.sh",
            Self::Roots => "roots.pem",
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let file = prop_oneof![Just(File::Config), Just(File::Helper), Just(File::Roots)];
    let with = (file, 0..3u8);
    prop_oneof![
        (with.clone(), any::<bool>()).prop_map(|((f, n), rename)| Change::Write(f, n, rename)),
        with.clone().prop_map(|(f, n)| Change::Link(f, n)),
        with.clone().prop_map(|(f, n)| Change::HardLink(f, n)),
        with.prop_map(|(f, _)| Change::Remove(f)),
        (0..3u8).prop_map(Change::SwapDirectory),
        Just(Change::PutBack),
        Just(Change::Trust),
    ]
}

/// A project, and what is outside of it.
struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    records: Records,
    /// What was loaded of it when it was trusted last.
    trusted: Option<Loaded>,
}

/// All that matters of a config: its text, and the bytes that are run and believed.
#[derive(Debug, PartialEq, Eq)]
struct Loaded {
    text: Vec<u8>,
    helper: Option<Vec<u8>>,
    roots: Option<Vec<u8>>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir(top.join("project")).unwrap();
        fs::create_dir(top.join("outside")).unwrap();
        let records = Records { dir: Some(top.join("records")) };
        let scene = Self { _dir: dir, top, records, trusted: None };
        for file in [File::Config, File::Helper, File::Roots] {
            fs::write(scene.at(file), scene.content(file, 0)).unwrap();
        }
        scene
    }

    fn project(&self) -> PathBuf {
        self.top.join("project")
    }

    fn at(&self, file: File) -> PathBuf {
        self.project().join(file.name())
    }

    fn content(&self, file: File, number: u8) -> String {
        match file {
            File::Config => format!(
                "config_version = 1\n[upstream]\nextra_roots = [\"roots.pem\"]\n\
                 [credentials.c{number}]\ngrant = \"exec\"\ncommand = [\"{}\", \"{number}\"]\n",
                self.at(File::Helper).display()
            ),
            File::Helper | File::Roots => format!("{file:?} {number}\n"),
        }
    }

    fn outside(&self, file: File, number: u8) -> PathBuf {
        let path = self.top.join("outside").join(format!("{number}-{}", file.name()));
        fs::write(&path, self.content(file, number)).unwrap();
        path
    }

    fn apply(&mut self, change: &Change) {
        match *change {
            Change::Write(file, number, true) => {
                let next = self.top.join("next");
                fs::write(&next, self.content(file, number)).unwrap();
                let _ = fs::rename(next, self.at(file));
            }
            Change::Write(file, number, false) => {
                let _ = fs::write(self.at(file), self.content(file, number));
            }
            Change::Link(file, number) => {
                let target = self.outside(file, number);
                let _ = fs::remove_file(self.at(file));
                let _ = symlink(target, self.at(file));
            }
            Change::HardLink(file, number) => {
                let target = self.outside(file, number);
                let _ = fs::remove_file(self.at(file));
                let _ = fs::hard_link(target, self.at(file));
            }
            Change::Remove(file) => drop(fs::remove_file(self.at(file))),
            Change::SwapDirectory(number) => {
                self.apply(&Change::PutBack);
                let other = self.top.join(format!("other-{number}"));
                fs::create_dir_all(&other).unwrap();
                for file in [File::Config, File::Helper, File::Roots] {
                    fs::write(other.join(file.name()), self.content(file, number)).unwrap();
                }
                fs::rename(self.project(), self.top.join("moved")).unwrap();
                symlink(other, self.project()).unwrap();
            }
            Change::PutBack => {
                if self.project().is_symlink() {
                    fs::remove_file(self.project()).unwrap();
                    fs::rename(self.top.join("moved"), self.project()).unwrap();
                }
            }
            Change::Trust => self.trust(),
        }
    }

    fn find(&self) -> Option<Found> {
        locate::find(Some(&self.at(File::Config))).ok()
    }

    fn trust(&mut self) {
        let Some(found) = self.find() else { return };
        let Ok((config, _)) = parse_named(&found, self.top.join("state")) else { return };
        let Ok(held) = held(&config) else { return };
        self.records.allow(&found, &Record::of(&found, &held, SystemTime::UNIX_EPOCH)).unwrap();
        // Relative paths count from where the config really is.
        let [helper, roots] = [helper(&config), config.upstream.extra_roots[0].clone()]
            .map(|path| fs::read(path).ok());
        self.trusted = Some(Loaded { text: found.text, helper, roots });
    }

    /// As a daemon would load it now: what it would run and believe.
    fn load(&self) -> Option<Result<Loaded, LoadError>> {
        let found = self.find()?;
        let state = self.top.join("state");
        let judged = judge(&found, state.clone(), Word::Trust, None, &self.records);
        let config = match judged.and_then(|(config, _)| hold(config, &found)) {
            Ok(config) => config,
            Err(error) => return Some(Err(error)),
        };
        let of = |path: &Path| {
            // It lies in the project no longer, be it there or not: no later change can reach it.
            assert!(path.starts_with(&state), "{}", path.display());
            fs::read(path).ok()
        };
        let roots = of(&config.upstream.extra_roots[0]);
        Some(Ok(Loaded { text: found.text, helper: of(&helper(&config)), roots }))
    }
}

fn helper(config: &Config) -> PathBuf {
    let credential = config.credentials.values().next().unwrap();
    let Grant::Exec(exec) = &credential.grant else { panic!("an exec grant") };
    exec.helper.program.clone()
}

/// A file of policies that goes, or comes, between the judgement and the copies: less would be forbidden than was
/// trusted.
#[test]
fn policies_are_those_that_were_judged() {
    let mut scene = Scene::new();
    let policies = scene.project().join("policies");
    fs::create_dir(&policies).unwrap();
    let text = "config_version = 1\n[policy]\ncedar = [\"policies/*.cedar\"]\n";
    fs::write(scene.at(File::Config), text).unwrap();
    for name in ["a.cedar", "b.cedar"] {
        fs::write(policies.join(name), "// none\n").unwrap();
    }
    let found = scene.find().unwrap();
    let allow = |scene: &mut Scene| {
        let (config, _) = parse_named(&found, scene.top.join("state")).unwrap();
        let held = held(&config).unwrap();
        scene.records.allow(&found, &Record::of(&found, &held, SystemTime::UNIX_EPOCH)).unwrap();
    };
    allow(&mut scene);
    let judged = || judge(&found, scene.top.join("state"), Word::Trust, None, &scene.records);
    let (config, _) = judged().unwrap();
    assert_eq!(hold(config.clone(), &found).unwrap().policies.files.len(), 2);
    fs::rename(policies.join("b.cedar"), policies.join("b.off")).unwrap();
    assert!(matches!(hold(config, &found), Err(LoadError::Locate(LocateError::Changed { .. }))));
    assert!(judged().is_err(), "nor is it what was trusted");
    fs::rename(policies.join("b.off"), policies.join("b.cedar")).unwrap();
    let (config, _) = judged().unwrap();
    fs::write(policies.join("c.cedar"), "// more\n").unwrap();
    assert!(hold(config, &found).is_err());
    assert!(judged().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_loaded_that_was_not_trusted_last(
        changes in proptest::collection::vec(change(), 1..8)
    ) {
        let mut scene = Scene::new();
        prop_assert!(matches!(scene.load(), Some(Err(_))), "nobody trusted it");
        scene.trust();
        let loaded = scene.load().unwrap().ok();
        prop_assert_eq!(loaded.as_ref(), scene.trusted.as_ref(), "control");
        for change in &changes {
            scene.apply(change);
            if let Some(Ok(loaded)) = scene.load() {
                prop_assert_eq!(Some(&loaded), scene.trusted.as_ref(), "after {:?}", change);
            }
        }
        // And it can always be trusted again.
        scene.apply(&Change::PutBack);
        for file in [File::Config, File::Helper, File::Roots] {
            let _ = fs::remove_file(scene.at(file));
            fs::write(scene.at(file), scene.content(file, 1)).unwrap();
        }
        scene.trust();
        let loaded = scene.load().unwrap().ok();
        prop_assert_eq!(loaded.as_ref(), scene.trusted.as_ref(), "trusted again");
    }
}

#[test]
fn records_that_others_could_write_are_not_believed() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut scene = Scene::new();
    scene.trust();
    assert!(matches!(scene.load(), Some(Ok(_))));
    let dir = scene.top.join("records");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let Some(Err(error)) = scene.load() else { panic!("it is believed") };
    assert_eq!(error.code(), "trust-unreadable", "{error}");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let record = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    fs::write(record, "{").unwrap();
    let Some(Err(error)) = scene.load() else { panic!("it is believed") };
    assert_eq!(error.code(), "trust-unreadable", "{error}");
}
