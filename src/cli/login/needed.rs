//! Which logins a command under `run` needs, as far as that shows: nobody is asked for one that it
//! will hardly use.
//!
//! A guess in both directions is cheap: who was not asked and needs it all the same gets the
//! command to type with the answer; who was asked for nothing says no.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::cli::command_line::{name_of, programs};
use crate::config::{Config, Route};
use crate::model::id::{CredentialName, RouteName};

/// Programs by other names than those of the keys that they take.
const ALSO: [(&str, &str); 6] = [
    ("claude", "anthropic"),
    ("codex", "openai"),
    ("gh", "github"),
    ("glab", "gitlab"),
    ("hf", "hugging"),
    ("twine", "pypi"),
];

/// The logins of the routes that a session may use.
pub(super) struct Needed {
    /// Those that the command will use.
    pub(super) needed: Vec<CredentialName>,
    /// Those that it may use, and hardly will.
    pub(super) spared: Vec<CredentialName>,
}

impl Needed {
    /// `only`: the routes that the session is for, where they are named. `logins`: what people log
    /// in for.
    pub(super) fn of<'a>(
        config: &'a Config,
        only: &[String],
        command: &[OsString],
        logins: impl Iterator<Item = &'a CredentialName>,
    ) -> Self {
        let allowed = |name: &RouteName| only.is_empty() || only.iter().any(|o| o == name.as_str());
        let routes: Vec<&Route> = (config.routes.iter().map(|route| &route.value))
            .filter(|route| !route.deny && route.credential.is_some() && allowed(&route.name))
            .collect();
        let all: BTreeSet<_> =
            routes.iter().filter_map(|route| route.credential.as_ref()).collect();
        let programs = programs(command);
        let (mut needed, mut spared) = (Vec::new(), Vec::new());
        for name in logins.filter(|name| all.contains(name)) {
            let its = || routes.iter().filter(|route| route.credential.as_ref() == Some(name));
            // Whoever names routes means them; and where there is nothing else, the command is for
            // that.
            let meant = !only.is_empty() || all.len() == 1;
            let shows = || its().any(|route| is_named(route, command) || is_for(route, &programs));
            if meant || shows() { &mut needed } else { &mut spared }.push(name.clone());
        }
        Self { needed, spared }
    }
}

/// Whether the command line names a route's host or one of its variables.
fn is_named(route: &Route, command: &[OsString]) -> bool {
    let host = route.host.strip_prefix('*').unwrap_or(&route.host);
    command.iter().any(|word| {
        let word = word.to_string_lossy();
        word.to_ascii_lowercase().contains(host)
            || route.env.keys().any(|name| word.contains(name.as_str()))
    })
}

/// Whether a program is one that takes this route's key: its name is that of the key's kind, or
/// begins the variable's.
fn is_for(route: &Route, programs: &[String]) -> bool {
    programs.iter().map(|program| name_of(program)).any(|program| {
        let also = ALSO.iter().find(|(name, _)| *name == program).map(|(_, kind)| *kind);
        route.env.iter().any(|(variable, kind)| {
            let first = variable.split('_').next().unwrap_or_default().to_ascii_lowercase();
            let is = |name: &str| name == first || name == kind.as_str();
            // `orders-cli` takes ORDERS_API_KEY.
            let stem = program.split(['-', '.']).next().unwrap_or_default();
            is(program) || is(stem) || also.is_some_and(is)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const CONFIG: &str = r#"config_version = 1
[credentials.me]
grant = "device"
issuer = "https://idp.example"
client_id = "x"
[credentials.git]
grant = "device"
issuer = "https://idp.example"
client_id = "x"
[credentials.machine]
grant = "client-credentials"
token_url = "https://idp.example/t"
client_id = "x"
client_secret = { env = "S" }
[[routes]]
name = "orders"
host = "api.orders.example"
credential = "me"
env = { ORDERS_API_KEY = "placeholder:opaque" }
[[routes]]
name = "hub"
host = "*.github.example"
credential = "git"
env = { GITHUB_TOKEN = "placeholder:github" }
[[routes]]
name = "build"
host = "build.example"
credential = "machine"
env = { BUILD_KEY = "placeholder:opaque" }
"#;

    fn needed(text: &str, only: &[&str], command: &[&str]) -> (Vec<String>, Vec<String>) {
        let (config, _) =
            crate::config::parse(Path::new("/c/v.toml"), text.as_bytes(), "/s".into()).unwrap();
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        let command: Vec<_> = command.iter().map(OsString::from).collect();
        let Needed { needed, spared } =
            Needed::of(&config, &only, &command, crate::cli::login::with_login(&config));
        let names = |all: Vec<CredentialName>| all.iter().map(ToString::to_string).collect();
        (names(needed), names(spared))
    }

    #[test]
    fn a_login_is_needed_where_the_command_line_shows_it() {
        for (command, wanted) in [
            (&["make", "test"][..], &[][..]),
            (&["curl", "https://api.orders.example/v1"], &["me"]),
            (&["curl", "https://API.orders.example/v1"], &["me"]),
            (&["sh", "-c", "./x \"$ORDERS_API_KEY\""], &["me"]),
            (&["orders-cli", "list"], &["me"]),
            (&["./orders.sh"], &["me"]),
            (&["gh", "pr", "list"], &["git"]),
            (&["bash", "-c", "gh pr list | grep x"], &["git"]),
            (&["git", "clone", "https://x.github.example/y"], &["git"]),
            (&["curl", "https://build.example/"], &[]),
            (&["curl", "https://api.orders.example/", "https://a.github.example/"], &["git", "me"]),
        ] {
            assert_eq!(needed(CONFIG, &[], command).0, wanted, "{command:?}");
        }
        assert_eq!(needed(CONFIG, &[], &["make"]).1, ["git", "me"]);
    }

    #[test]
    fn whoever_names_routes_means_them() {
        assert_eq!(needed(CONFIG, &["orders"], &["make"]), (vec!["me".to_owned()], vec![]));
        assert_eq!(needed(CONFIG, &["build"], &["gh"]), (vec![], vec![]));
        let two = needed(CONFIG, &["orders", "hub", "build"], &["make"]);
        assert_eq!(two.0, ["git", "me"]);
    }

    #[test]
    fn where_nothing_else_is_there_the_command_is_for_that() {
        let (one, _) = CONFIG.split_once("[[routes]]\nname = \"hub\"").unwrap();
        assert_eq!(needed(one, &[], &["make"]).0, ["me"]);
        let denied = one.replace(
            "credential = \"me\"\nenv = { ORDERS_API_KEY = \"placeholder:opaque\" }",
            "deny = true",
        );
        assert_eq!(needed(&denied, &[], &["make"]), (vec![], vec![]));
    }
}
