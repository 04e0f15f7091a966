//! `grant = "authorization-code"` (RFC 6749 section 4.1): the person logs in in a browser on this
//! machine, which comes back to us on loopback (RFC 8252) with a code that only we can use (PKCE,
//! RFC 7636).

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;

use super::answer::Expect;
use super::door::{Door, FlowError, LoggedIn, Way};
use super::endpoint::Form;
use super::{MintError, OauthError};
use crate::config::Redirect;
use crate::model::id::random_text;
use crate::model::secret::Secret;

/// A login under way in a browser.
#[derive(Debug)]
pub struct Begun {
    /// The address that the browser goes to.
    pub page: String,
    redirect: String,
    state: String,
    nonce: String,
    verifier: Secret,
    /// Who must have answered (RFC 9207), and whether it says so of every answer.
    issuer: Option<String>,
    says_issuer: bool,
}

/// What a browser brought back.
#[derive(Debug)]
pub enum Back {
    /// Something else: of another login, or nobody's. This login goes on.
    Foreign,
    /// The end of this login.
    Ours(Result<Secret, FlowError>),
}

impl Door {
    /// Where a browser comes back to; `None`: people do not log in here with one.
    pub fn redirect(&self) -> Option<&Redirect> {
        match &self.way {
            Way::Code(grant) => Some(&grant.redirect),
            Way::Device(_) | Way::Elsewhere => None,
        }
    }

    /// Begins a login that comes back to `redirect`.
    pub async fn begin(&self, redirect: &str) -> Result<Begun, FlowError> {
        let Way::Code(grant) = &self.way else { return Err(FlowError::NotOffered) };
        let found = self.issuer.endpoints().await?;
        let url = match (&grant.url, found.authorization) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => url.map_err(MintError::from)?,
            (None, None) => return Err(FlowError::NotOffered),
        };
        let (state, nonce, verifier) = (random_text(), random_text(), Secret::random());
        let challenge = URL_SAFE_NO_PAD.encode(verifier.sha256());
        let form = Form::empty()
            .text("response_type", "code")
            .text("client_id", self.issuer.client_id())
            .text("redirect_uri", redirect)
            .text("state", &state)
            .text("nonce", &nonce)
            .text("code_challenge", &challenge)
            .text("code_challenge_method", "S256");
        let query = self.issuer.asking(form, &grant.params).into_query();
        let joint = if url.query().is_some() { '&' } else { '?' };
        Ok(Begun {
            page: format!("{url}{joint}{query}"),
            redirect: redirect.to_owned(),
            state,
            nonce,
            verifier,
            issuer: self.issuer.identifier().map(str::to_owned),
            says_issuer: found.says_issuer,
        })
    }

    /// Trades the code that came back for a login.
    pub async fn finish(&self, begun: &Begun, code: &Secret) -> Result<LoggedIn, FlowError> {
        let form = Form::new("authorization_code")
            .secret("code", code)
            .text("redirect_uri", &begun.redirect)
            .secret("code_verifier", &begun.verifier);
        let given = self.issuer.ask_bare(form, Expect::Bearer).await?;
        self.keep(given, Some(&begun.nonce)).await
    }
}

impl Begun {
    /// Judges the query of a call to the redirect address. Anybody can call it: only who knows
    /// `state` is heard.
    pub fn judge(&self, query: &str) -> Back {
        let Some(mut parameters) = Parameters::read(query) else { return Back::Foreign };
        let state = parameters.state.take().unwrap_or_default();
        if constant_time::verify_slices_are_equal(state.as_bytes(), self.state.as_bytes()).is_err()
        {
            return Back::Foreign;
        }
        Back::Ours(self.outcome(parameters))
    }

    fn outcome(&self, parameters: Parameters) -> Result<Secret, FlowError> {
        match (&self.issuer, &parameters.iss) {
            (Some(wanted), Some(said)) if wanted != said => return Err(FlowError::AnotherIssuer),
            (Some(_), None) if self.says_issuer => return Err(FlowError::AnotherIssuer),
            _ => {}
        }
        match (parameters.error.as_deref().map(OauthError::parse), parameters.code) {
            (Some(Some(OauthError::AccessDenied)), _) => Err(FlowError::Denied),
            (Some(word), _) => Err(FlowError::Refused(word)),
            (None, Some(code)) if !code.is_empty() => Ok(Secret::new(code)),
            (None, _) => Err(FlowError::Refused(None)),
        }
    }
}

/// What may stand in the query.
#[derive(Default)]
struct Parameters {
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
    state: Option<String>,
}

impl Parameters {
    /// `None`: malformed, or with two readings.
    fn read(query: &str) -> Option<Self> {
        let mut all = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "code" => &mut all.code,
                "error" => &mut all.error,
                "iss" => &mut all.iss,
                "state" => &mut all.state,
                _ => continue,
            };
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8().ok()?.into_owned();
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(says_issuer: bool) -> Begun {
        Begun {
            page: String::new(),
            redirect: String::new(),
            state: "s1".into(),
            nonce: String::new(),
            verifier: Secret::random(),
            issuer: Some("https://idp.example".into()),
            says_issuer,
        }
    }

    fn code(says_issuer: bool, query: &str) -> Option<Result<String, &'static str>> {
        match begun(says_issuer).judge(query) {
            Back::Foreign => None,
            Back::Ours(Ok(code)) => Some(Ok(code.into_text())),
            Back::Ours(Err(error)) => Some(Err(error.code())),
        }
    }

    #[test]
    fn only_its_own_answer_is_heard() {
        for foreign in
            ["", "code=c", "code=c&state=s2", "code=c&state=s1&state=s1", "code=%ff&state=s1"]
        {
            assert_eq!(code(false, foreign), None, "{foreign}");
        }
        assert_eq!(code(false, "code=a%2Fb+c&state=s1&more=x"), Some(Ok("a/b c".into())));
        for (query, word) in [
            ("state=s1", "login-refused"),
            ("state=s1&code=", "login-refused"),
            ("state=s1&error=access_denied", "login-denied"),
            ("state=s1&error=canary&code=c", "login-refused"),
            ("state=s1&code=c&iss=https%3A%2F%2Fevil.example", "login-another-issuer"),
        ] {
            assert_eq!(code(false, query), Some(Err(word)), "{query}");
        }
    }

    #[test]
    fn an_issuer_that_says_who_it_is_always_does() {
        assert_eq!(code(true, "state=s1&code=c"), Some(Err("login-another-issuer")));
        let named = "state=s1&code=c&iss=https%3A%2F%2Fidp.example";
        assert_eq!(code(true, named), Some(Ok("c".into())));
    }

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        // RFC 7636 appendix B.
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let challenge = URL_SAFE_NO_PAD.encode(verifier.sha256());
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
