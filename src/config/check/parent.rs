//! `upstream.parent` and `upstream.no_proxy`.

use toml::Spanned;

use super::Check;
use crate::config::file;
use crate::config::no_proxy::NoProxy;
use crate::config::parent::{Login, Parent, parse_url};
use crate::config::problem::Problems;

impl Check<'_> {
    pub(super) fn check_parent(
        &self,
        parent: Spanned<file::ParentTable>,
        problems: &mut Problems,
    ) -> Option<Parent> {
        let line = self.line(&parent);
        let parent = parent.into_inner();
        let origin = match parse_url(&parent.url) {
            Ok((origin, None)) => Some(origin),
            Ok((_, Some(_))) => {
                let hint = "write user = \"NAME\" and password = { env = \"NAME\" } beside it; and replace this password, it has been at rest";
                problems.error(line, "literal-secret", "`parent.url` holds credentials", hint);
                None
            }
            Err(error) => {
                let hint = "for example \"http://proxy.corp.example:3128\"";
                problems.error(line, "bad-parent", format!("`parent.url` {error}"), hint);
                None
            }
        };
        let login = match (parent.user, parent.password) {
            (None, None) => None,
            (Some(user), Some(password)) => {
                if user.contains(':') || user.chars().any(char::is_control) {
                    let message = "`parent.user` may hold no colon and no control character";
                    problems.error(line, "bad-parent", message, "RFC 7617 has no way to send it");
                }
                Some(Login { user, password: self.secret(password, line, problems)? })
            }
            (Some(_), None) | (None, Some(_)) => {
                let message = "`parent.user` and `parent.password` go together";
                problems.error(line, "bad-parent", message, "give both or none");
                None
            }
        };
        let origin = origin?;
        Some(Parent { origin, login })
    }

    pub(super) fn check_no_proxy(
        &self,
        entries: Vec<Spanned<String>>,
        problems: &mut Problems,
    ) -> NoProxy {
        let mut list = NoProxy::default();
        for entry in entries {
            if !list.add(entry.get_ref()) {
                problems.error(
                    self.line(&entry),
                    "bad-no-proxy",
                    "`no_proxy` takes names, addresses and networks",
                    "for example \"*.corp.example\", \"10.0.0.0/8\" or \"host.example:8443\"",
                );
            }
        }
        list
    }
}
