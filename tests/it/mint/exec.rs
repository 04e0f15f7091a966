//! `grant = "exec"` and `{ exec = … }`: helpers that print, fail, hang, flood and talk too much.

use crate::harness::canary;
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
        valetkey.env("VK_IT_SECRET", &secret).env("VK_IT_LISTED", "listed").file("helper.sh", &script).toml(
            &format!("[credentials.minted]\ngrant = \"exec\"\ncommand = [\"/bin/sh\", {path:?}]\nenv = [\"VK_IT_LISTED\"]"),
        )
    })
    .await;
    assert_eq!(rig.get("/v1/x", "").await.status(), 200);
    let seen = std::fs::read_to_string(rig.running.home.path("seen")).unwrap();
    assert!(seen.contains("VK_IT_LISTED=listed"), "{seen}");
    assert!(!seen.contains(&secret) && !seen.contains("VALETKEY_"), "{seen}");
    let open = std::fs::read_to_string(rig.running.home.path("seen.fd")).unwrap();
    // Nothing that the daemon opened: no connection, listener, lock or audit file. (What whoever started
    // the daemon left open for its children is theirs.)
    let state = rig.running.home.state.display().to_string();
    assert!(open.contains("/dev/null") && open.contains("seen.fd"), "{open}");
    assert!(!open.contains("socket:") && !open.contains(&state), "{open}");
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
