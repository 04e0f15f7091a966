//! `login CREDENTIAL`: a person signs in at the issuer, and stays signed in until `logout`.
//!
//! This process speaks to the issuer itself; the daemon finds the login where it is kept, at the
//! next mint.

mod ask;
mod browser;
mod needed;
mod page;
mod qr;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::args::{Login, Run};
use super::failure::{Failure, chain};
use super::{context, printer};
use crate::config::{Config, Grant};
use crate::daemon;
use crate::mint::door::{Door, FlowError, LoggedIn};
use crate::model::clock::{Clock, SystemClock, rfc3339_seconds};
use crate::model::id::CredentialName;
use crate::store::logins::{Logins, Whose};
use needed::Needed;

pub(super) fn run(args: &Login, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config_to_use(explicit)?;
    context::runtime()?.block_on(login(&config, args))
}

/// Logs in, and says what came of it.
pub(super) async fn login(config: &Config, args: &Login) -> Result<(), Failure> {
    let name = CredentialName::new(args.credential.as_str());
    let max_age = args.max_age.map(|seconds| ("max_age".to_owned(), seconds.to_string()));
    let acr = args.acr_values.clone().map(|values| ("acr_values".to_owned(), values));
    let door = door(config, &name)?.wanting(acr.into_iter().chain(max_age));
    door.ready().map_err(|error| Failure::failed(error.code(), chain(&error), error.hint()))?;
    let logged_in = if door.takes_device_codes() {
        device(&door, &name).await?
    } else if let Some(redirect) = door.redirect() {
        browser::log_in(&door, &name, redirect, args.no_browser).await?
    } else {
        return Err(Failure::failed(
            "login-elsewhere",
            format!("the login of `{name}` is made elsewhere: its grant is `refresh-token`"),
            "put a new refresh token where `refresh_token` of the credential points",
        ));
    };
    said(config, &name, &logged_in, args.json).await
}

/// Where people log in for a credential of this config.
pub(super) fn door(config: &Config, name: &CredentialName) -> Result<Door, Failure> {
    let Some(credential) = config.credentials.get(name) else {
        let all: Vec<_> = with_login(config).map(|name| name.to_string()).collect();
        return Err(Failure::usage(
            "unknown-credential",
            format!("there is no credential `{name}`"),
            match all.is_empty() {
                true => "this config has none that people log in for".to_owned(),
                false => format!("people log in for: {}", all.join(", ")),
            },
        ));
    };
    let client = daemon::issuers(config)
        .map_err(|error| Failure::failed(error.code(), chain(&error), error.hint()))?;
    let logins = Arc::new(Logins::new(&config.logins));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Door::of(name, credential, &client, &logins, &clock).ok_or_else(|| {
        Failure::usage(
            "no-login",
            format!("nobody logs in for `{name}`: its grant is `{}`", credential.grant.name()),
            "`login` is for the grants `device` and `authorization-code`",
        )
    })
}

/// The credentials that people log in for here.
pub(super) fn with_login(config: &Config) -> impl Iterator<Item = &CredentialName> {
    config.credentials.iter().filter_map(|(name, credential)| {
        matches!(credential.grant, Grant::AuthorizationCode(_) | Grant::Device(_)).then_some(name)
    })
}

/// Says which logins a command lacks, and offers them where there is a person to ask. Those that it
/// will hardly use are not even looked at, which may take a keyring's time; `aloud`: that is said.
pub(super) async fn before_run(config: &Config, args: &Run, aloud: bool) {
    let logins = with_login(config);
    let Needed { needed, spared } = Needed::of(config, &args.purpose.only, &args.command, logins);
    for name in spared.iter().filter(|_| aloud) {
        printer::note(&format!(
            "login: not looked at: `{name}`, whose routes nothing of this command names"
        ));
    }
    for name in &needed {
        let Some(why) = missing(config, name) else { continue };
        let wanted = ask::yes(&format!("`{name}` needs a login ({why}). Log in now?"));
        if wanted != Some(true) {
            let hint = format!("type: valetkey login {name}");
            printer::warn(
                "login-required",
                &format!("requests with `{name}` will fail: {why}"),
                &hint,
            );
            continue;
        }
        let args = Login { credential: name.to_string(), ..Login::default() };
        if let Err(failure) = login(config, &args).await {
            printer::failure(&failure);
        }
    }
}

/// Why a credential gives no token until somebody logs in; tells of an end that is near as well.
fn missing(config: &Config, name: &CredentialName) -> Option<&'static str> {
    let oauth = config.credentials.get(name)?.grant.login()?;
    let entry = Logins::new(&config.logins).entry(Whose::of(oauth, name));
    let login = match entry.look() {
        Ok(None) => return Some("nobody has logged in"),
        // The daemon says more when it comes to that.
        Err(_) => return None,
        Ok(Some((login, _))) => login,
    };
    if login.refresh.is_none() {
        return Some("the login has ended");
    }
    let now = SystemTime::now();
    let left = login.until?.duration_since(now).unwrap_or_default();
    if left.is_zero() {
        return Some("the login has ended");
    }
    if login.near_end()? <= now {
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        let hint = format!("type: valetkey login {name}");
        printer::warn("login-ends-soon", &format!("the login of `{name}` ends in {left}"), &hint);
    }
    None
}

async fn device(door: &Door, name: &CredentialName) -> Result<LoggedIn, Failure> {
    let code = door.device_code().await?;
    printer::note(&format!(
        "to log in for `{name}`, open\n\n    {}\n\nand type the code\n\n    {}\n\nwithin {}. Only type it if you have just asked for it here.",
        code.page,
        code.user_code,
        humantime::format_duration(Duration::from_secs(code.life.as_secs())),
    ));
    qr::show(code.page_with_code.as_deref().unwrap_or(&code.page));
    Ok(door.wait(code).await?)
}

/// What the person is told, and the daemon, which may hold tokens of whoever was logged in before.
async fn said(
    config: &Config,
    name: &CredentialName,
    logged_in: &LoggedIn,
    as_json: bool,
) -> Result<(), Failure> {
    super::logout::tell(config, name, logged_in.user.as_deref(), true).await;
    let LoggedIn { user, scope, not_granted, until, protection } = logged_in;
    if !not_granted.is_empty() {
        let missing = not_granted.join(" ");
        printer::warn(
            "login-narrower",
            &format!("the issuer granted less than `scope` asks for, without: {missing}"),
            narrower_hint(not_granted),
        );
    }
    if as_json {
        return printer::json(&json!({
            "credential": name, "user": user, "scope": scope, "not_granted": not_granted,
            "until": until.map(rfc3339_seconds), "protected_by": protection.as_str(),
        }));
    }
    let whom = user.as_deref().map(|user| format!(" as {user}")).unwrap_or_default();
    let span = |until: &SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default();
    let until = match until {
        Some(until) => format!(
            "until {} ({})",
            rfc3339_seconds(*until),
            humantime::format_duration(Duration::from_secs(span(until).as_secs()))
        ),
        None => "until `valetkey logout`, or the issuer ends it".to_owned(),
    };
    printer::note(&format!("logged in for `{name}`{whom}, {until}; {}", protection.kept()));
    Ok(())
}

/// Some issuers don't name `offline_access` when they grant it.
fn narrower_hint(not_granted: &[String]) -> &'static str {
    match not_granted {
        [one] if one == "offline_access" => {
            "a refresh token came all the same; if the login ends early, allow it at that issuer"
        }
        _ => {
            "tokens will have what was granted: log in again and allow all of it, or ask for less in `scope`"
        }
    }
}

impl From<FlowError> for Failure {
    fn from(error: FlowError) -> Self {
        Self::failed(error.code(), chain(&error), error.hint())
    }
}
