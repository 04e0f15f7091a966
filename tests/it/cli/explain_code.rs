//! `explain CODE`: what a code means and what to do, on a machine without any config.

use serde_json::Value;

use crate::harness::client::{Finished, finish};
use crate::harness::valetkey::Valetkey;

async fn explain(words: &[&str]) -> Finished {
    let home = Valetkey::new().written();
    let mut command = home.bare_command(&[&["explain"][..], words].concat());
    command.env_remove("VALETKEY_CONFIG").current_dir("/");
    finish(&mut command).await
}

#[tokio::test]
async fn a_code_is_explained_without_a_config() {
    let done = explain(&["no-route"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    for line in
        ["code    no-route", "means   no route names", "fault   the client's", "status  403"]
    {
        assert!(done.stdout.contains(line), "{line}: {done:?}");
    }
    let done = explain(&["secret-unset", "--json"]).await;
    let said: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(said["code"], "secret-unset");
    assert!(said["next"].as_str().unwrap().contains("valetkey restart"), "{said}");
    assert!(said.get("status").is_none(), "{said}");
}

#[tokio::test]
async fn all_codes_fit_a_terminal_of_80_columns() {
    let done = explain(&["--codes"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.lines().count() > 300, "{done:?}");
    for line in done.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        let code = line.split(' ').next().unwrap();
        assert_ne!(code, "");
    }
    let done = explain(&["--codes", "--json"]).await;
    let all: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    for code in all {
        let done = explain(&[code["code"].as_str().unwrap()]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done:?}");
    }
}

#[tokio::test]
async fn what_is_no_code_is_told_from_one() {
    for (words, code, says) in [
        (&["no-rout"][..], "code-unknown", "did you mean `no-route`"),
        (&["no-routte"], "code-unknown", "did you mean `no-route`"),
        (&["login-store"], "code-unknown", "`login-store-unsafe`"),
        (&["qqqq"], "code-unknown", "valetkey explain --codes"),
        (&["GET"], "explain-incomplete", "valetkey explain GET https://"),
        (&["api.example.com"], "explain-incomplete", "valetkey explain GET https://"),
        (&["https://api.example.com/no-route"], "explain-incomplete", "valetkey explain GET"),
        (&[], "usage", "METHOD|CODE"),
        (&["--codes", "no-route"], "usage", "--codes"),
        // A method and a URL are a request, however they look.
        (&["get", "no-route"], "config-missing", ""),
    ] {
        let done = explain(words).await;
        assert_eq!(done.code, Some(2), "{words:?}: {done:?}");
        assert!(done.stderr.starts_with(&format!("error[{code}]")), "{words:?}: {done:?}");
        assert!(done.stderr.contains(says), "{words:?}: {done:?}");
    }
}
