//! `run` and `env`: the child behind the proxy, its environment and its exit code.

use crate::harness::client::{Finished, finish};
use crate::harness::stage::{EVIL, ORDERS, Stage};
use crate::harness::valetkey::Valetkey;

async fn run(stage: &Stage, command: &[&str]) -> Finished {
    let mut arguments = vec!["run", "--"];
    arguments.extend_from_slice(command);
    let home = &stage.running().unwrap().home;
    let mut command = home.bare_command(&[]);
    command.arg("--config").arg(&home.config).args(arguments);
    finish(&mut command).await
}

async fn stage() -> Stage {
    Stage::valetkey_with(|v| {
        v.env("UNRELATED", "kept").route(
            "name = \"tool\"\nhost = \"tool.example\"\ncredential = \"orders\"\n\
             env = { TOOL_API_KEY = \"placeholder:opaque\" }",
        )
        .route(&format!(
            "name = \"orders-too\"\nhost = \"{ORDERS}\"\npath = [\"/v1/x\"]\ncredential = \"orders\"\n\
             env = {{ TOOL_API_KEY = \"placeholder:opaque\" }}"
        ))
    })
    .await
}

#[tokio::test]
async fn an_unmodified_curl_under_run() {
    let stage = stage().await;
    let url = format!("https://{ORDERS}/v1/x");
    let script = format!("curl -sS -H \"Authorization: Bearer $TOOL_API_KEY\" {url}");
    let done = run(&stage, &["sh", "-c", &script]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "{\"ok\":true}"), "{done:?}");
    let seen = stage.orders.request(0).await;
    stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    assert_eq!(seen.count("vk-placeholder-"), 0);
}

#[tokio::test]
async fn exit_codes_are_the_childs() {
    let stage = stage().await;
    assert_eq!(run(&stage, &["sh", "-c", "exit 7"]).await.code, Some(7));
    assert_eq!(run(&stage, &["sh", "-c", "kill -TERM $$"]).await.code, Some(128 + 15));
    assert_eq!(run(&stage, &["/nowhere/at-all"]).await.code, Some(127));
    assert_eq!(run(&stage, &["/"]).await.code, Some(126));
}

#[tokio::test]
async fn the_child_has_the_proxy_and_no_secret() {
    let stage = stage().await;
    let done = run(&stage, &["env"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let environment = &done.stdout;
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "CURL_CA_BUNDLE",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO",
    ] {
        assert!(environment.contains(&format!("{name}=")), "{name} in\n{environment}");
    }
    assert!(environment.contains("TOOL_API_KEY=vk-placeholder-"), "{environment}");
    assert!(environment.contains("UNRELATED=kept"), "{environment}");
    assert!(!environment.contains("test-client-secret"), "{environment}");
    stage.silent("the environment", environment).unwrap();
}

/// The variable that a secret source names is removed from the child's environment.
#[tokio::test]
async fn secret_variables_are_removed() {
    let stage = Stage::valetkey_with(|v| {
        v.env("ORDERS_SECRET", "secret-in-a-variable-3f").toml(
            "[credentials.by-env]\ngrant = \"client-credentials\"\n\
             token_url = \"http://127.0.0.1:9/token\"\nclient_id = \"x\"\n\
             client_secret = { env = \"ORDERS_SECRET\" }",
        )
    })
    .await;
    let done = run(&stage, &["env"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stdout.contains("ORDERS_SECRET"), "{}", done.stdout);
    assert!(!done.stdout.contains("secret-in-a-variable-3f"), "{}", done.stdout);
}

#[tokio::test]
async fn stdin_and_stdout_are_the_childs_own() {
    let stage = stage().await;
    let home = &stage.running().unwrap().home;
    let mut command = home.bare_command(&["run", "--config"]);
    command.arg(&home.config).args(["--", "cat"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let copy = bytes.clone();
    tokio::spawn(async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, &copy).await;
    });
    let output = crate::harness::soon("cat to end", child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes, "stdout differs");
}

/// When the child has ended, its session has.
#[tokio::test]
async fn the_session_ends_with_the_child() {
    let stage = stage().await;
    let done = run(&stage, &["sh", "-c", "echo $HTTPS_PROXY"]).await;
    let proxy = done.stdout.trim().to_owned();
    assert!(proxy.contains('@'), "credentials of a session in {proxy}");
    let refused = finish(
        tokio::process::Command::new("curl")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_connect}", "--proxy", &proxy])
            .arg(format!("https://{ORDERS}/v1/x")),
    )
    .await;
    assert_eq!(refused.stdout, "407", "{refused:?}");
    stage.control().await.unwrap();
}

#[tokio::test]
async fn env_prints_what_a_shell_can_eval() {
    let stage = stage().await;
    let home = &stage.running().unwrap().home;
    let done = home.run(&["env", "--shell", "posix"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let script = format!(
        "{}\ncurl -sS -H \"Authorization: Bearer $TOOL_API_KEY\" https://{ORDERS}/v1/x",
        done.stdout
    );
    let mut command = tokio::process::Command::new("sh");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).args(["-c", &script]);
    let curl = finish(&mut command).await;
    assert_eq!((curl.code, curl.stdout.as_str()), (Some(0), "{\"ok\":true}"), "{curl:?}");
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
}

/// What `explain` says of an edited config is what the next `run` does.
#[tokio::test]
async fn an_edited_config_is_taken_up_by_the_next_run() {
    let stage = stage().await;
    let url = format!("https://{ORDERS}/v1/edited");
    let status = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url.as_str()];
    assert_eq!(run(&stage, &status).await.stdout, "200");
    stage.running().unwrap().home.rewrite(|text| {
        text + "\n[[routes]]\nname = \"edited\"\nhost = \"api.orders.example\"\n\
                path = [\"/v1/edited\"]\ndeny = true\n"
    });
    assert_eq!(run(&stage, &status).await.stdout, "403");
    stage.audited("route-denied", 1).await;
}

/// A failed mint is still to be seen when the session that it failed for is over.
#[tokio::test]
async fn the_last_error_outlives_its_session() {
    let mut stage = stage().await;
    stage.orders_issuer.stop();
    let url = format!("https://{ORDERS}/v1/x");
    let status = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url.as_str()];
    assert_eq!(run(&stage, &status).await.stdout, "503");
    let status = stage.running().unwrap().home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let credentials = status["credentials"].as_array().unwrap();
    let failed = credentials.iter().find(|c| c["name"] == "orders").unwrap();
    assert_eq!(failed["last_error"]["code"], "issuer-unreachable", "{status}");
}

/// A daemon that was started without a secret's variable cannot mint: that is said before the tool fails.
#[tokio::test]
async fn a_variable_that_the_daemon_lacks_is_said() {
    let stage = Stage::valetkey_with(|v| {
        v.toml(
            "[credentials.by-env]\ngrant = \"client-credentials\"\ntoken_url = \"http://127.0.0.1:9/token\"\n\
             client_id = \"x\"\nclient_secret = { env = \"NOT_SET_ANYWHERE\" }",
        )
    })
    .await;
    let done = run(&stage, &["true"]).await;
    assert_eq!(done.code, Some(0));
    assert!(done.stderr.contains("warning[secret-unavailable]"), "{done:?}");
    assert!(done.stderr.contains("NOT_SET_ANYWHERE"), "{done:?}");
}

/// Whether `run` says that nothing of the command came, and why.
fn nothing_came(done: &Finished) -> Option<&str> {
    done.stderr.lines().find(|line| line.starts_with("warning[nothing-came]: "))
}

#[tokio::test]
async fn a_command_of_which_nothing_came_is_told_why() {
    let stage = stage().await;
    let home = &stage.running().unwrap().home;
    let done = run(&stage, &["sh", "-c", "exit 3"]).await;
    assert_eq!((done.code, done.stderr.lines().count()), (Some(3), 1), "{done:?}");
    assert!(nothing_came(&done).unwrap().contains("reads no HTTPS_PROXY"), "{done:?}");
    let killed = run(&stage, &["sh", "-c", "kill -KILL $$"]).await;
    assert!(killed.code == Some(137) && nothing_came(&killed).is_some(), "{killed:?}");

    // A setting that leads past us is named, and its value is not.
    let setting = "[http]\n\tproxy = http://u:hunter2@127.0.0.1:9\n";
    std::fs::write(home.path(".gitconfig"), setting).unwrap();
    let git = run(&stage, &["git", "ls-remote", &format!("https://{ORDERS}/x.git")]).await;
    let said = nothing_came(&git).unwrap_or_else(|| panic!("{git:?}"));
    assert!(said.contains(".gitconfig, line 2") && !said.contains("hunter2"), "{said}");

    for quiet in [&["run", "--quiet", "--", "false"][..], &["run", "-q", "--", "false"]] {
        let mut command = home.bare_command(&["--config"]);
        let done = finish(command.arg(&home.config).args(quiet)).await;
        assert_eq!((done.code, done.stderr.as_str()), (Some(1), ""));
    }
}

#[tokio::test]
async fn a_command_of_which_something_came_is_told_nothing() {
    let stage = stage().await;
    let url = format!("https://{ORDERS}/v1/x");
    for script in [
        // With the session, whatever came of it.
        format!("curl -s {url}; exit 3"),
        "curl -s https://nowhere.example/; exit 3".to_owned(),
        // As Java comes: without it; and with one that has ended.
        format!("curl -s --proxy http://${{HTTPS_PROXY#*@}} {url}; exit 3"),
        format!("curl -s --proxy http://run-x:y@${{HTTPS_PROXY#*@}} {url}; exit 3"),
        "exit 0".to_owned(),
    ] {
        let done = run(&stage, &["sh", "-c", &script]).await;
        let wanted = if script == "exit 0" { 0 } else { 3 };
        assert_eq!((done.code, nothing_came(&done)), (Some(wanted), None), "{script}: {done:?}");
    }
}

/// Who cannot know says nothing, and the exit code is the command's all the same.
#[tokio::test]
async fn a_daemon_that_is_gone_has_nothing_said_of_it() {
    let stage = stage().await;
    let status = stage.running().unwrap().home.run(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let script = format!("kill -KILL {}; exit 3", status["pid"]);
    let done = run(&stage, &["sh", "-c", &script]).await;
    assert_eq!((done.code, nothing_came(&done)), (Some(3), None), "{done:?}");
}

/// A command is told of the logins that it needs, and of no others.
#[tokio::test]
async fn a_login_is_missed_where_the_command_needs_it() {
    let stage = Stage::valetkey_with(|v| {
        v.toml(
            "[credentials.me]\ngrant = \"device\"\nissuer = \"https://127.0.0.1:9\"\nclient_id = \"x\"",
        )
        .route(&format!(
            "name = \"mine\"\nhost = \"{EVIL}\"\ncredential = \"me\"\n\
             env = {{ MINE_KEY = \"placeholder:opaque\" }}"
        ))
    })
    .await;
    let home = &stage.running().unwrap().home;
    let url = format!("https://{EVIL}/x");
    for (line, asked) in [
        (&["--", "true"][..], false),
        (&["--", "sh", "-c", "true ORDERS"], false),
        (&["--only", "orders", "--", "true", &url], false),
        (&["--", "true", &url], true),
        (&["--only", "mine", "--", "true"], true),
        (&["--", "sh", "-c", "true \"$MINE_KEY\""], true),
        (&["--quiet", "--only", "mine", "--", "true"], false),
    ] {
        let mut command = home.bare_command(&["--config"]);
        let done = finish(command.arg(&home.config).arg("run").args(line)).await;
        assert_eq!(done.code, Some(0), "{line:?}: {done:?}");
        let said = done.stderr.contains("warning[login-required]: requests with `me` will fail");
        assert_eq!(said, asked, "{line:?}: {done:?}");
    }
    let mut command = home.bare_command(&["-v", "--config"]);
    let done = finish(command.arg(&home.config).args(["run", "--", "true"])).await;
    assert!(done.stderr.contains("login: not looked at: `me`"), "{done:?}");
}

#[tokio::test]
async fn what_run_decided_is_said_and_no_secret_is() {
    let stage = stage().await;
    let home = &stage.running().unwrap().home;
    let print = "echo $HTTPS_PROXY $TOOL_API_KEY";
    for (flag, each) in [("-v", false), ("-vv", true)] {
        let mut command = home.bare_command(&[flag, "--config"]);
        let done = finish(command.arg(&home.config).args(["run", "--", "sh", "-c", print])).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let config = format!("config: {} (by --config)", home.config.display());
        for line in [
            config.as_str(),
            "daemon: process ",
            ", was there",
            "session: run-",
            ", until its command ends",
            "route tool: tool.example:443: token of `orders`, sets TOOL_API_KEY",
            "trust: ",
            "variables set: ",
        ] {
            assert!(done.stderr.contains(line), "{line} in {}", done.stderr);
        }
        for line in ["set TOOL_API_KEY=<placeholder>\n", "set HTTPS_PROXY=http://run-"] {
            assert_eq!(done.stderr.contains(line), each, "{line} in {}", done.stderr);
        }
        let (proxy, placeholder) = done.stdout.trim().split_once(' ').unwrap();
        let secret = proxy.split(['@', ':']).nth(2).unwrap();
        assert!(secret.len() > 20 && placeholder.len() > 20, "{done:?}");
        for value in [secret, placeholder] {
            assert!(!done.stderr.contains(value), "{}", done.stderr);
        }
        stage.silent("what run decided", &done.stderr).unwrap();
    }
    // Not asked for, nothing is said.
    assert_eq!(run(&stage, &["true"]).await.stderr, "");
}

#[tokio::test]
async fn a_daemon_that_was_started_for_it_is_said() {
    let home = Valetkey::new().written();
    let done = home.run(&["-v", "env", "--shell", "posix"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains(", started for this"), "{done:?}");
    assert!(!done.stdout.contains("daemon:"), "{done:?}");
    assert_eq!(home.run(&["stop"]).await.code, Some(0));
}
