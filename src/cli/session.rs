//! An open session and the environment that uses it: the common part of `run`, `env` and `demo`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::admin_client::{AdminClient, AdminError};
use super::args::Purpose;
use super::environment::{self, Environment, Inputs, Warning};
use super::failure::Failure;
use super::join::{self, Joined, Stay};
use super::{bundles, printer};
use crate::admin::wire::{CountedSession, OpenSession, OpenedSession, SessionKind};
use crate::client::peer::Users;
use crate::config::Config;

/// The life of a session that no process bounds.
const ENV_LIFE: Duration = Duration::from_secs(8 * 3600);

/// A daemon that drains has ended after this long.
const SESSION_DRAIN: Duration = Duration::from_secs(40);
/// Between two looks at one that drains.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(50);

/// A directory whose path is longer than the daemon takes is left out, in bytes.
const MAX_PROJECT: usize = 1024;

/// What a session is asked for, beside its kind.
#[derive(Default)]
pub(super) struct AskedSession<'a> {
    reason: Option<&'a str>,
    only: Option<&'a [String]>,
    project: Option<String>,
    by: Option<String>,
}

impl<'a> AskedSession<'a> {
    /// From the working directory.
    pub(super) fn new(purpose: &'a Purpose) -> Self {
        let here = std::env::current_dir().ok();
        Self {
            reason: purpose.reason.as_deref(),
            only: (!purpose.only.is_empty()).then_some(&purpose.only),
            project: here
                .map(|path| path.to_string_lossy().into_owned())
                .filter(|path| path.len() <= MAX_PROJECT),
            by: Some(user()),
        }
    }

    /// As the daemon is asked for it.
    pub(super) fn session(
        &self,
        kind: SessionKind,
        user: &str,
        pid: Option<u32>,
        life: Option<Duration>,
        config: &Config,
    ) -> OpenSession {
        OpenSession {
            kind,
            user: Some(user.to_owned()),
            pid,
            uid: None,
            lifetime_s: life.map(|life| life.as_secs()),
            config: Some(config.digest.clone()),
            reason: self.reason.map(str::to_owned),
            project: self.project.clone(),
            only: self.only.map(<[String]>::to_vec),
            by: self.by.clone(),
        }
    }
}

/// A session that was opened, and what its tool's environment is to be.
pub(super) struct ToolSession {
    daemon: AdminClient,
    pub(super) name: String,
    /// The proxy, without credentials.
    pub(super) proxy: String,
    /// RFC 3339; none where a process bounds it.
    pub(super) until: Option<String>,
    pub(super) environment: Environment,
    /// For whoever wants to know how this came to be.
    pub(super) facts: SessionFacts,
}

/// What was found, beside what the tool needs.
pub(super) struct SessionFacts {
    /// Whether the daemon was there.
    pub(super) joined: Joined,
    /// The daemon's process.
    pub(super) pid: u32,
    /// The proxy that the daemon goes through, as `host:port`.
    pub(super) parent: Option<String>,
    /// What tools are to trust, PEM.
    pub(super) bundle: PathBuf,
    /// Variables that hold placeholders.
    pub(super) placeholders: BTreeSet<String>,
}

/// Joins the daemon and opens a session in it. One that is about to end is waited for: then the
/// next is started.
pub(super) async fn begin(
    config: &Config,
    stay: Stay,
    kind: SessionKind,
    purpose: &Purpose,
) -> Result<ToolSession, Failure> {
    let asked = AskedSession::new(purpose);
    let deadline = Instant::now() + SESSION_DRAIN;
    loop {
        let opened = match join::join_to_share(config, stay).await {
            Ok((daemon, joined)) => {
                let opened = open(config, daemon, kind, &asked, &inherited).await;
                opened.map(|open| ToolSession {
                    facts: SessionFacts { joined, ..open.facts },
                    ..open
                })
            }
            Err(failure) => Err(failure),
        };
        match opened {
            Err(failure) if join::is_ending(&failure) && Instant::now() < deadline => {
                sleep(DRAIN_LOOK_EVERY).await;
            }
            other => return other,
        }
    }
}

/// Opens a session and writes the trust bundles, if they changed. `users` are the variables that
/// the tool would have without us.
pub(super) async fn open(
    config: &Config,
    mut daemon: AdminClient,
    kind: SessionKind,
    asked: &AskedSession<'_>,
    users: &dyn Fn(&str) -> Option<OsString>,
) -> Result<ToolSession, Failure> {
    let user = user();
    let (pid, life) = match kind {
        SessionKind::Env | SessionKind::Open => (None, Some(ENV_LIFE)),
        SessionKind::Run => (Some(process::id()), None),
    };
    let wanted = asked.session(kind, &user, pid, life, config);
    let session = daemon.open(&wanted).await?.believed(config)?;
    let remove = config.secret_variables();
    let bundles = match bundles::write(&config.state_dir, &session.ca_pem, users) {
        Ok(bundles) => bundles,
        Err(failure) => {
            // Without trust it is of no use; its end by pid or time would come too.
            let _ = daemon.close(&session.name).await;
            return Err(failure);
        }
    };
    let mut environment = environment::compute(&Inputs {
        proxy: &session.proxy,
        parent: session.parent.as_deref(),
        session: (&session.name, &session.secret),
        placeholders: &session.placeholders,
        routed_hosts: &session.routed_hosts,
        remove: &remove,
        bundles: &bundles,
        users,
    });
    if !session.missing_env.is_empty() {
        environment.warnings.push(Warning {
            code: "secret-unavailable",
            text: format!(
                "the daemon (process {}) was started without {}, which a credential reads",
                session.pid,
                session.missing_env.join(", ")
            ),
            hint: "set it here, then `valetkey restart`: a daemon reads its own environment",
        });
    }
    let OpenedSession { name, proxy, until, pid, parent, placeholders, .. } = session;
    let facts = SessionFacts {
        joined: Joined::Found,
        pid,
        parent,
        bundle: bundles.combined,
        placeholders: placeholders.into_keys().collect(),
    };
    Ok(ToolSession { daemon, name, proxy, until, environment, facts })
}

impl ToolSession {
    /// What of the user's own environment the tool will not see as it is.
    pub(super) fn say_warnings(&self) {
        for warning in &self.environment.warnings {
            printer::warn(warning.code, &warning.text, warning.hint);
        }
    }

    /// What has come of it so far.
    pub(super) async fn came(&mut self) -> Result<CountedSession, AdminError> {
        self.daemon.came(&self.name).await
    }

    /// Ends it; what was minted for it is dropped.
    pub(super) async fn close(&mut self) -> Result<(), Failure> {
        Ok(self.daemon.close(&self.name).await?)
    }
}

fn inherited(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The login name, for the audit; the daemon knows the uid by itself. The system's word counts
/// before the environment's, which anybody can set.
pub(super) fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let said = || {
        let said = ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok());
        said.filter(|user| !user.is_empty())
    };
    let known = Users::read().name(uid).map(|name| name.to_string());
    known.or_else(said).unwrap_or_else(|| format!("uid:{uid}"))
}
