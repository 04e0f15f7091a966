//! A session's own processes: held to it on the admin socket, and without the secrets of whoever started them.

use std::path::PathBuf;

use crate::harness::canary;
use crate::harness::client::{Finished, finish};
use crate::harness::neighbour::{self, NEIGHBOUR};
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::valetkey::{Home, Valetkey, program};
use crate::harness::{found, until};

/// A line of a shell below `run`; `$VALETKEY` is the program, with this config.
async fn inside(home: &Home, more: &[&str], line: &str) -> Finished {
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(more).args(["--", "sh", "-c", line]);
    command.env("VALETKEY", program()).env("VALETKEY_CONFIG", &home.config);
    finish(&mut command).await
}

/// `client_auth = ["session"]`: whoever is in a session gets no wider one, and ends nobody else's.
#[tokio::test]
async fn a_sessions_processes_are_held_to_it() {
    let stage = Stage::valetkey_with(|v| {
        v.proxy("client_auth = [\"session\"]").route(
            "name = \"tool\"\nhost = \"tool.example\"\ncredential = \"orders\"\n\
             env = { TOOL_API_KEY = \"placeholder:opaque\" }",
        )
    })
    .await;
    let home = stage.running().unwrap().home.clone();
    let opened = home.run(&["session", "open", "--json"]).await.stdout;
    let other = serde_json::from_str::<serde_json::Value>(&opened).unwrap()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = [
        "$VALETKEY session open".to_owned(),
        "$VALETKEY env".to_owned(),
        "$VALETKEY revoke --all".to_owned(),
        format!("$VALETKEY session end {other}"),
        format!("$VALETKEY revoke --session {other}"),
        "$VALETKEY ca rotate".to_owned(),
        "$VALETKEY run --only tool -- true".to_owned(),
        // Without a terminal, a group or a parent: still below.
        "setsid -w $VALETKEY session open".to_owned(),
        "(sh -c '(sleep 0.2; $VALETKEY session open >out 2>err; echo $? >code) &'); while ! test -s code; do sleep 0.05; done; cat err >&2; exit $(cat code)"
            .to_owned(),
    ];
    for line in refused {
        let done = inside(&home, &["--only", "tool"], &line).await;
        assert!(done.stderr.contains("inside-session"), "{line}: {done:?}");
        assert_ne!(done.code, Some(0), "{line}: {done:?}");
        let _ = std::fs::remove_file(home.path("code"));
    }
    // What only looks is answered, and its own session it may end.
    let line = "$VALETKEY status >/dev/null && $VALETKEY session list >/dev/null && echo seen";
    let done = inside(&home, &[], line).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "seen\n"), "{done:?}");
    let line = "$VALETKEY session end $(echo $HTTPS_PROXY | cut -d/ -f3 | cut -d: -f1)";
    let done = inside(&home, &[], line).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    // And whoever has ended it is held to it still, by this daemon and by the next.
    let line = "$VALETKEY session end $(echo $HTTPS_PROXY | cut -d/ -f3 | cut -d: -f1); $VALETKEY session open";
    let done = inside(&home, &[], line).await;
    assert!(done.code != Some(0) && done.stderr.contains("inside-session"), "{done:?}");
    // Control: outside all of it works, and the other session was never ended.
    let list = home.run(&["session", "list"]).await;
    assert!(list.stdout.contains(&other), "{list:?}");
    for arguments in [&["session", "open"][..], &["session", "end", &other], &["revoke", "--all"]] {
        let done = home.run(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    }
}

/// A script under `run` that uses `run` itself goes on in the session that it has.
#[tokio::test]
async fn run_within_run_stays_in_its_session() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let line = format!("$VALETKEY run -- curl -sS https://{ORDERS}/v1/x; exit 0");
    let done = inside(&home, &[], &line).await;
    assert_eq!(done.stdout, "{\"ok\":true}", "{done:?}");
    let seen = stage.orders.request(0).await;
    stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    let opened = |record: &&serde_json::Value| record["context"]["action"] == "opened";
    assert_eq!(home.audit().iter().filter(opened).count(), 1, "one session");
}

/// What `run` was given and its command is not, the command cannot read from `run` either.
#[tokio::test]
async fn a_command_cannot_read_what_run_was_given() {
    if !neighbour::exists() {
        return;
    }
    let secret = canary("client-secret");
    let home = Valetkey::new()
        .env("ORDERS_SECRET", &secret)
        .env("UNRELATED", "stays")
        .toml(
            "[credentials.by-env]\ngrant = \"client-credentials\"\n\
             token_url = \"http://127.0.0.1:9/token\"\nclient_id = \"x\"\n\
             client_secret = { env = \"ORDERS_SECRET\" }",
        )
        .written();
    // As a user who is not root, who could read everything.
    neighbour::give(&home.path("."));
    let mut daemon = {
        let mut command = home.command(&["serve"]);
        command.uid(NEIGHBOUR).gid(NEIGHBOUR);
        home.spawn(command)
    };
    daemon.listening().await;
    let line = "tr '\\0' '\\n' </proc/$PPID/environ; head -c 1 /proc/$PPID/mem; echo read $?; \
                grep -c . /proc/$$/environ >/dev/null && echo control; \
                echo $PPID > pid; read go || true";
    let mut run = home.bare_command(&["run", "--config"]);
    run.arg(&home.config).args(["--", "sh", "-c", line]).uid(NEIGHBOUR).gid(NEIGHBOUR);
    run.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut running = run.stderr(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let pid: PathBuf = home.path("pid");
    let pid = found("the command's start", || {
        std::fs::read_to_string(&pid).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    // Not even root finds it there: what the command does not get is gone from where it was.
    let environ = std::fs::read(format!("/proc/{}/environ", pid.trim())).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(environ.contains("UNRELATED=stays"), "control: {environ:?}");
    assert!(environ.contains("ORDERS_SECRET=") && !environ.contains(&secret), "{environ:?}");
    // Its end lets the command go on.
    drop(running.stdin.take());
    let done = running.wait_with_output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}");
    assert!(out.contains("control"), "{out}{err}");
    assert!(err.contains("/environ: Permission denied"), "{out}{err}");
    assert!(!out.contains(&secret) && !out.contains("read 0"), "{out}{err}");
}

/// No process is named on anyone's word: from where the kernel has no numbers for us, none is tied.
#[tokio::test]
async fn nobody_is_held_by_a_number_that_somebody_said() {
    if !neighbour::exists() {
        return;
    }
    let home = Valetkey::new().written();
    let serve = home.command(&["serve"]);
    let mut apart = tokio::process::Command::new("unshare");
    apart.args(["--pid", "--fork", "--kill-child", "--"]).arg(program());
    apart.args(serve.as_std().get_args()).env_clear().current_dir(home.path(""));
    apart.envs(serve.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = home.spawn(apart);
    running.listening().await;
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["-sS", "--unix-socket"]).arg(home.state.join("admin.sock"));
    curl.args(["-d", r#"{"kind":"run","pid":1}"#, "http://x/v1/sessions"]);
    let opened = finish(&mut curl).await;
    assert!(opened.stdout.contains("secret"), "{opened:?}");
    for arguments in
        [&["session", "open"][..], &["revoke", "--all"], &["revoke", "--all", "--undo"]]
    {
        let done = home.run(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    }
    // And `run` works there.
    let done = inside(&home, &[], "echo $HTTPS_PROXY").await;
    assert!(done.code == Some(0) && done.stdout.contains("@127.0.0.1"), "{done:?}");
}

/// Keeps 200 connections open in each of 25 processes and says nothing, and opens others for those that are closed.
const FLOOD: &str = r#"
import os, socket, sys, time
for _ in range(24):
    if os.fork() == 0:
        break
else:
    open(sys.argv[2], "w").close()
held, end = [], time.time() + 40
while time.time() < end and not os.path.exists(sys.argv[3]):
    kept = []
    for s in held:
        try:
            if s.recv(1) == b"":
                s.close()
                continue
        except BlockingIOError:
            pass
        except OSError:
            s.close()
            continue
        kept.append(s)
    held = kept
    while len(held) < 200:
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(sys.argv[1])
        except OSError:
            s.close()
            break
        held.append(s)
    time.sleep(0.02)
"#;

/// What ends a session or a daemon works, however many connections a tool in a session opens.
#[tokio::test]
async fn a_flood_from_a_session_holds_up_no_off_switch() {
    let stage = Stage::valetkey_with(|v| v.with_descriptors(1024)).await;
    let home = stage.running().unwrap().home.clone();
    std::fs::write(home.path("flood.py"), FLOOD).unwrap();
    let [socket, ready, done] =
        [home.state.join("admin.sock"), home.path("ready"), home.path("done")];
    let line = format!(
        "exec python3 flood.py {} {} {}",
        socket.display(),
        ready.display(),
        done.display()
    );
    let flood = inside(&home, &[], &line);
    let switches = async {
        until("the flood", || ready.exists()).await;
        let mut answers = Vec::new();
        for arguments in [
            &["status"][..],
            &["revoke", "--credential", "orders"],
            &["revoke", "--all"],
            &["stop"],
        ] {
            let asked = std::time::Instant::now();
            let answer = home.run(arguments).await;
            answers.push((arguments, answer, asked.elapsed()));
        }
        std::fs::write(&done, "").unwrap();
        answers
    };
    let (_flood, answers) = tokio::join!(flood, switches);
    for (arguments, answer, took) in answers {
        assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
        assert!(took < std::time::Duration::from_secs(5), "{arguments:?}: {took:?}");
    }
}
