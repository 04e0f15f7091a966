//! `grant = "exec"`: a program of config's prints the token.
//!
//! `store::helper` runs it and lets nothing of it escape; here its output is read, in one of the
//! forms that such programs have: the bare token, JSON, kubectl's, git's.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::json::{self, Document};
use super::{AnswerError, DEFAULT_LIFE, MintError, MintRequest, Minter, Minting};
use crate::config::{self, ExecFormat, Pointer};
use crate::model::clock::{Clock, Deadline};
use crate::model::secret::Secret;
use crate::model::token::Token;
use crate::store::helper::{self, Printed};
use crate::store::without_newline;

pub(super) struct Exec {
    grant: config::Exec,
    ttl: Option<Duration>,
    clock: Arc<dyn Clock>,
}

impl Exec {
    pub(super) fn new(grant: config::Exec, ttl: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        // git's helpers are told what to do in their last argument (gitcredentials(7)).
        let mut grant = grant;
        if matches!(grant.format, ExecFormat::Git { .. }) {
            grant.helper.arguments.push("get".to_owned());
        }
        Self { grant, ttl, clock }
    }

    async fn ask(&self) -> Result<Token, MintError> {
        let asked = self.clock.now();
        let (input, more) = question(&self.grant.format);
        let printed = helper::run(&self.grant.helper, input.as_bytes(), &more).await?;
        let (value, named) = read(&self.grant.format, printed, asked.wall)?;
        let life = match (named, self.ttl) {
            (Some(named), Some(ttl)) => named.min(ttl),
            (Some(life), None) | (None, Some(life)) => life,
            (None, None) => DEFAULT_LIFE,
        };
        let token = Token::new(value, asked, Deadline::after(asked, life), None);
        token.map_err(|_| AnswerError::AccessTokenBytes.into())
    }
}

impl Minter for Exec {
    fn mint(&self, _: MintRequest) -> Minting<'_> {
        Box::pin(self.ask())
    }
}

/// What the helper is asked: on stdin, and in its environment.
fn question(format: &ExecFormat) -> (String, Vec<(&'static str, OsString)>) {
    match format {
        ExecFormat::Git { protocol, host, path } => {
            let path = if path.is_empty() { String::new() } else { format!("path={path}\n") };
            (format!("protocol={protocol}\nhost={host}\n{path}\n"), vec![])
        }
        ExecFormat::Kubectl => (String::new(), vec![("KUBERNETES_EXEC_INFO", EXEC_INFO.into())]),
        ExecFormat::Aws | ExecFormat::Json { .. } | ExecFormat::Plain => (String::new(), vec![]),
    }
}

/// The token, and how long it lives from `now` where the helper says so.
pub(super) fn read(
    format: &ExecFormat,
    printed: Printed,
    now: SystemTime,
) -> Result<(Secret, Option<Duration>), AnswerError> {
    match format {
        ExecFormat::Aws => aws(&Document::read(&printed)?, now),
        ExecFormat::Git { .. } => git(&printed, now),
        ExecFormat::Json { token, expires } => {
            let document = Document::read(&printed)?;
            Ok((document.token(token)?, document.life(expires, now)?))
        }
        ExecFormat::Kubectl => kubectl(&Document::read(&printed)?, now),
        ExecFormat::Plain => Ok((Secret::new(&**without_newline(printed)), None)),
    }
}

/// What `credential_process` prints, version 1. Keys without a session token stand until somebody
/// revokes them: such a key is a `static-key`, and is not taken for something that ends.
fn aws(document: &Document, now: SystemTime) -> Result<(Secret, Option<Duration>), AnswerError> {
    let of = |at| document.token(&Pointer::known(at)).map_err(|_| AnswerError::AwsCredential);
    if !document.counts("/Version", 1) {
        return Err(AnswerError::AwsCredential);
    }
    of("/AccessKeyId")?;
    of("/SecretAccessKey")?;
    Ok((of("/SessionToken")?, document.life(&Pointer::known("/Expiration"), now)?))
}

/// An `ExecCredential` (client.authentication.k8s.io/v1). A client certificate would have to speak
/// TLS for the tool, which we do not.
fn kubectl(
    document: &Document,
    now: SystemTime,
) -> Result<(Secret, Option<Duration>), AnswerError> {
    let right = document.is("/apiVersion", EXEC_VERSION) && document.is("/kind", "ExecCredential");
    if !right {
        return Err(AnswerError::ExecCredential);
    }
    let certificate = document.says(&Pointer::known("/status/clientCertificateData"))
        || document.says(&Pointer::known("/status/clientKeyData"));
    let token = Pointer::known("/status/token");
    if certificate && !document.says(&token) {
        return Err(AnswerError::ClientCertificate);
    }
    let expires = Pointer::known("/status/expirationTimestamp");
    Ok((document.token(&token)?, document.life(&expires, now)?))
}

/// `key=value` lines (git-credential(1)); a key twice has two readings.
fn git(printed: &[u8], now: SystemTime) -> Result<(Secret, Option<Duration>), AnswerError> {
    let (mut password, mut expires) = (None, None);
    for line in printed.split(|b| *b == b'\n').take_while(|line| !line.is_empty()) {
        let at = line.iter().position(|b| *b == b'=').ok_or(AnswerError::GitCredential)?;
        let (key, value) = (&line[..at], &line[at + 1..]);
        let twice = match key {
            b"password" => password.replace(Secret::new(value)).is_some(),
            b"password_expiry_utc" => expires.replace(value).is_some(),
            _ => false,
        };
        if twice {
            return Err(AnswerError::GitCredential);
        }
    }
    let password = password.filter(|p| !p.is_empty()).ok_or(AnswerError::AccessToken)?;
    let Some(expires) = expires else { return Ok((password, None)) };
    let seconds = std::str::from_utf8(expires).ok().and_then(|text| text.parse::<u64>().ok());
    let end = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    let life = end.and_then(|end| json::ahead(end, now)).ok_or(AnswerError::ExpiresIn)?;
    Ok((password, Some(life)))
}

const EXEC_VERSION: &str = "client.authentication.k8s.io/v1";
const EXEC_INFO: &str = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn of(format: &ExecFormat, printed: &str) -> Result<(Secret, Option<u64>), AnswerError> {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let read = read(format, Zeroizing::new(printed.as_bytes().to_vec()), now);
        read.map(|(token, life)| (token, life.map(|life| life.as_secs())))
    }

    fn git() -> ExecFormat {
        ExecFormat::Git { protocol: "https".into(), host: "g.example".into(), path: "o/r".into() }
    }

    #[test]
    fn every_form_is_read() {
        let json = ExecFormat::Json {
            token: Pointer::known("/access_token"),
            expires: Pointer::known("/expires_in"),
        };
        for (format, printed, life) in [
            (&ExecFormat::Plain, "canary\n", None),
            (
                &ExecFormat::Aws,
                r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"canary","Expiration":"2023-11-14T22:14:20Z"}"#,
                Some(60),
            ),
            (&json, r#"{"access_token":"canary","expires_in":60}"#, Some(60)),
            (&json, r#"{"access_token":"canary"}"#, None),
            (
                &ExecFormat::Kubectl,
                r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"canary","expirationTimestamp":"2023-11-14T22:14:20Z"}}"#,
                Some(60),
            ),
            (
                &git(),
                "username=x\npassword=canary\npassword_expiry_utc=1700000060\n\nrest",
                Some(60),
            ),
            (&git(), "password=canary", None),
        ] {
            let (token, found) = of(format, printed).unwrap();
            assert!(token.matches(b"canary"), "{printed}");
            assert_eq!(found, life, "{printed}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let kubectl = |version: &str, status: &str| {
            let text = format!(
                r#"{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"ExecCredential","status":{status}}}"#
            );
            of(&ExecFormat::Kubectl, &text).unwrap_err()
        };
        assert_eq!(kubectl("v1beta1", r#"{"token":"a"}"#), AnswerError::ExecCredential);
        assert_eq!(kubectl("v1", "{}"), AnswerError::AccessToken);
        let certificate = r#"{"clientCertificateData":"canary","clientKeyData":"canary"}"#;
        assert_eq!(kubectl("v1", certificate), AnswerError::ClientCertificate);
        let ended = r#"{"token":"a","expirationTimestamp":"2020-01-01T00:00:00Z"}"#;
        assert_eq!(kubectl("v1", ended), AnswerError::ExpiresIn);
        let aws = |version: &str, rest: &str| {
            let text =
                format!(r#"{{"Version":{version},"AccessKeyId":"a","SecretAccessKey":"b"{rest}}}"#);
            of(&ExecFormat::Aws, &text).unwrap_err()
        };
        assert_eq!(aws("2", r#","SessionToken":"c""#), AnswerError::AwsCredential);
        assert_eq!(aws("\"1\"", r#","SessionToken":"c""#), AnswerError::AwsCredential);
        assert_eq!(aws("1", ""), AnswerError::AwsCredential, "a standing key");
        let ended = r#","SessionToken":"c","Expiration":"2020-01-01T00:00:00Z""#;
        assert_eq!(aws("1", ended), AnswerError::ExpiresIn);
        for (printed, error) in [
            ("password=a\npassword=b\n", AnswerError::GitCredential),
            ("canary\n", AnswerError::GitCredential),
            ("username=a\n", AnswerError::AccessToken),
            ("password=a\npassword_expiry_utc=1600000000\n", AnswerError::ExpiresIn),
            ("password=a\npassword_expiry_utc=soon\n", AnswerError::ExpiresIn),
        ] {
            assert_eq!(of(&git(), printed).unwrap_err(), error, "{printed}");
        }
    }

    #[test]
    fn git_is_asked_as_it_expects() {
        assert_eq!(question(&git()).0, "protocol=https\nhost=g.example\npath=o/r\n\n");
    }
}
