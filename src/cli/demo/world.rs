//! Everything the demo runs on: issuer, API, the real daemon with a config of its own, a session.
//! All of it on loopback and in one temporary directory, and all of it gone at the end.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::api::Api;
use super::issuer::{CLIENT_ID, Issuer, SCOPE};
use super::net::broken;
use super::pki::{HOST, Pki};
use crate::admin::wire::SessionKind;
use crate::cli::failure::{Failure, chain};
use crate::cli::join::{self, Log};
use crate::cli::session::{self, AskedSession, ToolSession};
use crate::config::{Config, check, env};
use crate::local::place::Private;
use crate::model::id::random_text;

/// The variable that the tool reads its key from.
pub(super) const KEY_VARIABLE: &str = "ORDERS_API_KEY";
/// How long the daemon may take to end.
const DEMO_END_PATIENCE: Duration = Duration::from_secs(5);

/// The running parts. Dropping it kills the daemon and removes the directory.
pub(in crate::cli) struct World {
    /// For the session's environment and the audit.
    pub(super) config: Config,
    pub(in crate::cli) issuer: Arc<Issuer>,
    pub(in crate::cli) api: Arc<Api>,
    /// The API's CA, PEM, as a file.
    pub(in crate::cli) api_ca: PathBuf,
    /// The session, and what its tool's environment is.
    pub(in crate::cli) session: ToolSession,
    /// What no file of the daemon's may hold, beside the tokens.
    pub(super) client_secret: String,
    pub(super) log: PathBuf,
    daemon: Child,
    dir: TempDir,
}

impl World {
    /// Starts everything; tokens live `token_life_s` seconds.
    pub(in crate::cli) async fn start(token_life_s: u64) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("valetkey-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(short_temp_dir())
            .map_err(|error| broken("make a temporary directory", &error))?;
        // What is written there is run: nobody else may be able to put something in its place.
        Private::open(dir.path()).and_then(Private::unexposed).map_err(|error| {
            let hint = format!("{}: set TMPDIR to a directory of your own", error.hint());
            Failure::failed(error.code(), chain(&error), hint)
        })?;
        let client_secret = random_text();
        let pki = Pki::make()?;
        let issuer = Issuer::start(client_secret.clone(), token_life_s).await?;
        let api = Api::start(Arc::clone(&issuer), &pki).await?;

        let api_ca = dir.path().join("api-ca.pem");
        write(&api_ca, &pki.ca_pem)?;
        write(&dir.path().join("client.secret"), &client_secret)?;
        let text = config_text(&issuer, &api);
        let path = dir.path().join("valetkey.toml");
        write(&path, &text)?;
        let config = check::parse(&path, text.as_bytes(), dir.path().join("state"))?.0;

        let log = dir.path().join("daemon.log");
        let mut daemon = start_daemon(&config, &log)?;
        let said = Log { path: log.clone(), start: 0 };
        let client = join::wait_for(&config.admin.socket, &mut || daemon.try_wait(), &said).await?;
        // A clean environment: whatever this machine's is, the tool gets what is told here.
        let nothing = |_: &str| -> Option<OsString> { None };
        let session =
            session::open(&config, client, SessionKind::Run, &AskedSession::default(), &nothing)
                .await?;
        Ok(Self { config, issuer, api, api_ca, session, client_secret, log, daemon, dir })
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The placeholder that the tool has for a key.
    pub(in crate::cli) fn placeholder(&self) -> Result<String, Failure> {
        let value = self.session.environment.set.get(KEY_VARIABLE).and_then(|value| value.to_str());
        value.map(str::to_owned).ok_or_else(|| {
            Failure::failed(
                "demo-broken",
                "the daemon gave no placeholder for the demo's route",
                "is another version of valetkey in the way? see `valetkey --version`",
            )
        })
    }

    /// Ends the session and the daemon, and removes the directory.
    pub(in crate::cli) async fn end(mut self) -> Result<(), Failure> {
        self.session.close().await?;
        let pid = self.daemon.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(DEMO_END_PATIENCE, self.daemon.wait()).await.is_err() {
            self.daemon.kill().await.map_err(|error| broken("end its daemon", &error))?;
        }
        self.dir.close().map_err(|error| broken("remove its directory", &error))
    }
}

/// A unix socket's path has 108 bytes at most (`unix(7)`); some `TMPDIR`s leave no room in that.
fn short_temp_dir() -> PathBuf {
    let dir = std::env::temp_dir();
    if dir.as_os_str().len() > 64 { PathBuf::from("/tmp") } else { dir }
}

/// What a person would write, but for the two lines that stand in for DNS and a public CA.
fn config_text(issuer: &Issuer, api: &Api) -> String {
    format!(
        r#"config_version = 1

[proxy]
listen = "127.0.0.1:0"

[upstream]
extra_roots = ["api-ca.pem"]
resolve     = {{ "{HOST}:443" = "{address}" }}

[credentials.orders]
grant         = "client-credentials"
token_url     = "{token_url}"
client_id     = "{CLIENT_ID}"
client_secret = {{ file = "client.secret" }}
scope         = ["{SCOPE}"]

[[routes]]
name       = "orders-read"
host       = "{HOST}"
methods    = ["GET", "HEAD"]
path       = ["/v1/**"]
credential = "orders"
strip      = ["header:x-api-key"]
env        = {{ {KEY_VARIABLE} = "placeholder:opaque" }}

[[routes]]
name    = "orders-no-delete"
host    = "{HOST}"
methods = ["DELETE"]
deny    = true
"#,
        address = api.address,
        token_url = issuer.token_url(),
    )
}

fn start_daemon(config: &Config, log: &Path) -> Result<Child, Failure> {
    let cannot = |error: std::io::Error| broken("start its daemon", &error);
    let log = File::create(log).map_err(cannot)?;
    Command::new(std::env::current_exe().map_err(cannot)?)
        .arg("serve")
        .arg("--config")
        .arg(&config.path)
        // Should we be killed, it goes by itself.
        .args(["--idle-exit", "2m"])
        .env_clear()
        .env(env::STATE_DIR, &config.state_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| broken("write its files", &error))
}
