//! Whether other users of the machine could put something else in the place of what a config names,
//! and whether we could put there what we write.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::config::Config;
use crate::config::problem::{Problem, Problems};
use crate::local::place::{self, Exposure};

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::of(&config.path);
    exposed(config, &mut problems);
    unwritable(config, &mut problems);
    problems.into_sorted()
}

/// Where a daemon could not write, with the words that its start would have for it.
fn unwritable(config: &Config, problems: &mut Problems) {
    let parent = |path: &'_ Path| path.parent().map(Path::to_owned).unwrap_or_default();
    for (what, code, dir) in [
        ("the state directory", "state-dir-unwritable", config.state_dir.clone()),
        ("the directory of the audit", "audit-unreadable", parent(&config.audit.path)),
        (
            "the directory of the admin socket",
            "admin-socket-unavailable",
            parent(&config.admin.socket),
        ),
    ] {
        if let Err((at, error)) = writable(&dir) {
            let message =
                format!("{what} cannot be used: {}: {}: {error}", dir.display(), at.display());
            problems.error(0, code, message, "mend its permissions, or name another place");
        }
    }
}

/// Whether files can be made in a directory, or it itself where it is not there yet; else what is
/// in the way.
fn writable(dir: &Path) -> Result<(), (&Path, io::Error)> {
    let nearest = dir.ancestors().find(|path| path.symlink_metadata().is_ok());
    let Some(nearest) = nearest else { return Ok(()) };
    let may_write = || {
        if !std::fs::metadata(nearest)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(access(nearest, Access::WRITE_OK | Access::EXEC_OK)?)
    };
    may_write().map_err(|error| (nearest, error))
}

/// Warnings: who shares a machine with people that he trusts may mean it so.
fn exposed(config: &Config, problems: &mut Problems) {
    let mut look = |what: &str, code: &'static str, path: &Path, then: &str| {
        if let Some(exposure) = place::exposure(path) {
            problems.warn(
                0,
                code,
                message(what, path, &exposure),
                format!("{}: {then}", exposure.hint()),
            );
        }
    };
    let runs = "whoever changes it decides what is run and where secrets go";
    look("the config", "config-exposed", &config.named, runs);
    let state = "`run` and `env` refuse it: tools would be given paths in it";
    look("the state directory", "state-dir-exposed", &config.state_dir, state);
    for path in &config.upstream.extra_roots {
        let then = "whoever changes it decides whose certificates are believed";
        look("a file of `extra_roots`", "roots-exposed", path, then);
    }
    for file in &config.policies.files {
        let then = "whoever changes it decides who may do what";
        look("a file of `policy.cedar`", "policy-exposed", &file.path, then);
    }
    let outside = |path: &Path| !path.starts_with(&config.state_dir);
    for path in [&config.audit.path, &config.admin.socket].into_iter().filter(|path| outside(path))
    {
        let then = "whoever takes its name away can stand in for it";
        look("a directory of the daemon's", "place-exposed", path.parent().unwrap_or(path), then);
    }
}

fn message(what: &str, path: &Path, exposure: &Exposure) -> String {
    format!("others could put something else in the place of {what} {}: {exposure}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn says_what_others_may_replace() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let file = at.join("open/valetkey.toml");
        fs::create_dir_all(at.join("open/state")).unwrap();
        let text = "config_version = 1\n[upstream]\nextra_roots = [\"roots.pem\"]\n[admin]\nsocket = \"/nowhere/x\"\n";
        for name in ["valetkey.toml", "roots.pem"] {
            fs::write(at.join("open").join(name), text).unwrap();
        }
        let (config, _) =
            crate::config::parse(&file, text.as_bytes(), at.join("open/state")).unwrap();
        let codes = || problems(&config).iter().map(|problem| problem.code).collect::<Vec<_>>();
        assert_eq!(codes(), [""; 0]);
        fs::set_permissions(at.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(codes(), ["config-exposed", "state-dir-exposed", "roots-exposed"]);
        fs::set_permissions(at.join("open"), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(codes(), [""; 0], "nobody else can take a name away");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(codes(), ["config-exposed"]);
    }

    #[test]
    fn says_where_nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        fs::write(at.join("file"), "").unwrap();
        std::os::unix::fs::symlink(at.join("gone"), at.join("link")).unwrap();
        for (made, fine) in [
            ("", true),
            ("a/b/c", true),
            ("file", false),
            ("file/below/it", false),
            ("link", false),
            ("link/below", false),
        ] {
            assert_eq!(writable(&at.join(made)).is_ok(), fine, "{made}");
        }
    }
}
