//! Who is logged in, for `valetkey status`, and whose login ends: never a value.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::config::Config;
use crate::model::clock::rfc3339_seconds;
use crate::model::hint::quoted;
use crate::store::logins::{Login, Logins, Whose};

/// As [`facts`], for whoever asks while no daemon runs.
pub fn stored(config: &Config) -> Vec<Value> {
    facts(config, &Logins::new(&config.logins), SystemTime::now())
}

/// One fact for each credential that a person logs in for.
pub(super) fn facts(config: &Config, logins: &Logins, now: SystemTime) -> Vec<Value> {
    let with_login = config.credentials.iter().filter_map(|(name, credential)| {
        credential.grant.login().map(|oauth| (name, oauth, Whose::of(oauth, name)))
    });
    let left_behind = logins.left_behind(&known(config)).into_iter().map(|entry| {
        let Whose { issuer, client, credential } = entry.whose();
        let login = entry.look().ok().flatten().map(|(login, _)| login);
        json!({
            "credential": credential,
            "issuer": issuer,
            "client": client,
            "state": "left-behind",
            "user": login.as_ref().and_then(|login| login.user.as_deref()),
            "since": login.as_ref().map(|login| rfc3339_seconds(login.since)),
            "hint": format!(
                "made at {issuer} as `{client}`, which this config does not name for it now; end it: \
                 valetkey logout {} --left-behind", quoted(credential.as_str())
            ),
        })
    });
    with_login
        .map(|(name, oauth, whose)| {
            let issuer = whose.issuer.clone();
            let (login, protection) = match logins.entry(whose).look() {
                Ok(Some(found)) => found,
                Ok(None) => {
                    return json!({ "credential": name, "issuer": issuer, "state": "none" });
                }
                Err(error) => {
                    return json!({
                        "credential": name, "issuer": issuer, "state": "unreadable",
                        "code": error.code(), "hint": error.hint().replace("CREDENTIAL", name.as_str()),
                    });
                }
            };
            let left = |until: SystemTime| until.duration_since(now).unwrap_or_default().as_secs();
            json!({
                "credential": name,
                "issuer": issuer,
                "state": if login.refresh.is_some() { "logged-in" } else { "ended" },
                "code": login.ended,
                "user": login.user,
                "scope": login.scope,
                "not_granted": not_granted(&oauth.scope, &login),
                "since": rfc3339_seconds(login.since),
                "renewed": rfc3339_seconds(login.renewed),
                "until": login.until.map(rfc3339_seconds),
                "remaining_s": login.until.map(left),
                "protected_by": protection.as_str(),
            })
        })
        .chain(left_behind)
        .collect()
}

/// Whose logins this config asks for.
pub fn known(config: &Config) -> Vec<Whose> {
    let all = config.credentials.iter();
    all.filter_map(|(name, credential)| Some(Whose::of(credential.grant.login()?, name))).collect()
}

/// What config asks for and the login has not. A refresh and an ID token speak for themselves, and some issuers don't
/// name them.
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
