//! Helpers and sources of secrets: what is run is named by an absolute path, and how its output is
//! read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Check;
use super::tables::parse_duration;
use crate::config::problem::Problems;
use crate::config::{Exec, ExecFormat, Helper, Pointer, SecretSource, file, held};
use crate::local::place;

/// A mint may take 10 s in all, so no helper gets more.
const MOST: Duration = Duration::from_secs(10);

impl Check<'_> {
    pub(super) fn secret(
        &self,
        source: file::SecretTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<SecretSource> {
        Some(match source {
            file::SecretTable::Env(name) => SecretSource::Env(name),
            file::SecretTable::Exec(helper) => {
                SecretSource::Exec(Box::new(self.helper(helper, line, problems)?))
            }
            file::SecretTable::File(path) => {
                SecretSource::File(self.held(self.beside_config(path)))
            }
            file::SecretTable::Keyring(name) => {
                if name.is_empty() || name.contains('\0') {
                    let message = "`keyring` takes the name of an item";
                    let hint = "what stands after `username` where it is stored: `secret-tool store --label=NAME service valetkey username NAME`";
                    problems.error(line, "bad-secret-source", message, hint);
                    return None;
                }
                SecretSource::Keyring(name)
            }
            file::SecretTable::Systemd(name) => {
                if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
                    let message = "`systemd` takes the name of a credential";
                    let hint = "the name before the colon of LoadCredential=";
                    problems.error(line, "bad-secret-source", message, hint);
                    return None;
                }
                SecretSource::Systemd(name)
            }
        })
    }

    pub(super) fn exec(
        &self,
        table: file::ExecTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Exec> {
        let format = exec_format(&table, line, problems);
        let helper =
            file::HelperTable { command: table.command, env: table.env, timeout: table.timeout };
        Some(Exec { helper: self.helper(helper, line, problems)?, format: format? })
    }

    fn helper(
        &self,
        table: file::HelperTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Helper> {
        let mut command = table.command.into_iter();
        let program = PathBuf::from(command.next().unwrap_or_default());
        let arguments: Vec<_> = command.collect();
        let plain = |text: &str| !text.contains('\0');
        if !program.is_absolute() || !arguments.iter().all(|a| plain(a)) {
            // A name would be looked up in PATH, and whoever can change that could mint.
            let message = "`command` does not start with the absolute path of a program";
            problems.error(
                line,
                "bad-helper",
                message,
                "for example [\"/usr/bin/pass\", \"show\", \"api\"]",
            );
            return None;
        }
        if let Some(name) = table.env.iter().find(|n| n.is_empty() || n.contains(['=', '\0'])) {
            let message = format!("`env` takes names of variables, not values: `{}`", shown(name));
            problems.error(
                line,
                "bad-helper",
                message,
                "the value is taken from the daemon's own environment",
            );
            return None;
        }
        let timeout = match table.timeout.as_deref().map(|text| parse_duration(text, 1)) {
            None => MOST,
            Some(Ok(timeout)) if timeout <= MOST => timeout,
            Some(_) => {
                let message = "`timeout` of a helper is from 1s to 10s";
                problems.error(line, "bad-duration", message, "a mint may take 10s in all");
                return None;
            }
        };
        warn_of_writable(&program, line, problems);
        let program = self.held(program);
        let with_copies = |argument| held::with_copies(argument, &self.kept.copies);
        let arguments = arguments.into_iter().map(with_copies).collect();
        Some(Helper {
            program,
            arguments,
            env: table.env.into_iter().collect(),
            timeout,
            fence: self.kept.fence.clone(),
        })
    }
}

/// What stands before `=`: the value may be a secret.
fn shown(name: &str) -> &str {
    name.split('=').next().unwrap_or_default()
}

/// Whoever may change the program, or put another in its place, may mint; a warning, for containers
/// build as they like.
fn warn_of_writable(program: &Path, line: usize, problems: &mut Problems) {
    let Some(exposure) = place::exposure(program) else { return };
    let message = format!("others may change the helper {}: {exposure}", program.display());
    let hint = format!("{}: whoever changes it can mint", exposure.hint());
    problems.warn(line, "helper-writable", message, hint);
}

fn exec_format(
    table: &file::ExecTable,
    line: usize,
    problems: &mut Problems,
) -> Option<ExecFormat> {
    let json = table.format == file::OutputFormat::Json;
    if !json && (table.token.is_some() || table.expires.is_some()) {
        let message = "`token` and `expires` belong to `format = \"json\"`";
        problems.error(line, "bad-format", message, "add it, or take them out");
        return None;
    }
    if (table.format == file::OutputFormat::Git) != table.url.is_some() {
        let message = "`url` and `format = \"git\"` belong together";
        problems.error(line, "bad-format", message, "for example url = \"https://git.example\"");
        return None;
    }
    Some(match table.format {
        file::OutputFormat::Aws => {
            let message = "`format = \"aws\"` gives the session token alone, and AWS's own services want a signature";
            let hint =
                "for those, let the tool sign with its own keys on a route without a credential";
            problems.warn(line, "aws-session-token", message, hint);
            ExecFormat::Aws
        }
        file::OutputFormat::Git => git(table.url.as_deref().unwrap_or_default(), line, problems)?,
        file::OutputFormat::Json => ExecFormat::Json {
            token: pointer("token", table.token.as_deref(), "/access_token", line, problems)?,
            expires: pointer("expires", table.expires.as_deref(), "/expires_in", line, problems)?,
        },
        file::OutputFormat::Kubectl => ExecFormat::Kubectl,
        file::OutputFormat::Plain => ExecFormat::Plain,
    })
}

/// A pointer from config, or the usual one.
pub(super) fn pointer(
    key: &str,
    text: Option<&str>,
    usual: &'static str,
    line: usize,
    problems: &mut Problems,
) -> Option<Pointer> {
    let Some(text) = text else { return Some(Pointer::known(usual)) };
    let pointer = Pointer::parse(text);
    if pointer.is_none() {
        let message = format!("`{key}` takes a JSON pointer");
        problems.error(line, "bad-pointer", message, "RFC 6901: for example \"/data/token\"");
    }
    pointer
}

fn git(url: &str, line: usize, problems: &mut Problems) -> Option<ExecFormat> {
    let visible = url.bytes().all(|b| (0x21..0x7f).contains(&b));
    let uri: Option<http::Uri> = url.parse().ok().filter(|_| visible);
    let host = uri.as_ref().and_then(|uri| uri.authority()).filter(|a| !a.as_str().contains('@'));
    let (Some(uri), Some(host)) = (&uri, host) else {
        let message = "`url` of a git credential helper is not an https URL without a user";
        problems.error(line, "bad-endpoint", message, "for example url = \"https://git.example\"");
        return None;
    };
    if uri.scheme_str() != Some("https") {
        problems.error(
            line,
            "bad-endpoint",
            "`url` must be https",
            "for example url = \"https://git.example\"",
        );
        return None;
    }
    let path = uri.path().trim_start_matches('/').to_owned();
    Some(ExecFormat::Git { protocol: "https".into(), host: host.to_string(), path })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, load};
    use crate::config::{ExecFormat, Grant, SecretSource};

    fn config(credential: &str) -> String {
        format!(
            "config_version = 1\n[credentials.x]\n{credential}\n[[routes]]\nname = \"x\"\nhost = \"api.x.example\"\ncredential = \"x\"\n"
        )
    }

    #[test]
    fn what_is_run_is_absolute_and_bounded() {
        for (keys, code) in [
            ("command = []", "bad-helper"),
            ("command = [\"pass\"]", "bad-helper"),
            ("command = [\"./pass\"]", "bad-helper"),
            ("command = [\"/bin/x\"]\nenv = [\"A=hunter2\"]", "bad-helper"),
            ("command = [\"/bin/x\"]\ntimeout = \"11s\"", "bad-duration"),
            ("command = [\"/bin/x\"]\ntimeout = \"0s\"", "bad-duration"),
            ("command = [\"/bin/x\"]\nformat = \"git\"", "bad-format"),
            ("command = [\"/bin/x\"]\ntoken = \"/a\"", "bad-format"),
            ("command = [\"/bin/x\"]\nformat = \"json\"\ntoken = \"a\"", "bad-pointer"),
            (
                "command = [\"/bin/x\"]\nformat = \"git\"\nurl = \"http://g.example\"",
                "bad-endpoint",
            ),
            ("command = [\"/bin/x\"]\nshell = true", "unknown-key"),
        ] {
            let text = config(&format!("grant = \"exec\"\n{keys}"));
            assert!(codes(&text).iter().any(|(_, found)| *found == code), "{keys}");
            assert!(!format!("{:?}", load(&text).unwrap_err()).contains("hunter2"), "{keys}");
        }
        let good = config(
            "grant = \"exec\"\ncommand = [\"/bin/x\", \"a b\"]\nformat = \"git\"\nurl = \"https://g.example:8443/o/r\"",
        );
        let Grant::Exec(exec) =
            &load(&good).unwrap().credentials.values().next().unwrap().grant.clone()
        else {
            panic!("an exec grant")
        };
        let ExecFormat::Git { host, path, .. } = &exec.format else { panic!("git") };
        assert_eq!((host.as_str(), path.as_str()), ("g.example:8443", "o/r"));
    }

    #[test]
    fn sources_are_checked() {
        let with = |source: &str| config(&format!("grant = \"static-key\"\nsecret = {source}"));
        for bad in ["{ systemd = \"a/b\" }", "{ systemd = \"..\" }", "{ systemd = \"\" }"] {
            assert!(codes(&with(bad)).iter().any(|(_, c)| *c == "bad-secret-source"), "{bad}");
        }
        assert!(
            codes(&with("{ exec = { command = [\"x\"] } }"))
                .iter()
                .any(|(_, c)| *c == "bad-helper")
        );
        assert!(load(&with("{ env = \"A\", file = \"b\" }")).is_err());
        let loaded = load(&with("{ exec = { command = [\"/bin/x\"], env = [\"A\"] } }")).unwrap();
        let Grant::StaticKey(key) = &loaded.credentials.values().next().unwrap().grant else {
            panic!()
        };
        assert!(matches!(&key.secret, SecretSource::Exec(helper) if helper.env == ["A"]));
    }
}
