//! [`Finding`]: what came of one thing that `check --online` tried, and how it is said.

use serde::Serialize;

use crate::cli::failure::chain;
use crate::cli::terminal::{BAD, FAINT, GOOD, flow, paint};
use crate::model::plain;
use crate::model::reason::Reason;
use crate::net::client::ClientError;
use crate::net::dial_error::DialError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum FindingState {
    Failed,
    Fine,
    Skipped,
}

/// One line of `check --online`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct Finding {
    check: &'static str,
    of: String,
    state: FindingState,
    code: &'static str,
    detail: String,
    hint: String,
}

impl Finding {
    pub(super) fn fine(check: &'static str, of: &str, detail: &str) -> Self {
        Self::new(check, of, FindingState::Fine, "ok", detail, "")
    }

    pub(super) fn skipped(check: &'static str, of: &str, why: &str) -> Self {
        Self::new(check, of, FindingState::Skipped, "skipped", why, "")
    }

    pub(super) fn failed(
        check: &'static str,
        of: &str,
        code: &'static str,
        detail: &str,
        hint: &str,
    ) -> Self {
        Self::new(check, of, FindingState::Failed, code, detail, hint)
    }

    pub(super) fn unreached(check: &'static str, of: &str, error: &ClientError) -> Self {
        let (code, hint) = diagnosed(error);
        Self::failed(check, of, code, &chain(error), hint)
    }

    fn new(
        check: &'static str,
        of: &str,
        state: FindingState,
        code: &'static str,
        detail: &str,
        hint: &str,
    ) -> Self {
        // What servers and libraries say is text of others.
        let line = |text: &str| plain::line(text).into_owned();
        Self { check, of: line(of), state, code, detail: line(detail), hint: line(hint) }
    }

    /// Whether it ends the command with 1.
    pub(in crate::cli) fn has_failed(&self) -> bool {
        self.state == FindingState::Failed
    }

    /// In one line: what, whether, and what to do next.
    pub(in crate::cli) fn shown(&self) -> String {
        let Self { check, of, state, code, detail, hint } = self;
        let (mark, style) = match state {
            FindingState::Failed => (format!("error[{code}]"), BAD),
            FindingState::Fine => ("fine".to_owned(), GOOD),
            FindingState::Skipped => ("skipped".to_owned(), FAINT),
        };
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        let line = flow(&format!("{mark}: {check} {of}: {detail}{hint}"));
        line.replacen(&mark, &paint(style, &mark), 1)
    }
}

/// The stable word for a server that cannot be spoken to, and what to do next.
fn diagnosed(error: &ClientError) -> (&'static str, &'static str) {
    match error {
        ClientError::Dial(DialError::Unresolved(_) | DialError::UnresolvedInTime) => {
            ("name-unresolved", "check the name in the config, and this machine's resolver")
        }
        ClientError::Dial(DialError::Unreachable(_)) => (
            "unreachable",
            "is the server up, and is this its port? a proxy above belongs in upstream.parent",
        ),
        ClientError::Deadline | ClientError::Dial(DialError::Timeout) => {
            ("timed-out", "a firewall may drop it: a proxy above belongs in upstream.parent")
        }
        ClientError::Dial(error) => (error.reason().code(), error.reason().hint()),
        ClientError::Roots(_) => (Reason::RootsUnread.code(), Reason::RootsUnread.hint()),
        ClientError::Tls(_) => ("tls-invalid", error.of_tls().unwrap_or_default().hint()),
        ClientError::Certificate | ClientError::Header | ClientError::Insecure => {
            ("url-unusable", "it must be https, or http to a loopback address")
        }
        ClientError::Http(_) | ClientError::TooLong => {
            ("answer-invalid", "is this the right port? it does not speak HTTP/1.1")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_failure_says_what_to_do_next_in_its_line() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = ClientError::Tls(io::Error::new(io::ErrorKind::InvalidData, unknown));
        let shown = Finding::unreached("issuer", "https://idp.example\u{1b}[2J", &error).shown();
        assert!(shown.starts_with("error[tls-invalid]: issuer https://idp.example"), "{shown}");
        assert!(
            shown.contains("UnknownIssuer") && shown.contains("CA in upstream.extra_roots"),
            "{shown}"
        );
        assert!(!shown.contains(['\n', '\u{1b}']), "{shown}");
        let fine = Finding::fine("upstream", "x:443", "answers over TLS (3 ms)");
        assert_eq!(
            (fine.shown().as_str(), fine.has_failed()),
            ("fine: upstream x:443: answers over TLS (3 ms)", false)
        );
    }
}
