//! `[logins]`, and the grants in which a person logs in.

use std::collections::BTreeMap;

use super::Check;
use super::oauth::{Notes, RESERVED_PARAMS, endpoint, origin};
use crate::config::problem::Problems;
use crate::config::{
    AuthorizationCode, ClientAuth, Device, Endpoints, Logins, Oauth, Redirect, RefreshToken, file,
};

impl Check<'_> {
    pub(super) fn check_logins(&self, table: file::LoginsTable) -> Logins {
        let dir = table.dir.unwrap_or_else(|| "logins".into());
        let protection = table.protection.unwrap_or_default();
        Logins { dir: self.state_dir.join(dir), protection }
    }

    pub(super) fn refresh_token(
        &self,
        mut table: file::oauth::RefreshTokenTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<RefreshToken> {
        let oauth = self.login_oauth(table.oauth(), line, problems);
        if oauth.as_ref().is_some_and(|oauth| oauth.dpop && oauth.auth == ClientAuth::None) {
            // RFC 9449 section 5.
            Notes::new(line, problems).error(
                "dpop-public-client",
                "the refresh token of a public client is bound to the key of whoever got it, and that is not here",
                "log in here, by the grant `device` or `authorization-code`; or register the client as a confidential one and give `client_secret` or `auth` with a key; or take `dpop_bound_access_tokens` out",
            );
        }
        let first = self.secret(table.refresh_token, line, problems)?;
        Some(RefreshToken { oauth: oauth?, first })
    }

    /// A login belongs to a client: without its name two of them would be one.
    fn login_oauth(
        &self,
        table: file::oauth::OauthTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Oauth> {
        let oauth = self.oauth(table, line, problems)?;
        if oauth.client_id.is_none() {
            Notes::new(line, problems).missing("client_id", "a login is one of a client");
            return None;
        }
        Some(oauth)
    }

    pub(super) fn device(
        &self,
        mut table: file::oauth::DeviceTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Device> {
        let oauth = self.login_oauth(table.oauth(), line, problems);
        let mut notes = Notes::new(line, problems);
        let params = login_params(table.login_params, &mut notes);
        let mut verification = Vec::new();
        for text in table.verification_origins.into_vec() {
            match origin(&text) {
                Some(origin) => verification.push(origin),
                None => notes.error(
                    "bad-endpoint",
                    "an entry of `verification_origins` is no origin",
                    "\"https://host\" or \"https://host:port\"",
                ),
            }
        }
        let oauth = oauth?;
        let url = entrance(table.device_url.as_deref(), "device_url", &oauth, &mut notes)?;
        Some(Device { oauth, url, verification, params })
    }

    pub(super) fn authorization_code(
        &self,
        mut table: file::oauth::AuthorizationCodeTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<AuthorizationCode> {
        let oauth = self.login_oauth(table.oauth(), line, problems);
        let mut notes = Notes::new(line, problems);
        let params = login_params(table.login_params, &mut notes);
        let redirect = redirect(table.redirect_uri.as_deref().unwrap_or(REDIRECT));
        if redirect.is_none() {
            notes.error(
                "bad-redirect",
                "`redirect_uri` is no http address on loopback",
                "\"http://127.0.0.1/callback\" takes a free port; [::1] and localhost will do, and a port",
            );
        }
        let oauth = oauth?;
        let url =
            entrance(table.authorization_url.as_deref(), "authorization_url", &oauth, &mut notes)?;
        Some(AuthorizationCode { oauth, url, redirect: redirect?, params })
    }
}

/// Where a login begins: named beside `token_url`, found by `issuer`. The inner `None`: by the
/// issuer's document.
fn entrance(
    text: Option<&str>,
    key: &str,
    oauth: &Oauth,
    notes: &mut Notes<'_>,
) -> Option<Option<http::Uri>> {
    match (text, &oauth.endpoints) {
        (None, Endpoints::Discovered { .. }) => Some(None),
        (Some(text), Endpoints::Named { .. }) => endpoint(text, key, notes).map(Some),
        (None, Endpoints::Named { .. }) => {
            notes.missing(key, "it goes with `token_url`; `issuer` finds both by itself");
            None
        }
        (Some(_), Endpoints::Discovered { .. }) => {
            let message = format!("`{key}` goes with `token_url`");
            notes.error("unused-key", message, "take it out: the issuer's document names it");
            None
        }
    }
}

fn login_params(
    params: BTreeMap<String, String>,
    notes: &mut Notes<'_>,
) -> BTreeMap<String, String> {
    for name in params.keys() {
        let lower = name.to_ascii_lowercase();
        if RESERVED_PARAMS.contains(&lower.as_str()) || RESERVED_LOGIN.contains(&lower.as_str()) {
            let message = format!("`login_params` cannot set `{name}`");
            notes.error("reserved-param", message, "it has a key of its own, or is a secret");
        }
    }
    params
}

/// RFC 8252 section 7.3: http on loopback, any port.
fn redirect(text: &str) -> Option<Redirect> {
    let uri: http::Uri = text.parse().ok()?;
    let authority = uri.authority().filter(|a| !a.as_str().contains('@'))?;
    let (host, path) = (authority.host(), uri.path());
    let here = uri.scheme_str() == Some("http")
        && matches!(host, "127.0.0.1" | "[::1]" | "localhost")
        && uri.query().is_none()
        && !text.contains('#')
        && authority.port_u16() != Some(0);
    here.then(|| Redirect { host: host.into(), port: authority.port_u16(), path: path.into() })
}

/// What a login's first request sets itself.
const RESERVED_LOGIN: &[&str] = &[
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "state",
];
/// A free port on loopback.
const REDIRECT: &str = "http://127.0.0.1/callback";
