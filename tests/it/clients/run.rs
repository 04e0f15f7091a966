//! `valetkey run` itself: exit codes, streams, the child's environment, one daemon for all.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{finish, shell, text, under_run};
use crate::harness::valetkey::{Home, Valetkey, program};
use crate::harness::{canary, found, soon};

/// A config with one route and an issuer that nobody will ask, and the daemon that `run` starts for it.
struct Bench {
    home: Home,
    secrets: [String; 2],
}

impl Bench {
    fn new() -> Self {
        let secrets = [canary("env-secret"), canary("file-secret")];
        let home = Valetkey::new()
            .env("ORDERS_CLIENT_SECRET", &secrets[0])
            .file("key.secret", &secrets[1])
            .toml(
                "[credentials.orders]\ngrant = \"client-credentials\"\n\
                 token_url = \"http://127.0.0.1:9/token\"\nclient_id = \"orders-cli\"\n\
                 client_secret = { env = \"ORDERS_CLIENT_SECRET\" }\n\
                 [credentials.key]\ngrant = \"static-key\"\nsecret = { file = \"key.secret\" }",
            )
            .route(
                "name = \"orders\"\nhost = \"api.orders.example\"\ncredential = \"orders\"\n\
                 env = { ORDERS_API_KEY = \"placeholder:opaque\" }",
            )
            .route("name = \"key\"\nhost = \"api.key.example\"\ncredential = \"key\"")
            .written();
        Self { home, secrets }
    }

    async fn run(&self, command: &[&str]) -> super::Output {
        finish(&mut under_run(&self.home, command), b"").await
    }

    /// All processes that live with our `HOME`, with their command lines.
    fn processes(&self) -> Vec<(Pid, String)> {
        let home = self.home.path("");
        let home = home.to_str().unwrap().trim_end_matches('/');
        let ours = |dir: &Path| {
            let environ = std::fs::read(dir.join("environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|v| v == format!("HOME={home}").as_bytes())
        };
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            ours(&entry.path())
                .then(|| (pid, String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()))
        });
        all.collect()
    }

    fn daemons(&self) -> Vec<Pid> {
        let mut all = self.processes();
        all.retain(|(_, line)| line.split(' ').any(|word| word == "serve"));
        all.into_iter().map(|(pid, _)| pid).collect()
    }
}

/// `run` leaves its daemon behind, on purpose; a test does not.
impl Drop for Bench {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[tokio::test]
async fn the_exit_code_is_the_childs() {
    let bench = Bench::new();
    let plain = bench.home.path("plain");
    std::fs::write(&plain, "not a program").unwrap();
    let plain = plain.to_str().unwrap();
    let cases: [(&[&str], i32); 7] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 125"], 125),
        (&["no-such-program-anywhere"], 127),
        (&[plain], 126),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
    ];
    for (command, code) in cases {
        let output = bench.run(command).await;
        assert_eq!(output.code(), Some(code), "{command:?}: {}", output.all());
        assert_eq!(output.stdout(), "", "{command:?}");
    }
}

#[tokio::test]
async fn stdin_and_stdout_are_the_childs_alone() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    let output = finish(&mut under_run(&bench.home, &["cat"]), &bytes).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr());
    assert!(output.0.stdout == bytes, "{} bytes of {}", output.0.stdout.len(), bytes.len());

    // A child that reads nothing leaves stdin to whoever comes after it.
    let line = "\"$VALETKEY\" run --config \"$CONFIG\" -- true; cat";
    let output = finish(&mut shell(&bench.home, line), b"left alone").await;
    assert_eq!(output.stdout(), "left alone", "{}", output.all());
}

#[tokio::test]
async fn words_reach_the_child_as_they_are() {
    let bench = Bench::new();
    let words = ["printf", "%s\n", "--config", "a b", "", "$HOME", "--", "-v"];
    let output = bench.run(&words).await;
    assert_eq!(output.stdout(), "--config\na b\n\n$HOME\n--\n-v\n", "{}", output.all());
}

#[tokio::test]
async fn signals_are_forwarded() {
    let bench = Bench::new();
    let script =
        "trap 'echo caught; exit 9' TERM; echo ready; while :; do read -r line || exit 1; done";
    let mut command = under_run(&bench.home, &["sh", "-c", script]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn().unwrap();
    let _stdin = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(soon("ready", lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(soon("caught", lines.next_line()).await.unwrap().as_deref(), Some("caught"));
    let status = soon("run to end", child.wait()).await.unwrap();
    assert_eq!((status.code(), status.signal()), (Some(9), None));
}

#[tokio::test]
async fn the_child_holds_no_secret_of_ours() {
    let bench = Bench::new();
    // Its own environment and command line, and those of its parent.
    let script = "env; tr '\\0' '\\n' </proc/$$/cmdline; tr '\\0' '\\n' </proc/$PPID/cmdline";
    let output = bench.run(&["sh", "-c", script]).await;
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let seen = output.stdout();
    for secret in &bench.secrets {
        assert!(!output.all().contains(secret), "a secret in: {seen}");
    }
    assert!(!seen.contains("ORDERS_CLIENT_SECRET"), "the variable itself goes: {seen}");
    assert!(!seen.contains("PRIVATE KEY"), "{seen}");
    let key = variable(&seen, "ORDERS_API_KEY").expect("a placeholder");
    assert!(key.starts_with(valetkey::model::placeholder::PREFIX), "{key}");
    for name in ["HTTPS_PROXY", "https_proxy"] {
        let proxy = variable(&seen, name).unwrap_or_default();
        assert!(proxy.contains("@127.0.0.1:"), "{name} names the proxy and a session: {proxy}");
    }

    // Whatever file the environment names may be read by the tool: none holds a key.
    let files: Vec<PathBuf> = seen
        .split(['=', '\n', ':', ' '])
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.is_file())
        // The program knows the label of the keys that it reads.
        .filter(|path| *path != program())
        .collect();
    assert!(files.iter().any(|f| f.starts_with(bench.home.path(""))), "a bundle in: {seen}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        assert!(!holds(b"PRIVATE KEY-----"), "{} holds a key", file.display());
        assert!(!bench.secrets.iter().any(|s| holds(s.as_bytes())), "{}", file.display());
    }
    // Nor does any process of ours show one on its command line.
    for (pid, line) in bench.processes() {
        assert!(!bench.secrets.iter().any(|s| line.contains(s)), "{pid:?}: {line}");
    }
}

fn variable(env: &str, name: &str) -> Option<String> {
    env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned)
}

#[tokio::test]
async fn two_runs_at_once_share_one_daemon() {
    let bench = Bench::new();
    assert_eq!(bench.daemons(), []);
    let script = "echo \"$HTTPS_PROXY\"; read -r line";
    let start = || {
        let mut command = under_run(&bench.home, &["sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    };
    let mut children = [start(), start(), start()];
    let mut proxies = Vec::new();
    for child in &mut children {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("a run to be ready", lines.next_line()).await.unwrap().unwrap();
        proxies.push(line);
    }
    // Those that lost the lock are on their way out.
    let daemons = found("one daemon to be left", || {
        let daemons = bench.daemons();
        (daemons.len() < 2).then_some(daemons)
    })
    .await;
    assert_eq!(daemons.len(), 1, "{:#?}", bench.processes());
    let status = bench.home.run(&["status", "--json"]).await;
    let shown: serde_json::Value =
        serde_json::from_str(&status.stdout).unwrap_or_else(|_| panic!("{}", text(&status)));
    assert_eq!(shown["pid"], daemons[0].as_raw_nonzero().get(), "{}", text(&status));

    // One proxy, but each run has a session of its own.
    let addr = |proxy: &String| proxy.rsplit_once('@').unwrap().1.to_owned();
    assert!(proxies.iter().all(|p| addr(p) == addr(&proxies[0])), "{proxies:?}");
    assert_ne!(proxies[0], proxies[1]);
    assert_ne!(proxies[1], proxies[2]);
    for child in &mut children {
        drop(child.stdin.take());
        soon("a run to end", child.wait()).await.unwrap();
    }
    // It stays for the next one.
    assert_eq!(bench.run(&["true"]).await.code(), Some(0));
    assert_eq!(bench.daemons(), daemons);
}
