//! Who is logged in, for `valetkey status`, and whose login ends: never a value.

use std::time::SystemTime;

use crate::admin::wire::LoginStatus;
use crate::config::Config;
use crate::model::clock::rfc3339_seconds;
use crate::model::hint::quoted;
use crate::store::logins::{Login, Logins, Whose};

/// As [`facts`], for whoever asks while no daemon runs.
pub fn stored(config: &Config) -> Vec<LoginStatus> {
    facts(config, &Logins::new(&config.logins), SystemTime::now())
}

/// One fact for each credential that a person logs in for, then those that are left behind.
pub(super) fn facts(config: &Config, logins: &Logins, now: SystemTime) -> Vec<LoginStatus> {
    let asked = config.credentials.iter().filter_map(|(name, credential)| {
        let oauth = credential.grant.login()?;
        let whose = Whose::of(oauth, name);
        let of = LoginStatus {
            credential: name.to_string(),
            issuer: whose.issuer.to_string(),
            ..LoginStatus::default()
        };
        Some(match logins.entry(whose).look() {
            Ok(Some((login, protection))) => {
                held(of, &login, &oauth.scope, protection.as_str(), now)
            }
            Ok(None) => LoginStatus { state: "none".into(), ..of },
            Err(error) => LoginStatus {
                state: "unreadable".into(),
                code: Some(error.code().into()),
                hint: Some(error.hint().replace("CREDENTIAL", name.as_str())),
                ..of
            },
        })
    });
    asked.chain(left_behind(config, logins)).collect()
}

fn held(
    of: LoginStatus,
    login: &Login,
    asked: &[String],
    protection: &str,
    now: SystemTime,
) -> LoginStatus {
    let left = |until: SystemTime| until.duration_since(now).unwrap_or_default().as_secs();
    LoginStatus {
        state: if login.refresh.is_some() { "logged-in" } else { "ended" }.into(),
        code: login.ended.clone(),
        user: login.user.clone(),
        scope: login.scope.clone(),
        not_granted: Some(not_granted(asked, login).into_iter().map(str::to_owned).collect()),
        since: Some(rfc3339_seconds(login.since)),
        renewed: Some(rfc3339_seconds(login.renewed)),
        until: login.until.map(rfc3339_seconds),
        remaining_s: login.until.map(left),
        protected_by: Some(protection.into()),
        ..of
    }
}

/// Those that were made with an issuer or a client that the config does not name now.
fn left_behind(config: &Config, logins: &Logins) -> Vec<LoginStatus> {
    let all = logins.left_behind(&known(config)).into_iter().map(|entry| {
        let Whose { issuer, client, credential } = entry.whose();
        let login = entry.look().ok().flatten().map(|(login, _)| login);
        LoginStatus {
            credential: credential.to_string(),
            issuer: issuer.to_string(),
            client: Some(client.to_string()),
            state: "left-behind".into(),
            since: login.as_ref().map(|login| rfc3339_seconds(login.since)),
            user: login.and_then(|login| login.user),
            hint: Some(format!(
                "made at {issuer} as `{client}`, which this config does not name for it now; end it: \
                 valetkey logout {} --left-behind",
                quoted(credential.as_str())
            )),
            ..LoginStatus::default()
        }
    });
    all.collect()
}

/// Whose logins this config asks for.
pub fn known(config: &Config) -> Vec<Whose> {
    let all = config.credentials.iter();
    all.filter_map(|(name, credential)| Some(Whose::of(credential.grant.login()?, name))).collect()
}

/// What config asks for and the login has not. A refresh and an ID token speak for themselves, and
/// some issuers don't name them.
fn not_granted<'a>(asked: &'a [String], login: &Login) -> Vec<&'a str> {
    let live = login.refresh.is_some();
    let Some(scope) = login.scope.as_ref().filter(|_| live) else { return Vec::new() };
    let shown = |word: &str| match word {
        "offline_access" => true,
        "openid" => login.user.is_some(),
        _ => scope.split(' ').any(|granted| granted == word),
    };
    asked.iter().map(String::as_str).filter(|word| !shown(word)).collect()
}
