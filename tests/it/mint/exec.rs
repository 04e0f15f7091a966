//! `grant = "exec"` and `{ exec = … }`: helpers that print, fail, hang, flood and talk too much.

use crate::harness::{canary, found, until};
use crate::mint::Rig;

/// A credential whose helper is this shell script.
async fn rig(script: &str, keys: &str) -> Rig {
    Rig::with("", |valetkey| {
        let path = valetkey.home().join("helper.sh");
        valetkey.file("helper.sh", script).toml(&format!(
            "[credentials.minted]\ngrant = \"exec\"\ncommand = [\"/bin/sh\", {path:?}]\n{keys}"
        ))
    })
    .await
}

#[tokio::test]
async fn every_format_arrives_in_its_slot() {
    let token = canary("token");
    let kubectl = format!(
        r#"test -n "$KUBERNETES_EXEC_INFO" || exit 9
           echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{token}"}}}}'"#
    );
    let git = format!(
        "test \"$1\" = get || exit 9\ngrep -q host=git.example || exit 8\necho username=x\necho password={token}"
    );
    for (script, keys) in [
        (format!("echo {token}"), ""),
        (
            format!("echo '{{\"data\":{{\"key\":\"{token}\",\"end\":4000000000}}}}'"),
            "format = \"json\"\ntoken = \"/data/key\"\nexpires = \"/data/end\"",
        ),
        (kubectl, "format = \"kubectl\""),
        (git, "format = \"git\"\nurl = \"https://git.example\""),
        (
            format!(
                r#"echo '{{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"{token}"}}'"#
            ),
            "format = \"aws\"",
        ),
    ] {
        let rig = rig(&script, keys).await;
        let answer = rig.get("/v1/x", "Authorization: Bearer mine\r\n").await;
        assert_eq!(answer.status(), 200, "{keys}: {}", answer.everything());
        let seen = rig.api.request(0).await;
        assert_eq!(seen.one("authorization"), format!("Bearer {token}"), "{keys}");
        assert!(!rig.everything().await.contains(&token), "{keys}: the token is written down");
    }
}

/// What a helper says on stderr, prints in a failure or floods is nowhere to be found.
#[tokio::test]
async fn helpers_that_fail_say_nothing_but_a_code() {
    let secret = canary("stderr");
    for (script, code, status) in [
        (format!("echo {secret} >&2; echo {secret}; exit 7"), "helper-failed", 503),
        (format!("yes {secret}"), "helper-output-too-long", 502),
        (format!("echo {secret} with a space"), "issuer-access-token-invalid", 502),
        ("true".to_owned(), "issuer-access-token-invalid", 502),
        (format!("echo {secret} >&2; sleep 1000"), "helper-timeout", 503),
    ] {
        let rig = rig(&script, "timeout = \"1s\"").await;
        let answer = rig.get("/v1/x", "").await;
        assert_eq!(answer.status(), status, "{code}: {}", answer.everything());
        assert!(rig.api.requests().is_empty(), "{code}: a bare request went out");
        let all = rig.everything().await + &answer.everything();
        assert!(all.contains(code), "{code} is said: {all}");
        assert!(!all.contains(&secret), "{code}: the secret is in {all}");
        if code == "helper-failed" {
            std::fs::write(rig.running.home.state.join("planted"), &secret).unwrap();
            assert!(rig.everything().await.contains(&secret), "planted, it is found");
        }
    }
}

/// It sees PATH, HOME, LANG and what is listed; nothing of ours, and no session.
#[tokio::test]
async fn a_helper_sees_a_minimal_environment() {
    let secret = canary("variable");
    let rig = Rig::with("", |valetkey| {
        let path = valetkey.home().join("helper.sh");
        let seen = valetkey.home().join("seen");
        let script = format!("env > {seen:?}; ls -l /proc/self/fd > {seen:?}.fd; echo token-of-it");
        let credential = format!(
            "grant = \"exec\"\ncommand = [\"/bin/sh\", {path:?}]\nenv = [\"VK_IT_LISTED\"]"
        );
        valetkey
            .env("VK_IT_SECRET", &secret)
            .env("VK_IT_LISTED", "listed")
            .file("inherited", "what a helper must not read")
            .inheriting("inherited")
            .file("helper.sh", &script)
            .toml(&format!("[credentials.minted]\n{credential}"))
    })
    .await;
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    let seen = std::fs::read_to_string(rig.running.home.path("seen")).unwrap();
    assert!(seen.contains("VK_IT_LISTED=listed"), "{seen}");
    assert!(!seen.contains(&secret) && !seen.contains("VALETKEY_"), "{seen}");
    let open = std::fs::read_to_string(rig.running.home.path("seen.fd")).unwrap();
    // No connection, listener, lock or audit file of the daemon's, and nothing that whoever started it left open.
    let state = rig.running.home.state.display().to_string();
    assert!(open.contains("/dev/null") && open.contains("seen.fd"), "{open}");
    assert!(!open.contains("socket:") && !open.contains(&state), "{open}");
    assert!(!open.contains("inherited"), "{open}");
}

/// The two ways to name a program, and what each credential is then.
const WAYS: [fn(&str) -> String; 2] = [
    |command| format!("grant = \"exec\"\ncommand = {command}"),
    |command| format!("grant = \"static-key\"\nsecret = {{ exec = {{ command = {command} }} }}"),
];

/// A rig whose helper hangs, with a child of its own; and the two, once they run.
async fn hanging(way: fn(&str) -> String) -> (Rig, Vec<u32>) {
    let rig = Rig::with("", |valetkey| {
        let path = valetkey.home().join("helper.sh");
        let pids = valetkey.home().join("pids");
        let script =
            format!("sleep 1000 & echo $$ $! >{pids:?}.new; mv {pids:?}.new {pids:?}; wait");
        let credential = way(&format!("[\"/bin/sh\", {path:?}]"));
        valetkey.file("helper.sh", &script).toml(&format!("[credentials.minted]\n{credential}"))
    })
    .await;
    let pids = rig.running.home.path("pids");
    let asked = rig.get("/v1/x", "");
    let pids = tokio::select! {
        answer = asked => panic!("it hangs: {}", answer.everything()),
        pids = found("the helper", || std::fs::read_to_string(&pids).ok()) => pids,
    };
    (rig, pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
}

/// Gone, or not yet reaped by whoever inherited it.
fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|s| s.starts_with(" Z")))
}

async fn are_gone(what: &str, pids: &[u32]) {
    until(what, || pids.iter().all(|pid| is_gone(*pid))).await;
}

/// Not even where nobody is left to end it; and its own children go with it.
#[tokio::test]
async fn a_helper_ends_with_the_daemon() {
    for way in WAYS {
        let (mut rig, pids) = hanging(way).await;
        assert!(pids.len() == 2 && pids.iter().all(|pid| !is_gone(*pid)), "{pids:?}");
        rig.running.sigkill().await;
        are_gone("the helper of a killed daemon", &pids).await;

        let (mut rig, pids) = hanging(way).await;
        rig.running.sigterm();
        let told = std::time::Instant::now();
        assert_eq!(rig.running.ended().await, Some(0));
        // Its own cap is 10 s.
        assert!(told.elapsed() < std::time::Duration::from_secs(8), "{:?}", told.elapsed());
        are_gone("the helper of a stopped daemon", &pids).await;
    }
}

/// A prompt would wait for nobody: it has a session of its own, without a terminal.
#[tokio::test]
async fn a_helper_has_no_terminal() {
    let rig = rig("cat /proc/$$/stat >\"$0.stat\"; echo token-of-it", "").await;
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    let stat = std::fs::read_to_string(rig.running.home.path("helper.sh.stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let [_, parent, group, session, terminal, ..] = fields[..] else { panic!("{stat}") };
    assert_eq!((group, session, terminal), (parent, parent, "0"), "{stat}");
}

/// The secret source of another grant, one trailing newline dropped.
#[tokio::test]
async fn a_source_may_be_a_program() {
    let key = canary("key");
    let rig = Rig::with("", |valetkey| {
        let path = valetkey.home().join("helper.sh");
        valetkey.file("helper.sh", &format!("echo {key}")).toml(&format!(
            "[credentials.minted]\ngrant = \"static-key\"\nsecret = {{ exec = {{ command = [\"/bin/sh\", {path:?}] }} }}"
        ))
    })
    .await;
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    assert_eq!(rig.api.request(0).await.one("authorization"), format!("Bearer {key}"));
    assert!(!rig.everything().await.contains(&key));
}

#[tokio::test]
async fn systemd_hands_a_secret_over() {
    let key = canary("key");
    let rig = Rig::with("", |valetkey| {
        let directory = valetkey.home().display().to_string();
        valetkey
            .env("CREDENTIALS_DIRECTORY", &directory)
            .file("handed", &key)
            .toml("[credentials.minted]\ngrant = \"static-key\"\nsecret = { systemd = \"handed\" }")
    })
    .await;
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    assert_eq!(rig.api.request(0).await.one("authorization"), format!("Bearer {key}"));
}
