//! The program under test, as a child process with a config, a state directory and an
//! environment of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::client::{Finished, finish};
use super::issuer::Issuer;
use super::pki::Pki;
use super::{Background, Gate, lock, soon};

/// The program under test: another build than the tests' own where `VALETKEY_TEST_BINARY` names one.
pub fn program() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_BIN_EXE_valetkey"));
    std::env::var_os("VALETKEY_TEST_BINARY").map_or_else(own, PathBuf::from)
}

/// A config in the making. Reads as a sentence:
/// `Valetkey::new().trusting(&pki).reaching("a.example:443", api.addr()).minting("a", &issuer).route("…").start().await`.
pub struct Valetkey {
    home: tempfile::TempDir,
    proxy: String,
    resolve: Vec<String>,
    roots: Vec<String>,
    upstream: String,
    rest: String,
    environment: Vec<(String, String)>,
    ignores_file_size: bool,
    descriptors: Option<u32>,
    verbose: bool,
    inherits: Option<PathBuf>,
    over: Vec<(PathBuf, &'static str)>,
    cage: Option<PathBuf>,
}

impl Valetkey {
    pub fn new() -> Self {
        Self {
            home: tempfile::Builder::new().prefix("valetkey-it-").tempdir().unwrap(),
            proxy: String::new(),
            resolve: Vec::new(),
            roots: Vec::new(),
            upstream: String::new(),
            rest: String::new(),
            environment: Vec::new(),
            ignores_file_size: false,
            descriptors: None,
            verbose: false,
            inherits: None,
            over: Vec::new(),
            cage: None,
        }
    }

    /// Believes certificates of this test CA upstream.
    pub fn trusting(mut self, pki: &Pki) -> Self {
        let name = format!("root-{}.pem", self.roots.len());
        self.write(&name, pki.pem());
        self.roots.push(format!("{name:?}"));
        self
    }

    /// As [`Valetkey::trusting`], for a file that was written before.
    pub fn also_trusting(mut self, name: &str) -> Self {
        self.roots.push(format!("{name:?}"));
        self
    }

    /// Pins `host:port` to a fake.
    pub fn reaching(mut self, authority: &str, addr: SocketAddr) -> Self {
        self.resolve.push(format!("{authority:?} = \"{addr}\""));
        self
    }

    /// A client-credentials credential at a fake issuer.
    pub fn minting(self, name: &str, issuer: &Issuer) -> Self {
        self.credential_at(name, &issuer.token_url(), "")
    }

    /// A client-credentials credential with more keys.
    pub fn credential_at(self, name: &str, token_url: &str, more: &str) -> Self {
        self.write(&format!("{name}.secret"), "test-client-secret\n");
        self.toml(&format!(
            "[credentials.{name}]\ngrant = \"client-credentials\"\ntoken_url = {token_url:?}\n\
             client_id = \"{name}-cli\"\nclient_secret = {{ file = \"{name}.secret\" }}\n{more}\n"
        ))
    }

    /// One `[[routes]]` entry.
    pub fn route(self, keys: &str) -> Self {
        self.toml(&format!("[[routes]]\n{keys}\n"))
    }

    /// Keys of `[proxy]`, beside `listen`.
    pub fn proxy(mut self, keys: &str) -> Self {
        self.proxy.push_str(keys);
        self.proxy.push('\n');
        self
    }

    /// Keys of `[upstream]`, beside roots and pins.
    pub fn upstream(mut self, keys: &str) -> Self {
        self.upstream.push_str(keys);
        self.upstream.push('\n');
        self
    }

    /// Any other part of the config.
    pub fn toml(mut self, text: &str) -> Self {
        self.rest.push_str(text);
        self.rest.push('\n');
        self
    }

    /// A variable of the daemon's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Beyond the limit of file size, writing fails instead of killing.
    pub fn ignoring_file_size_signal(mut self) -> Self {
        self.ignores_file_size = true;
        self
    }

    /// Logs everything.
    pub fn verbose(mut self) -> Self {
        self.verbose = true;
        self
    }

    /// With so many descriptors at most.
    pub fn with_descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Whoever starts it has this file beside the config open, at descriptor 9, and lets it inherit that.
    pub fn inheriting(mut self, name: &str) -> Self {
        self.inherits = Some(self.home.path().join(name));
        self
    }

    /// It alone sees these files beside the config in place of the machine's own. For root.
    pub fn apart(mut self, files: &[(&str, &'static str)]) -> Self {
        let files = files.iter().map(|(name, place)| (self.home.path().join(name), *place));
        self.over = files.collect();
        self
    }

    /// In this cgroup. For root.
    pub fn caged(mut self, cgroup: &Path) -> Self {
        self.cage = Some(cgroup.to_owned());
        self
    }

    /// A file beside the config.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        // As a person should keep a secret: `check` warns of anything looser.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The directory of the config.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    fn config_text(&self) -> String {
        let listen =
            if self.proxy.contains("listen") { "" } else { "listen = [\"127.0.0.1:0\"]\n" };
        format!(
            "config_version = 1\n[proxy]\n{listen}{}\n[upstream]\nextra_roots = [{}]\nresolve = {{ {} }}\n{}{}",
            self.proxy,
            self.roots.join(", "),
            self.resolve.join(", "),
            self.upstream,
            self.rest
        )
    }

    /// Writes the files, starts nothing: for commands that need no daemon.
    pub fn written(self) -> Home {
        let config = self.home.path().join("valetkey.toml");
        std::fs::write(&config, self.config_text()).unwrap();
        let state = self.home.path().join("state");
        Home {
            dir: Arc::new(self.home),
            config,
            state,
            environment: self.environment,
            ignores_file_size: self.ignores_file_size,
            descriptors: self.descriptors,
            verbose: self.verbose,
            inherits: self.inherits,
            over: self.over,
            cage: self.cage,
        }
    }

    /// Starts the daemon and waits until it listens.
    pub async fn start(self) -> Running {
        self.written().start().await
    }
}

/// A config directory and a state directory.
#[derive(Clone)]
pub struct Home {
    dir: Arc<tempfile::TempDir>,
    pub config: PathBuf,
    pub state: PathBuf,
    environment: Vec<(String, String)>,
    ignores_file_size: bool,
    descriptors: Option<u32>,
    verbose: bool,
    inherits: Option<PathBuf>,
    over: Vec<(PathBuf, &'static str)>,
    cage: Option<PathBuf>,
}

impl Home {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command of the program, with this config and state and a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.arg("--config").arg(&self.config);
        command
    }

    /// As [`Home::command`], without `--config`.
    pub fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut before = String::new();
        if self.ignores_file_size {
            // An ignored signal stays ignored across exec.
            before += "trap '' XFSZ; ";
        }
        if let Some(most) = self.descriptors {
            before += &format!("ulimit -n {most}; ");
        }
        if let Some(path) = &self.inherits {
            before += &format!("exec 9<'{}'; ", path.display());
        }
        if let Some(cage) = &self.cage {
            before += &format!("echo $$ > '{}/cgroup.procs'; ", cage.display());
        }
        for (file, place) in &self.over {
            before += &format!("mount --bind '{}' {place}; ", file.display());
        }
        let mut command = if before.is_empty() {
            Command::new(program())
        } else {
            let mut shell = if self.over.is_empty() {
                Command::new("sh")
            } else {
                let mut apart = Command::new("unshare");
                apart.args(["--mount", "--", "sh"]);
                apart
            };
            shell.args(["-c", &format!("{before}exec \"$0\" \"$@\"")]).arg(program());
            shell
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("VALETKEY_STATE_DIR", &self.state)
            .envs(self.environment.iter().map(|(n, v)| (n, v)))
            .current_dir(self.dir.path())
            .args(arguments);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments)).await
    }

    /// Replaces the config file.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, change(text)).unwrap();
    }

    /// Starts the daemon and waits until it listens.
    pub async fn start(&self) -> Running {
        let serve: &[&str] = if self.verbose { &["serve", "-vv"] } else { &["serve"] };
        let mut running = self.spawn(self.command(serve));
        running.listening().await;
        running
    }

    /// Starts a daemon that may not come up.
    pub fn spawn(&self, mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let stderr = Captured::from(child.stderr.take().unwrap());
        let stdout = Captured::from(child.stdout.take().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Running { home: self.clone(), child, proxy: nowhere, stderr, stdout }
    }

    /// The audit records so far.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.state.join("audit.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// The daemon; killed when dropped.
pub struct Running {
    pub home: Home,
    child: Child,
    proxy: SocketAddr,
    stderr: Captured,
    stdout: Captured,
}

impl Running {
    /// Waits for the line that says where it listens.
    pub async fn listening(&mut self) {
        let line = self.stderr.line_with("listening on ").await;
        let Some(line) = line else {
            panic!("valetkey did not come up:\n{}", self.stderr.text());
        };
        let at = line.split("listening on ").nth(1).unwrap_or_default();
        let at = at.split(|c: char| c.is_whitespace() || c == ',').next().unwrap_or_default();
        self.proxy = at.parse().unwrap_or_else(|_| panic!("an address in: {line}"));
    }

    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy
    }

    pub fn home(&self) -> &Home {
        &self.home
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The local CA, as a client would import it.
    pub async fn ca_pem(&self) -> String {
        let shown = self.home.run(&["ca", "show", "--pem"]).await;
        assert_eq!(shown.code, Some(0), "ca show: {}", shown.stderr);
        shown.stdout
    }

    pub fn audit(&self) -> Vec<serde_json::Value> {
        self.home.audit()
    }

    pub fn stderr_text(&self) -> String {
        self.stderr.text()
    }

    /// Reads nothing of stderr until the gate opens.
    pub fn deaf(&self) -> Gate {
        let gate = Gate::closed();
        *lock(&self.stderr.gate) = Some(gate.clone());
        gate
    }

    /// All that it printed.
    pub fn output(&self) -> String {
        self.stdout.text() + &self.stderr.text()
    }

    /// The next line on stderr, past or future, that holds `needle`; `None` when it ended without.
    pub async fn says(&self, needle: &str) -> Option<String> {
        self.stderr.line_with(needle).await
    }

    /// Waits until it has printed more than `before` bytes on stderr.
    pub async fn says_more_than(&self, before: usize) {
        let mut length = self.stderr.length.clone();
        let _ = soon("more on stderr", length.wait_for(|n| *n > before)).await;
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("valetkey still runs");
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn sighup(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    pub fn sigterm(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Kills it and waits until it is gone.
    pub async fn sigkill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end: the exit code, `None` after a signal. What it printed is there by then, unless a process
    /// that it leaves behind could print more.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = soon("valetkey to end", self.child.wait()).await.unwrap();
        let printed = async { tokio::join!(self.stdout.whole(), self.stderr.whole()) };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), printed).await;
        status.code()
    }
}

/// Gone for good before its directory is removed, or it would write into what is being deleted.
impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = self.child.start_kill();
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

/// What a pipe has carried so far.
struct Captured {
    text: Arc<Mutex<String>>,
    /// Nothing is read until it opens.
    gate: Arc<Mutex<Option<Gate>>>,
    /// Bytes so far; closed at the end of the pipe.
    length: watch::Receiver<usize>,
    _task: Background,
}

impl Captured {
    fn from(pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let (sender, length) = watch::channel(0);
        let gate = Arc::new(Mutex::new(None));
        let (inner, held) = (Arc::clone(&text), Arc::clone(&gate));
        let task = Background::run(async move {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
                {
                    let mut text = lock(&inner);
                    text.push_str(&String::from_utf8_lossy(&line));
                    sender.send_replace(text.len());
                }
                line.clear();
                let gate: Option<Gate> = lock(&held).clone();
                if let Some(gate) = gate {
                    gate.passed().await;
                }
            }
        });
        Self { text, gate, length, _task: task }
    }

    fn text(&self) -> String {
        lock(&self.text).clone()
    }

    /// Waits until nobody can print any more.
    async fn whole(&self) {
        let mut length = self.length.clone();
        while length.changed().await.is_ok() {}
    }

    async fn line_with(&self, needle: &str) -> Option<String> {
        let mut length = self.length.clone();
        soon(&format!("`{needle}` on stderr"), async {
            loop {
                length.borrow_and_update();
                let text = self.text();
                if let Some(line) = text.lines().find(|line| line.contains(needle)) {
                    return Some(line.to_owned());
                }
                if length.changed().await.is_err() {
                    let text = self.text();
                    return text.lines().find(|l| l.contains(needle)).map(str::to_owned);
                }
            }
        })
        .await
    }
}
