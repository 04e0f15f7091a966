//! Says ahead that a login ends, where the issuer has said when: one line of the log for each login
//! when its end is near, and one when it has come, with the command that mends it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::control::Daemon;
use crate::config::{Config, Grant};
use crate::model::id::CredentialName;
use crate::store::logins::{Login, Logins, Whose};

/// The longest between two looks: other processes log in and out, and renew.
const LOGINS_LOOK_EVERY: Duration = Duration::from_secs(300);
/// The shortest time between two looks.
const MOMENT: Duration = Duration::from_secs(1);

/// What is said, in this order, each once for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Near,
    Ended,
}

/// What has been said: of whose login, by when the person logged in.
#[derive(Default)]
struct Told(HashMap<CredentialName, (SystemTime, Stage)>);

pub(super) async fn run(daemon: Arc<Daemon>) {
    let mut told = Told::default();
    loop {
        let config = daemon.config().clone();
        let logins = Arc::clone(&daemon.proxy().world.load().logins);
        // Files and keyrings: not on the thread that mints.
        let found = tokio::task::spawn_blocking(move || {
            let found = found(&config, &logins);
            logins.saw(ends(&found));
            found
        });
        // Refused where the runtime is going down.
        let Ok(found) = found.await else { return };
        let now = daemon.proxy().passage.clock.now().wall;
        for (name, at_home, login) in &found {
            if let Some(stage) = told.stage(name, login, now) {
                say(name, *at_home, login, stage, now, &daemon.proxy().passage.config_flag);
            }
        }
        let until_next = found.iter().filter_map(|(_, _, login)| next(login, now)).min();
        let wait =
            until_next.map_or(LOGINS_LOOK_EVERY, |next| next.clamp(MOMENT, LOGINS_LOOK_EVERY));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = daemon.logins_changed.notified() => {}
        }
    }
}

/// What can be read now; and whether one logs in for it here.
fn found(config: &Config, logins: &Logins) -> Vec<(CredentialName, bool, Login)> {
    let with_login = config.credentials.iter().filter_map(|(name, credential)| {
        let at_home = !matches!(credential.grant, Grant::RefreshToken(_));
        let entry = logins.entry(Whose::of(credential.grant.login()?, name));
        // What is locked or gone is told to whoever asks for a token.
        let (login, _) = entry.look().ok()??;
        Some((name.clone(), at_home, login))
    });
    with_login.collect()
}

fn ends(found: &[(CredentialName, bool, Login)]) -> BTreeMap<CredentialName, SystemTime> {
    let living = found.iter().filter(|(_, _, login)| login.refresh.is_some());
    living.filter_map(|(name, _, login)| Some((name.clone(), login.until?))).collect()
}

fn stage(login: &Login, now: SystemTime) -> Option<Stage> {
    if login.refresh.is_none() || login.until.is_some_and(|until| until <= now) {
        return Some(Stage::Ended);
    }
    login.near_end().filter(|near| *near <= now).map(|_| Stage::Near)
}

/// How long until there is something to say.
fn next(login: &Login, now: SystemTime) -> Option<Duration> {
    let ahead = |time: SystemTime| time.duration_since(now).ok().filter(|left| !left.is_zero());
    login.near_end().and_then(ahead).or_else(|| login.until.and_then(ahead))
}

impl Told {
    /// What is to be said now, where it has not been said of this login.
    fn stage(&mut self, name: &CredentialName, login: &Login, now: SystemTime) -> Option<Stage> {
        let stage = stage(login, now)?;
        let said = self.0.get(name).filter(|(since, _)| *since == login.since);
        if said.is_some_and(|(_, said)| *said >= stage) {
            return None;
        }
        self.0.insert(name.clone(), (login.since, stage));
        Some(stage)
    }
}

fn say(
    name: &CredentialName,
    at_home: bool,
    login: &Login,
    stage: Stage,
    now: SystemTime,
    flag: &str,
) {
    let hint = match at_home {
        true => format!("type: valetkey login {name}{flag}"),
        false => {
            "put a new refresh token where `refresh_token` of the credential points".to_owned()
        }
    };
    match stage {
        Stage::Near => {
            let left = login.until.and_then(|until| until.duration_since(now).ok());
            let left = Duration::from_secs(left.unwrap_or_default().as_secs());
            let left = humantime::format_duration(left);
            tracing::warn!(code = "login-ends-soon", %hint, "the login for `{name}` ends in {left}");
        }
        Stage::Ended => {
            let code = login.ended.as_deref().unwrap_or("login-ended");
            tracing::warn!(code, %hint, "the login for `{name}` has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use std::time::UNIX_EPOCH;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn login(life: u64) -> Login {
        let mut login = Login::new(Secret::new("r"), at(0));
        login.life = Some(Duration::from_secs(life));
        login.until = Some(at(life));
        login
    }

    #[test]
    fn near_is_a_day_or_a_tenth() {
        let stage_of = |life, now| stage(&login(life), at(now));
        let month = 720 * HOUR;
        assert_eq!(stage_of(month, month - 24 * HOUR - 1), None);
        assert_eq!(stage_of(month, month - 24 * HOUR), Some(Stage::Near));
        assert_eq!(stage_of(1800, 1800 - 181), None);
        assert_eq!(stage_of(1800, 1800 - 180), Some(Stage::Near));
        assert_eq!(stage_of(1800, 1800), Some(Stage::Ended));
        // An issuer that says nothing of an end.
        let mut silent = login(1800);
        (silent.until, silent.life) = (None, None);
        assert_eq!((stage(&silent, at(month)), next(&silent, at(0))), (None, None));
        // Each renewal of such a login moves the end, not what a whole life is.
        let mut sliding = login(1800);
        sliding.until = Some(at(10 * HOUR));
        assert_eq!(stage(&sliding, at(10 * HOUR - 181)), None);
    }

    #[test]
    fn each_is_said_once_for_a_login() {
        let (mut told, name) = (Told::default(), CredentialName::new("mine"));
        let mut one = login(1800);
        let mut said = |login: &Login, now| told.stage(&name, login, at(now));
        assert_eq!(said(&one, 0), None);
        assert_eq!(said(&one, 1700), Some(Stage::Near));
        assert_eq!(said(&one, 1701), None);
        one.until = Some(at(3600));
        assert_eq!((said(&one, 1702), said(&one, 3500)), (None, None), "renewed: the same login");
        one.refresh = None;
        assert_eq!(said(&one, 3501), Some(Stage::Ended));
        assert_eq!(said(&one, 3502), None);
        let mut other = login(1800);
        (other.since, other.until) = (at(4000), Some(at(4000 + 1800)));
        assert_eq!(said(&other, 4000), None);
        assert_eq!(said(&other, 5700), Some(Stage::Near), "another login is another");
    }

    #[test]
    fn looks_when_there_is_something_to_say() {
        let one = login(1800);
        assert_eq!(next(&one, at(0)), Some(Duration::from_secs(1620)));
        assert_eq!(next(&one, at(1620)), Some(Duration::from_secs(180)));
        assert_eq!(next(&one, at(1800)), None);
    }
}
