//! Valetkey as it ships, with route policy, strip, inject and audit on.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::api::Api;
use super::{BLOBS, HOST, KEY};

/// The program that ships: built apart, because `cargo bench` builds its own with what tests ask of the
/// libraries (tokio's clock can be paused there, which costs).
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(built).clone()
}

fn built() -> PathBuf {
    if let Some(given) = std::env::var_os("VALETKEY_BENCH_BINARY") {
        return given.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "--bin",
            "valetkey",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "cargo build failed");
    // The last artifact is ours; its copy under `deps` stays when `cargo bench` links its own over it.
    let text = String::from_utf8(built.stdout).unwrap();
    let path = text.lines().rev().find_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value["executable"].as_str().map(PathBuf::from)
    });
    path.expect("cargo names the program")
}

/// Clients of `Home::with_sessions`.
const SESSIONS: [&str; 4] = ["first", "second", "third", "fourth"];

fn secret(name: &str) -> String {
    format!("{name}-0123456789abcdef0123456789abcdef")
}

/// What each session sends with CONNECT.
pub fn credentials() -> Vec<String> {
    let basic = |name| format!("Basic {}", STANDARD.encode(format!("{name}:{}", secret(name))));
    SESSIONS.into_iter().map(basic).collect()
}

/// Where its config, state and roots are.
pub struct Home {
    folder: tempfile::TempDir,
    binary: PathBuf,
}

impl Home {
    /// Writes a config that sends `HOST` and the names below it to `api`.
    pub fn new(api: &Api) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = api.address;
        let config = format!(
            "config_version = 1\n[proxy]\nlisten = \"127.0.0.1:0\"\n[upstream]\nextra_roots = [\"root.pem\"]\n\
             [upstream.resolve]\n\"{HOST}:443\" = \"{address}\"\n\"{BLOBS}:443\" = \"{address}\"\n\
             [credentials.key]\ngrant = \"static-key\"\n\
             secret = {{ file = \"key\" }}\nttl = \"1h\"\n[[routes]]\nname = \"bench\"\nhost = \"{HOST}\"\n\
             methods = [\"GET\"]\npath = [\"/v1/**\"]\ncredential = \"key\"\nstrip = [\"header:x-api-key\"]\n\
             [[routes]]\nname = \"below\"\nhost = \"*.{HOST}\"\ncredential = \"key\"\n\
             [[routes]]\nname = \"blobs\"\nhost = \"{BLOBS}\"\ncredential = \"key\"\nredact = false\n"
        );
        std::fs::write(folder.path().join("valetkey.toml"), config).unwrap();
        std::fs::write(folder.path().join("root.pem"), &api.root).unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        Self { folder, binary: binary() }
    }

    /// The same with pre-shared sessions, for those who keep more connections open than one client's share:
    /// with 20,000 descriptors a process, some 4,900.
    pub fn with_sessions(api: &Api) -> Self {
        let home = Self::new(api);
        let path = home.path().join("valetkey.toml");
        let mut config = std::fs::read_to_string(&path).unwrap();
        for name in SESSIONS {
            let file = format!("{name}.session");
            std::fs::write(home.path().join(&file), secret(name)).unwrap();
            config +=
                &format!("[[sessions]]\nname = \"{name}\"\nsecret = {{ file = \"{file}\" }}\n");
        }
        std::fs::write(path, config).unwrap();
        home
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program with these arguments, under `wrapper` (a debugger's or profiler's command line) where it is not empty.
    pub fn command(&self, wrapper: &[String], arguments: &[&str]) -> Command {
        let mut command = match wrapper {
            [] => Command::new(&self.binary),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(&self.binary);
                command
            }
        };
        // By the environment: what follows `run -- COMMAND` on the line is the command's.
        command
            .args(arguments)
            .env("VALETKEY_CONFIG", self.path().join("valetkey.toml"))
            .env("VALETKEY_STATE_DIR", self.path().join("state"));
        command
    }

    /// Starts the daemon and waits until it listens.
    pub fn serve(&self, wrapper: &[String]) -> (Child, SocketAddr) {
        let mut child = self.command(wrapper, &["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let address = line.split("listening on ").nth(1)?;
            address.split_whitespace().next()?.parse().ok()
        });
        // What it says later is read, or it would stand still when the pipe is full.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        (child, address.expect("the proxy listens"))
    }

    /// PEM of the local CA.
    pub fn ca(&self) -> String {
        let shown = self.command(&[], &["ca", "show", "--pem"]).output().unwrap();
        String::from_utf8(shown.stdout).unwrap()
    }
}
