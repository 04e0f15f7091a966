//! `init`: a commented config, the local CA, and what to do next.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::args::Init;
use super::failure::Failure;
use super::{context, printer};
use crate::config::env;
use crate::config::search::{self, By, PROJECT_FILE};
use crate::model::hint::config_flag;

/// What is written: it loads as it stands, and says what to fill in.
const CONFIG: &str = include_str!("../../config/minimal.toml");

pub(super) fn run(args: &Init, explicit: Option<&Path>) -> Result<(), Failure> {
    let path = destination(args, explicit)?;
    write_new(&path)?;
    let config = context::config_to_use(Some(&path))?;
    printer::note(&format!("wrote the config: {}", config.path.display()));
    super::ca::create(&config)?;
    let named =
        if is_found_without_naming(&path) { String::new() } else { config_flag(&config.path) };
    printer::note(&format!(
        "\nnext:\n  \
         1. edit it: fill in what is marked with <-\n  \
         2. valetkey check{named}\n  \
         3. valetkey run{named} -- YOUR-TOOL\n\
         `valetkey demo` shows the whole story without any of this"
    ));
    Ok(())
}

fn destination(args: &Init, explicit: Option<&Path>) -> Result<PathBuf, Failure> {
    let named = args.path.as_deref().or(explicit).map(Path::to_owned);
    let path = named.or_else(|| env::path(env::CONFIG)).or_else(default_path);
    path.ok_or_else(|| {
        Failure::usage(
            "config-home-missing",
            "no place for the config: neither `XDG_CONFIG_HOME` nor `HOME` is set",
            "name one: valetkey init --path valetkey.toml",
        )
    })
}

fn default_path() -> Option<PathBuf> {
    Some(env::config_home()?.join(PROJECT_FILE))
}

/// Whether later commands find it by themselves.
fn is_found_without_naming(path: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).ok();
    search::candidates(None).chosen.is_some_and(|chosen| {
        // A project's own is found as well, but not used before it is trusted.
        chosen.by != By::Project && absolute(&chosen.path) == absolute(path)
    })
}

fn write_new(path: &Path) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(CONFIG.as_bytes())
    };
    write().map_err(|error| {
        let shown = path.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::usage(
                "config-exists",
                format!("there is a config already, and it stays as it is: {shown}"),
                "edit it, or name another place with --path",
            );
        }
        Failure::failed(
            "config-unwritable",
            format!("cannot write the config: {shown}: {error}"),
            "check the directory's permissions, or name another place with --path",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::parse;
    use crate::policy::Policy;

    #[test]
    fn what_is_written_loads() {
        let (config, warnings) =
            parse(Path::new("/c/valetkey.toml"), CONFIG.as_bytes(), "/s".into()).unwrap();
        assert_eq!(warnings, []);
        assert!(Policy::compile(&config).is_ok_and(|(_, warnings)| warnings.is_empty()));
    }
}
