//! What people read, kept as snapshots: help, `check`, `explain`. Review changes with `cargo insta`, or set
//! `INSTA_UPDATE=always` and look at the diff.

use crate::harness::client::Finished;
use crate::harness::valetkey::{Home, Valetkey};

fn home() -> Home {
    Valetkey::new()
        .credential_at("orders", "https://idp.example/oauth2/token", "scope = [\"orders:read\"]")
        .route(
            "name = \"orders-read\"\nhost = \"api.orders.example\"\nmethods = [\"GET\", \"HEAD\"]\n\
             path = [\"/v1/**\"]\ncredential = \"orders\"\n\
             strip = [\"header:x-api-key\", \"query:api_key\"]",
        )
        .route(
            "name = \"closed\"\nhost = \"api.orders.example\"\npath = [\"/admin/**\"]\ndeny = true",
        )
        .written()
}

/// Exit code and both streams, with the temporary directory named.
fn shown(home: &Home, done: &Finished) -> String {
    let directory = home.path("").display().to_string();
    let directory = directory.trim_end_matches('/');
    let text = format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        done.code.unwrap_or(-1),
        done.stdout,
        done.stderr
    );
    let text = text.replace(directory, "[HOME]");
    // The policy's hash is new with every change of its form.
    match text.split_once("sha256:") {
        Some((before, after)) => format!("{before}sha256:[HASH]{}", &after[16..]),
        None => text,
    }
}

#[tokio::test]
async fn help() {
    let home = home();
    let commands = [
        "",
        "demo",
        "init",
        "run",
        "env",
        "schema",
        "serve",
        "check",
        "explain",
        "trust",
        "audit",
        "audit tail",
        "audit query",
        "audit checkpoint",
        "audit inventory",
        "audit verify",
        "bench",
        "ca",
        "ca show",
        "ca rotate",
        "completions",
        "placeholder",
        "revoke",
        "session",
        "session list",
        "session open",
        "session end",
    ];
    for command in commands {
        let mut arguments: Vec<_> = command.split(' ').filter(|w| !w.is_empty()).collect();
        arguments.push("--help");
        let mut command_line = home.bare_command(&arguments);
        let done = crate::harness::client::finish(&mut command_line).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let name = if command.is_empty() { "all" } else { command };
        insta::assert_snapshot!(format!("help {name}").replace(' ', "-"), done.stdout);
    }
}

#[tokio::test]
async fn check() {
    let home = home();
    insta::assert_snapshot!("check-good", shown(&home, &home.run(&["check"]).await));
    home.rewrite(|text| {
        text.replace("path =", "pathh =")
            .replace("https://idp", "http://idp")
            .replace("\"GET\"", "\"TRACE\"")
    });
    insta::assert_snapshot!("check-bad", shown(&home, &home.run(&["check"]).await));
}

#[tokio::test]
async fn explain() {
    let home = home();
    for (name, method, url) in [
        ("inject", "GET", "https://api.orders.example/v1/orders?api_key=x&page=2"),
        ("method", "DELETE", "https://api.orders.example/v1/orders"),
        ("denied", "GET", "https://api.orders.example/admin/x"),
        ("path", "GET", "https://api.orders.example/v1/../admin"),
        ("port", "GET", "https://api.orders.example:8443/v1/x"),
        ("cleartext", "GET", "http://api.orders.example/v1/x"),
        ("unrouted", "GET", "https://other.example/"),
    ] {
        let done = home.run(&["explain", method, url]).await;
        insta::assert_snapshot!(format!("explain-{name}"), shown(&home, &done));
    }
    let done = home.run(&["explain", "--json", "GET", "https://api.orders.example/v1/x"]).await;
    let _: serde_json::Value = serde_json::from_str(&done.stdout).expect("one JSON document");
}

#[tokio::test]
async fn version_and_completions() {
    let home = home();
    let done = crate::harness::client::finish(&mut home.bare_command(&["--version"])).await;
    assert_eq!(done.stdout.trim(), format!("valetkey {}", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        let done =
            crate::harness::client::finish(&mut home.bare_command(&["completions", shell])).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains("valetkey"));
    }
    let done = crate::harness::client::finish(&mut home.bare_command(&["nonsense"])).await;
    assert_eq!(done.code, Some(2), "{done:?}");
}
