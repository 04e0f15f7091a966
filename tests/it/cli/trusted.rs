//! `trust --list` and `trust --remove`.

use serde_json::Value;

use crate::harness::client::{Finished, finish};
use crate::harness::valetkey::{Home, Valetkey};

async fn trust(home: &Home, arguments: &[&str]) -> Finished {
    finish(&mut home.bare_command(&[&["trust"][..], arguments].concat())).await
}

async fn states(home: &Home) -> Vec<String> {
    let done = trust(home, &["--list", "--json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let all: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    all.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_trusted_and_what_has_become_of_it() {
    let home = Valetkey::new().written();
    let none = trust(&home, &["--list"]).await;
    assert!(none.code == Some(0) && none.stderr.contains("no project"), "{none:?}");
    let config = home.config.display().to_string();
    for name in ["b", "c"] {
        std::fs::create_dir(home.path(name)).unwrap();
        let other = home.path(name).join("valetkey.toml");
        std::fs::copy(&home.config, &other).unwrap();
        assert_eq!(trust(&home, &[&other.display().to_string()]).await.code, Some(0));
    }
    assert_eq!(trust(&home, &[]).await.code, Some(0));
    assert_eq!(states(&home).await, ["as-trusted"; 3]);
    home.rewrite(|text| text + "# changed\n");
    std::fs::write(home.path("b/valetkey.toml"), "half [").unwrap();
    std::fs::remove_dir_all(home.path("c")).unwrap();
    let done = trust(&home, &["--list"]).await;
    for said in ["changed", "gone", "STATE", "SINCE", "the config"] {
        assert!(done.stdout.contains(said), "{said}: {done:?}");
    }
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done:?}");
    let mut all = states(&home).await;
    all.sort();
    assert_eq!(all, ["changed", "changed", "gone"]);

    // By its name, by its directory's, and where neither is there any more.
    let gone = home.path("c").display().to_string();
    for path in [&*config, &gone, "b"] {
        let done = trust(&home, &["--remove", path]).await;
        assert!(done.code == Some(0) && done.stderr.contains("no longer trusted"), "{done:?}");
        let again = trust(&home, &["--remove", path]).await;
        assert!(again.code == Some(1) && again.stderr.contains("error[not-trusted]"), "{again:?}");
    }
    assert_eq!(states(&home).await, [""; 0]);
    let used = finish(&mut home.bare_command(&["check"])).await;
    assert!(used.code == Some(2) && used.stderr.contains("config-untrusted"), "{used:?}");
}

#[tokio::test]
async fn a_daemon_that_runs_is_named() {
    let home = Valetkey::new().written();
    assert_eq!(trust(&home, &[]).await.code, Some(0));
    let mut running = home.spawn(home.bare_command(&["serve"]));
    running.listening().await;
    let done = trust(&home, &["--remove", "valetkey.toml"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let stop = format!("valetkey stop --config {}", home.config.display());
    assert!(done.stderr.contains("daemon-still-runs") && done.stderr.contains(&stop), "{done:?}");
    assert_eq!(finish(&mut home.bare_command(&["stop"])).await.code, Some(0));
    assert_eq!(running.ended().await, Some(0));
}

#[tokio::test]
async fn they_exclude_each_other() {
    let home = Valetkey::new().written();
    for line in
        [&["--list", "--remove", "x"][..], &["--list", "x"], &["--json"], &["x", "--remove", "y"]]
    {
        assert_eq!(trust(&home, line).await.code, Some(2), "{line:?}");
    }
}
