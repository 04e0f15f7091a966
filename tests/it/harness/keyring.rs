//! A desktop session without a desktop: a bus of its own, and on it a real gnome-keyring-daemon, unlocked by a
//! password on its stdin.

use std::process::Stdio;

use secret_service::{EncryptionType, SecretService};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::soon;

/// No service is started by the bus: which one is there is for the test to say.
const BUS: &str = "<busconfig><type>session</type><listen>unix:dir=DIR</listen>\
    <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
    <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>";

const PASSWORD: &[u8] = b"the keyring's password";

/// The session; it ends when dropped, or with the test.
pub struct Keyring {
    home: tempfile::TempDir,
    /// `DBUS_SESSION_BUS_ADDRESS`
    pub bus: String,
    daemon: Option<Child>,
    /// The bus lasts as long as this is open.
    _open: ChildStdin,
    _session: Child,
}

impl Keyring {
    /// With an open keyring.
    pub async fn start() -> Self {
        let mut keyring = Self::bus_only().await;
        keyring.unlock().await;
        keyring
    }

    /// Nobody on the bus keeps secrets.
    pub async fn bus_only() -> Self {
        let home = tempfile::Builder::new().prefix("vk-keyring-").tempdir().unwrap();
        let dir = home.path().display().to_string();
        let config = home.path().join("bus.conf");
        std::fs::write(&config, BUS.replace("DIR", &dir)).unwrap();
        let mut session = Command::new("dbus-run-session")
            .arg(format!("--config-file={}", config.display()))
            .args(["--", "sh", "-c", "echo \"$DBUS_SESSION_BUS_ADDRESS\"; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // That it may not raise its own limits.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-run-session: tests/run installs it");
        let open = session.stdin.take().unwrap();
        let mut bus = String::new();
        let mut said = BufReader::new(session.stdout.take().unwrap());
        soon("the bus", said.read_line(&mut bus)).await.unwrap();
        let bus = bus.trim().to_owned();
        Self { home, bus, daemon: None, _open: open, _session: session }
    }

    /// Starts the keyring anew, as what it was before, and unlocks it.
    pub async fn unlock(&mut self) {
        self.kill().await;
        let mut daemon = self
            .command("gnome-keyring-daemon")
            .args(["--foreground", "--components=secrets", "--unlock"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("gnome-keyring-daemon: tests/run installs it");
        daemon.stdin.take().unwrap().write_all(PASSWORD).await.unwrap();
        self.daemon = Some(daemon);
        soon("the keyring to open", async {
            while self.locked().await != Some(false) {
                super::look_again().await;
            }
        })
        .await;
    }

    /// Locks it.
    pub async fn lock(&self) {
        let service = self.service().await.unwrap();
        service.get_default_collection().await.unwrap().lock().await.unwrap();
        assert_eq!(self.locked().await, Some(true));
    }

    /// SIGKILL: nothing is saved in passing.
    pub async fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().await.unwrap();
        }
    }

    /// What another program finds by these attributes.
    pub async fn lookup(&self, attributes: &[&str]) -> String {
        let out = self.command("secret-tool").arg("lookup").args(attributes).output().await;
        String::from_utf8(out.expect("secret-tool: tests/run installs it").stdout).unwrap()
    }

    /// Stores a secret by another program, as a person would for `{ keyring = name }`.
    pub async fn store(&self, name: &str, secret: &str) {
        let mut tool = self.command("secret-tool");
        tool.args(["store", "--label", name, "service", "valetkey", "username", name]);
        let mut tool = tool.stdin(Stdio::piped()).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(secret.as_bytes()).await.unwrap();
        assert!(soon("secret-tool", tool.wait()).await.unwrap().success());
    }

    /// Where it keeps its files.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.home.path()).env("XDG_DATA_HOME", self.home.path().join("data"));
        command.env("XDG_RUNTIME_DIR", self.home.path());
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus);
        command
    }

    async fn service(&self) -> Option<SecretService<'static>> {
        let bus = zbus::connection::Builder::address(self.bus.as_str()).unwrap().build().await;
        SecretService::connect_with_existing(EncryptionType::Plain, bus.unwrap()).await.ok()
    }

    /// `None`: it is not there yet.
    async fn locked(&self) -> Option<bool> {
        let service = self.service().await?;
        service.get_default_collection().await.ok()?.is_locked().await.ok()
    }
}
