//! `demo`: the whole story offline, short enough to read, and without a secret in it.

use std::time::{Duration, Instant};

use crate::harness::client::Finished;
use crate::harness::valetkey::Valetkey;

/// The demo may take 90 s; its tokens alone live for 5.
async fn demo(arguments: &[&str], path: Option<&str>) -> Finished {
    let home = Valetkey::new().written();
    let mut command = home.bare_command(arguments);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let begun = Instant::now();
    let output = tokio::time::timeout(Duration::from_secs(90), command.output()).await;
    let output = output.expect("the demo ends within 90 s").unwrap();
    println!("the demo took {:?}", begun.elapsed());
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn tells_the_story(done: &Finished) {
    assert_eq!(done.code, Some(0), "{done:?}");
    let told = format!("{}{}", done.stdout, done.stderr);
    assert!(told.lines().count() <= 60, "{} lines", told.lines().count());
    for word in ["401", "200", "placeholder", "audit"] {
        assert!(told.contains(word), "`{word}` in\n{told}");
    }
    // A JSON Web Token starts so, and has two dots.
    let token = told.split_whitespace().find(|w| w.contains("eyJ") && w.matches('.').count() >= 2);
    assert!(token.is_none(), "a token is shown: {token:?}");
}

#[tokio::test]
async fn it_tells_the_story_with_curl() {
    tells_the_story(&demo(&["demo"], None).await);
}

#[tokio::test]
async fn without_curl_it_says_so() {
    let done = demo(&["demo"], Some("/nowhere")).await;
    tells_the_story(&done);
    assert!(format!("{}{}", done.stdout, done.stderr).contains("curl"), "{done:?}");
}

#[tokio::test]
async fn as_json_it_is_one_document() {
    let done = demo(&["demo", "--json"], None).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let _: serde_json::Value = serde_json::from_str(&done.stdout).expect("one JSON document");
}
