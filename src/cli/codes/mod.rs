//! Every stable code that this program says: what it means, whose it is, what to do next. `explain
//! CODE` shows one, and the tables of `config/errors.md` are written from here.
//!
//! Refusals of requests come from [`Reason`], with what a page has room for and an answer has not.
//! All others have a row each in a file of their area; a test finds a code in the source that has
//! none.

mod commands;
mod config;
mod kept;
mod secrets;

use std::borrow::Cow;

use serde::Serialize;

use crate::model::reason::{Fault, Reason};
use crate::passage;

/// One stable code and what is to be known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The stable word, as in `no-route`.
    pub code: &'static str,
    /// The HTTP status, or in words what takes its place; `None`: no request is answered by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Cow<'static, str>>,
    /// Whose fault it is, as in "the client's".
    pub fault: &'static str,
    /// What has happened, in one sentence.
    pub means: &'static str,
    /// What whoever meets it should do next.
    pub next: Cow<'static, str>,
}

macro_rules! codes {
    ($area:ident: $fault:literal; $($code:literal: $means:literal => $next:literal;)*) => {
        pub(super) const $area: &[Code] = &[$(Code {
            code: $code,
            status: None,
            fault: $fault,
            means: $means,
            next: std::borrow::Cow::Borrowed($next),
        },)*];
    };
}
use codes;

/// The codes of one part of the program.
pub struct Area {
    /// Its name, as a heading of the page of codes.
    pub title: &'static str,
    /// In the order of the alphabet, but for refusals, which are in that of [`Reason::ALL`].
    pub codes: Vec<Code>,
}

/// All codes, by the part of the program that says them.
pub fn areas() -> Vec<Area> {
    let area = |title, codes: &[Code]| Area { title, codes: codes.to_vec() };
    vec![
        Area { title: "Requests", codes: Reason::ALL.iter().map(|r| refusal(*r)).collect() },
        area("The config", config::CONFIG),
        area("Secrets", secrets::SECRETS),
        area("Logins", secrets::LOGINS),
        area("Issuers and other sites", secrets::ISSUERS),
        area("The daemon", commands::DAEMON),
        area("Files and directories", commands::PLACES),
        area("The audit", kept::AUDIT),
        area("The local CA", kept::CA),
        area("Commands", commands::COMMANDS),
    ]
}

/// All of them, in the order of the alphabet.
pub(super) fn all() -> Vec<Code> {
    let mut all: Vec<Code> = areas().into_iter().flat_map(|area| area.codes).collect();
    all.sort_by_key(|code| code.code);
    all
}

/// Whether a word of the command line is a code, known or not: letters, digits and dashes. A URL
/// and a host have dots, slashes or colons, and a method has capitals.
pub(super) fn is_code(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(plain)
}

fn refusal(reason: Reason) -> Code {
    let fault = match reason.fault() {
        Fault::Client => "the client's",
        Fault::Issuer => "the issuer's",
        Fault::Upstream => "the upstream's",
        Fault::Valetkey => "Valetkey's, or this machine's",
    };
    let next = match more(reason) {
        "" => Cow::Borrowed(reason.hint()),
        more => Cow::Owned(format!("{}; {more}", reason.hint())),
    };
    let status = Some(status(reason));
    Code { code: reason.code(), status, fault, means: reason.detail(), next }
}

/// Where nothing is answered, or not always the same.
fn status(reason: Reason) -> Cow<'static, str> {
    use Reason as R;
    let number = passage::status(reason).as_u16();
    match reason {
        R::AddressMismatch | R::OwnerUnknown => "TLS alert".into(),
        R::ClientGone | R::ClientTlsFailed | R::ClientTimeout => format!("{number} or none").into(),
        R::SniMismatch => format!("{number} or TLS alert").into(),
        R::NoLongerPermitted => format!("{number}, or cut").into(),
        R::IssuerAnswerInvalid | R::IssuerRefused | R::IssuerTlsInvalid(_) => {
            format!("{number}, in back-off 503").into()
        }
        _ => number.to_string().into(),
    }
}

/// What is worth knowing and does not fit into an answer.
fn more(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::AddressMismatch => "somebody may be luring the tool",
        R::AddressRefused(_) => {
            "loopback, metadata and private networks are refused, but for `upstream.allow_private` and `upstream.resolve`"
        }
        R::AuditUnavailable => {
            "`on_failure = \"continue\"` of [audit] serves what cannot be recorded, and says so loudly"
        }
        R::ClientRevoked | R::CredentialRevoked => "`valetkey status` lists what is revoked",
        R::ForeignPlaceholder => {
            "inside an https tunnel it is not seen: `unmatched = \"deny\"` refuses those"
        }
        R::HeadersTooLarge | R::UriTooLong => "nothing raises this bound",
        R::IssuerTlsInvalid(_) | R::UpstreamTlsInvalid(_) => {
            "the answer tells names, time, purpose, issuer, version and alert apart; a private CA, or a certificate that vouches for itself, belongs in `upstream.extra_roots`"
        }
        R::LoginRequired => {
            "`valetkey status` says `login-reuse-detected` where a lost answer made the issuer end it"
        }
        R::ProxyAuthEnded => "it counts as no guess",
        R::SessionOfAnotherUser => "root may use each",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once_and_says_something() {
        let all = all();
        assert!(all.len() > 300, "{}", all.len());
        for pair in all.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} stands twice", pair[0].code);
        }
        for Code { code, means, next, .. } in &all {
            assert!(is_code(code) && !means.is_empty() && !next.is_empty(), "{code}");
            assert!(!means.ends_with('.') && !next.ends_with('.'), "{code}");
            assert!(!means.contains('|') && !next.contains('|'), "{code} breaks a table");
        }
    }

    #[test]
    fn a_code_is_no_url_and_no_method() {
        for word in ["no-route", "usage", "no-such-code", "x509"] {
            assert!(is_code(word), "{word}");
        }
        for word in ["", "GET", "api.example.com", "https://a", "localhost:80", "/v1", "-x", "9a"] {
            assert!(!is_code(word), "{word}");
        }
    }
}
