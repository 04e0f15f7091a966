//! What an upstream wants of a person beyond the token that it got: more scope (RFC 6750 section
//! 3.1), or another or a fresher authentication (RFC 9470). No new token of the same login mends
//! that, so none is minted: the person is told what to type, in the log, in `status` and in a field
//! of the answer, which otherwise goes on as it is.

use http::{HeaderMap, StatusCode};

use crate::http1::challenge::challenges;

/// What is wanted. Only what can stand in a command line as it is: an upstream does not get to
/// write one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StepUp {
    scope: Vec<String>,
    acr_values: Vec<String>,
    max_age: Option<u64>,
}

impl StepUp {
    /// `None`: the answer does not say that it wants more.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return None;
        }
        challenges(headers).find_map(|challenge| match challenge.parameter("error")? {
            "insufficient_scope" => {
                Some(Self { scope: words(challenge.parameter("scope")), ..Self::default() })
            }
            "insufficient_user_authentication" => Some(Self {
                acr_values: words(challenge.parameter("acr_values")),
                max_age: challenge.parameter("max_age").and_then(|seconds| seconds.parse().ok()),
                ..Self::default()
            }),
            _ => None,
        })
    }

    /// What to do about it. `login`: the command without what this adds.
    pub fn hint(&self, login: &str) -> String {
        let mut hint = match self.scope.is_empty() {
            true => String::new(),
            false => format!(
                "have `{}` in `scope` of the credential and its route, then ",
                self.scope.join(" ")
            ),
        };
        hint.push_str("type: ");
        hint.push_str(login);
        if !self.acr_values.is_empty() {
            // Several are one argument.
            hint.push_str(&format!(" --acr-values '{}'", self.acr_values.join(" ")));
        }
        if let Some(seconds) = self.max_age {
            hint.push_str(&format!(" --max-age {seconds}"));
        }
        hint
    }
}

/// The words that may be shown. One that holds anything else is left out: the answer still has it.
fn words(text: Option<&str>) -> Vec<String> {
    let plain = |word: &&str| {
        (1..=MAX_WORD).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b))
            && !word.starts_with('-')
    };
    text.unwrap_or_default().split(' ').filter(plain).take(MAX_WORDS).map(str::to_owned).collect()
}

const MAX_WORD: usize = 100;
const MAX_WORDS: usize = 8;

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn hint(status: u16, challenge: &'static str) -> Option<String> {
        let value = HeaderValue::from_static(challenge);
        let headers = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]);
        let wanted = StepUp::of(StatusCode::from_u16(status).unwrap(), &headers)?;
        Some(wanted.hint("valetkey login mine"))
    }

    #[test]
    fn the_command_says_what_is_wanted() {
        for (challenge, told) in [
            (
                r#"Bearer realm="a, error=\"no\"", error="insufficient_scope", scope="orders:write x""#,
                "have `orders:write x` in `scope` of the credential and its route, then type: valetkey login mine",
            ),
            (r#"Bearer error="insufficient_scope""#, "type: valetkey login mine"),
            (
                r#"DPoP algs="ES256", error="insufficient_user_authentication", acr_values="urn:mfa phr", max_age="300""#,
                "type: valetkey login mine --acr-values 'urn:mfa phr' --max-age 300",
            ),
            (
                "Bearer error=insufficient_user_authentication, max_age=5",
                "type: valetkey login mine --max-age 5",
            ),
        ] {
            for status in [401, 403] {
                assert_eq!(hint(status, challenge).as_deref(), Some(told), "{challenge}");
            }
            assert_eq!(hint(400, challenge), None);
        }
        for other in
            ["Bearer", r#"Bearer error="invalid_token""#, "Negotiate abc==", r#"Bearer error="#]
        {
            assert_eq!(hint(401, other), None, "{other}");
        }
    }

    #[test]
    fn an_upstream_writes_no_command() {
        for evil in [
            r#"Bearer error="insufficient_user_authentication", acr_values="$(id) `id` --x ;id 'a' a|b", max_age="1;id""#,
            r#"Bearer error="insufficient_scope", scope="$(id) a\"b \\ `id`""#,
        ] {
            assert_eq!(hint(401, evil).as_deref(), Some("type: valetkey login mine"), "{evil}");
        }
    }
}
