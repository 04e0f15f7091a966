//! Whether the secrets and files that a config names can be had, as far as that shows without
//! reading a secret.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::failure::chain;
use crate::ca;
use crate::config::check::{left, parent_is_us};
use crate::config::problem::{Problem, Problems};
use crate::config::{Config, Grant, SecretSource};
use crate::local::place;
use crate::net::roots::Roots;
use crate::store;

/// What is wrong with the sources of credentials and sessions.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::of(&config.path);
    problems.place(Arc::clone(&config.places));
    for (name, credential) in &config.credentials {
        let whose = format!("credential `{name}`");
        if let Grant::Exec(exec) = &credential.grant {
            check_helper(&whose, &exec.helper.program, credential.line, &mut problems);
        }
        if let Grant::StaticKey(key) = &credential.grant
            && left(key, store::changed(&key.secret), SystemTime::now()).is_none()
        {
            problems.warn(
                credential.line,
                "static-key-outdated",
                format!("{whose}: the key is older than `max_age`, and is no longer used"),
                "make a new one at its provider, then `valetkey credential rotate NAME`",
            );
        }
        if let Some(path) = credential.grant.certificate()
            && let Err(error) = place::open(path)
        {
            let error = std::io::Error::from(error);
            let message = format!("`client_cert`: cannot read {}: {error}", path.display());
            let hint = "check the path, which is relative to the config, and its permissions";
            problems.error(credential.line, "client-cert-unreadable", message, hint);
        }
        for source in credential.grant.secrets() {
            check(&whose, source, credential.line, &mut problems);
        }
    }
    for session in &config.sessions {
        let whose = format!("session `{}`", session.name);
        check(&whose, &session.secret, session.line, &mut problems);
        check_length(&whose, &session.secret, session.line, &mut problems);
    }
    if parent_is_us(config) {
        let message = "`upstream.parent` points to Valetkey's own listener";
        problems.error(0, "parent-is-valetkey", message, "name the proxy above, or take it out");
    }
    for path in &config.upstream.extra_roots {
        if let Err(error) = Roots::check(path, ca::is_ours) {
            let message = format!("`upstream.extra_roots`: {}", chain(&error));
            problems.error(0, error.code(), message, error.hint());
        }
    }
    if let Some(login) = config.upstream.parent.as_ref().and_then(|parent| parent.login.as_ref()) {
        check("`upstream.parent`", &login.password, 0, &mut problems);
    }
    problems.into_sorted()
}

fn check(whose: &str, source: &SecretSource, line: usize, problems: &mut Problems) {
    match source {
        SecretSource::Env(name) => {
            // A warning: the daemon may have been started where it is set.
            if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
                problems.warn(
                    line,
                    "secret-variable-unset",
                    format!("{whose}: {name} is not set here"),
                    "set it where the daemon is started: before `valetkey serve`, or the first `run`",
                );
            }
        }
        SecretSource::Exec(helper) => check_helper(whose, &helper.program, line, problems),
        SecretSource::File(path) => check_file(whose, path, line, problems),
        // Whether it is there shows only to who opens the keyring.
        SecretSource::Keyring(_) => {}
        SecretSource::Systemd(name) => {
            if std::env::var_os("CREDENTIALS_DIRECTORY").is_none() {
                problems.warn(
                    line,
                    "secret-credential-unset",
                    format!("{whose}: systemd hands no credential `{name}` over here"),
                    "LoadCredential= in the unit that runs `valetkey serve`",
                );
            }
        }
    }
}

/// `serve` takes no secret of a session that could be guessed.
fn check_length(whose: &str, source: &SecretSource, line: usize, problems: &mut Problems) {
    let length = match source {
        SecretSource::Env(name) => {
            std::env::var_os(name).map(|value| value.len() as u64).filter(|length| *length > 0)
        }
        SecretSource::File(path) => {
            let meta = fs::metadata(path).ok().filter(|meta| meta.is_file());
            meta.map(|meta| meta.len()).filter(|length| *length > 0)
        }
        _ => None,
    };
    if length.is_some_and(|length| length < LEAST_SECRET) {
        let message = format!("{whose}: its secret is shorter than {LEAST_SECRET} bytes");
        let hint = "`openssl rand -hex 32` makes one that also fits into a URL";
        problems.error(line, "session-secret-unusable", message, hint);
    }
}

/// Of a session's secret, in bytes.
const LEAST_SECRET: u64 = 16;

fn check_helper(whose: &str, program: &Path, line: usize, problems: &mut Problems) {
    let runnable = fs::metadata(program).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0);
    if !runnable {
        // A warning: a recipe names programs that are not everywhere.
        problems.warn(
            line,
            "secret-helper-missing",
            format!("{whose}: there is no program {}", program.display()),
            "install it, or correct the path",
        );
    }
}

fn check_file(whose: &str, path: &Path, line: usize, problems: &mut Problems) {
    let shown = path.display();
    // Opened to see whether it may be; not read.
    if let Err(error) = place::open(path) {
        let error = std::io::Error::from(error);
        return problems.error(
            line,
            "secret-file-unreadable",
            format!("{whose}: cannot read {shown}: {error}"),
            "check the path, which is relative to the config, and its permissions",
        );
    }
    let Ok(meta) = fs::metadata(path) else { return };
    if meta.is_file() && meta.len() == 0 {
        problems.error(
            line,
            "secret-file-empty",
            format!("{whose}: {shown} is empty"),
            "write the secret into it; one newline at its end is dropped",
        );
    }
    if meta.mode() & 0o077 != 0 {
        problems.warn(
            line,
            "secret-file-permissions",
            format!("{whose}: others than its owner have access to {shown}"),
            "chmod 600 it",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn codes(source: &SecretSource) -> Vec<&'static str> {
        let mut problems = Problems::of(Path::new("/c/valetkey.toml"));
        check("credential `x`", source, 1, &mut problems);
        problems.into_sorted().iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.secret");
        let source = SecretSource::File(path.clone());
        assert_eq!(codes(&source), ["secret-file-unreadable"]);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(codes(&source), ["secret-file-empty", "secret-file-permissions"]);
        fs::write(&path, "s\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(codes(&source).is_empty());
        let unset = SecretSource::Env("VALETKEY_TEST_NEVER_SET".into());
        assert_eq!(codes(&unset), ["secret-variable-unset"]);
    }
}
