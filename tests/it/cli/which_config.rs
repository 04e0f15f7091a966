//! Which config is meant where there are several, where its daemon listens, and what a restart alone takes up.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::harness::laptop::{Laptop, OWN};
use crate::harness::{found, soon};

/// With one route, and no word of where to listen.
fn config(name: &str) -> String {
    format!(
        "config_version = 1\n[credentials.key]\ngrant = \"static-key\"\nsecret = {{ file = \"key\" }}\n\
         [[routes]]\nname = \"{name}\"\nhost = \"{name}.example\"\ncredential = \"key\"\n"
    )
}

/// His own config, and a project with directories below it.
fn laptop() -> Laptop {
    let laptop = Laptop::new();
    for (place, name) in [(OWN, "own"), ("work/p/valetkey.toml", "project")] {
        laptop.write(place, &config(name));
        let key = laptop.at(place).with_file_name("key");
        laptop.write(key.to_str().unwrap(), "a-standing-key-of-the-test");
    }
    std::fs::create_dir_all(laptop.at("work/p/a/b")).unwrap();
    laptop
}

/// The lines that say which config is used.
fn said(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("config: ")).collect()
}

#[tokio::test]
async fn the_nearest_config_upwards_counts() {
    let laptop = laptop();
    let project = laptop.at("work/p/valetkey.toml").display().to_string();
    let own = laptop.at(OWN).display().to_string();
    let refused = laptop.valetkey("work/p/a/b", &["check"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("config-untrusted"), "{refused:?}");
    assert!(refused.stderr.contains(&format!("valetkey trust {project}")), "{refused:?}");
    laptop.fine("work/p/a/b", &["trust", &project]).await;
    let checked = laptop.fine("work/p/a/b", &["check"]).await;
    assert!(checked.stdout.contains(&project), "{checked:?}");

    let run = laptop.fine("work/p/a/b", &["run", "--", "true"]).await;
    assert_eq!(said(&run.stderr), [format!("config: {project} (the nearest), not {own}")]);
    let run = laptop.fine("", &["run", "--", "true"]).await;
    assert_eq!(said(&run.stderr), [""; 0], "there is one only");
    let named = ["run", "--config", &own, "--", "true"];
    assert_eq!(said(&laptop.fine("work/p/a/b", &named).await.stderr), [""; 0], "it was typed");
    let mut by_variable = laptop.program("sh", "work/p/a");
    by_variable.env("VALETKEY_CONFIG", &own).args(["-c", "$VALETKEY run -- true"]);
    let run = crate::harness::client::finish(&mut by_variable).await;
    assert_eq!(
        said(&run.stderr),
        [format!("config: {own} (VALETKEY_CONFIG names it), not {project}")]
    );

    // Each is found again from where it holds.
    for (here, config) in [("work/p/a/b", &project), ("", &own), (".config/valetkey", &own)] {
        assert_eq!(laptop.json(here, &["status", "--json"]).await["config"], **config, "{here}");
    }
}

/// In /tmp anybody can put a config above one's own directory: it neither holds nor disables anything.
#[tokio::test]
async fn a_config_that_others_could_have_put_above_is_passed_over() {
    let laptop = laptop();
    laptop.fine("", &["run", "--", "true"]).await;
    let mode = |mode: u32| {
        std::fs::set_permissions(laptop.at("work/p"), std::fs::Permissions::from_mode(mode))
            .unwrap();
    };
    mode(0o777);
    let revoked = laptop.fine("work/p/a", &["revoke", "--all"]).await;
    assert!(revoked.stderr.contains("warning[config-passed-over]"), "{revoked:?}");
    assert_eq!(revoked.stderr.matches("config-passed-over").count(), 1, "{revoked:?}");
    let status = laptop.json("", &["status", "--json"]).await;
    assert!(status["revoked"]["all"].is_string(), "his own is meant: {status}");
    // Where he stands himself, and where he has trusted it, it is as it was.
    let here = laptop.valetkey("work/p", &["check"]).await;
    assert!(here.code == Some(2) && here.stderr.contains("config-untrusted"), "{here:?}");
    let project = laptop.at("work/p/valetkey.toml").display().to_string();
    let refused = laptop.valetkey("", &["trust", &project]).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("place-exposed"), "{refused:?}");
    // A key that others could put another in the place of is none.
    let key = laptop.at(OWN).with_file_name("key").display().to_string();
    laptop
        .rewrite("work/p/valetkey.toml", |text| text.replace("\"key\" }", &format!("{key:?} }}")));
    laptop.fine("", &["trust", &project]).await;
    let checked = laptop.fine("work/p/a", &["check"]).await;
    assert!(checked.stdout.contains(&project), "{checked:?}");
    laptop.rewrite("work/p/valetkey.toml", |text| text + "# changed\n");
    let changed = laptop.valetkey("work/p/a", &["check"]).await;
    assert!(changed.code == Some(2) && changed.stderr.contains("config-untrusted"), "{changed:?}");
}

fn first_address(daemon: &Value) -> SocketAddr {
    daemon["listen"][0].as_str().unwrap().parse().unwrap()
}

/// A port that nobody has at this moment, and no outgoing connection of another test will have.
fn free() -> SocketAddr {
    use std::hash::{BuildHasher as _, RandomState};
    let mut ports =
        std::iter::from_fn(|| Some(20_000 + (RandomState::new().hash_one(0) % 10_000) as u16));
    ports
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .and_then(|listener| listener.local_addr().ok())
        .unwrap()
}

/// The log comes by a thread of its own, so it may be later than the answer.
async fn logged(laptop: &Laptop, words: &[&str]) {
    soon("the log", async {
        loop {
            let log = laptop.fine("", &["logs"]).await.stdout;
            if words.iter().all(|word| log.contains(word)) {
                break;
            }
        }
    })
    .await;
}

/// Somebody else's from now on: as soon as it is to be had.
async fn taken(address: SocketAddr) -> TcpListener {
    found("the port", || TcpListener::bind(address).ok()).await
}

#[tokio::test]
async fn two_configs_without_a_port_have_one_each_and_keep_it() {
    let laptop = laptop();
    laptop.fine("work/p", &["trust"]).await;
    let last = free();
    laptop.listened_last_at("", OWN, last).await;
    laptop.fine("", &["restart"]).await;
    laptop.fine("work/p/a", &["restart"]).await;
    let own = first_address(&laptop.daemon(OWN).await.unwrap());
    let project = first_address(&laptop.daemon("work/p/valetkey.toml").await.unwrap());
    assert_eq!(own, last, "that of last time");
    assert_ne!(project, own);
    for (here, address) in [("work/p/a", project), ("", own)] {
        let env = laptop.fine(here, &["env", "--shell", "posix"]).await;
        assert!(env.stdout.contains(&format!("@{address}")), "{here}: {env:?}");
        let status = laptop.json(here, &["status", "--json"]).await;
        assert_eq!(status["listen"][0], address.to_string(), "{status}");
        let run = laptop.fine(here, &["run", "--", "sh", "-c", "echo $HTTPS_PROXY"]).await;
        assert!(run.stdout.trim().ends_with(&format!("@{address}")), "{here}: {run:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_by_now_is_given_up_and_said() {
    let laptop = laptop();
    let last = free();
    laptop.listened_last_at("", OWN, last).await;
    laptop.fine("", &["restart"]).await;
    let env = laptop.json("", &["env", "--json"]).await;
    let holds = |status: &Value| status["sessions"][0]["holds_address"].clone();
    assert!(env["set"]["HTTPS_PROXY"].as_str().unwrap().ends_with(&format!("@{last}")), "{env}");
    assert_eq!(holds(&laptop.json("", &["status", "--json"]).await), Value::Null);
    laptop.fine("", &["stop"]).await;
    let taken = taken(last).await;
    laptop.fine("", &["restart"]).await;
    let now = first_address(&laptop.daemon(OWN).await.unwrap());
    assert_ne!(now, last);
    logged(&laptop, &["port-taken", "sessions-elsewhere"]).await;
    assert_eq!(holds(&laptop.json("", &["status", "--json"]).await), last.to_string());
    let status = laptop.fine("", &["status"]).await.stdout;
    assert!(status.contains(&format!("was given {last}")), "{status}");
    // It does not go back when the old one is free again, and forgets nobody.
    drop(taken);
    laptop.fine("", &["restart"]).await;
    assert_ne!(first_address(&laptop.daemon(OWN).await.unwrap()), last);
    assert_eq!(holds(&laptop.json("", &["status", "--json"]).await), last.to_string());
}

#[tokio::test]
async fn check_refuses_a_port_that_another_config_has() {
    let laptop = laptop();
    laptop.fine("work/p", &["trust"]).await;
    // Not the usual port: another test may have that in a moment.
    laptop.listened_last_at("", OWN, free()).await;
    laptop.fine("", &["restart"]).await;
    let own = first_address(&laptop.daemon(OWN).await.unwrap());
    let same = format!("[proxy]\nlisten = [\"127.0.0.1:0\", \"{own}\"]\n");
    laptop.rewrite("work/p/valetkey.toml", |text| text + &same);
    laptop.fine("work/p", &["trust"]).await;
    let refused = laptop.valetkey("work/p/a", &["check"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stdout.contains(":10: error[port-of-another-config]"), "{refused:?}");
    assert!(refused.stdout.contains(OWN), "it says which: {refused:?}");
    let started = laptop.valetkey("work/p/a", &["restart"]).await;
    assert!(started.stderr.contains("port-in-use"), "as the daemon would: {started:?}");
    // The other one insists on no port: it makes way.
    laptop.fine("", &["stop"]).await;
    laptop.fine("work/p/a", &["check"]).await;
    laptop.rewrite(OWN, |text| text + &same);
    let warned = laptop.fine("work/p/a", &["check"]).await;
    assert!(warned.stdout.contains("warning[port-of-another-config]"), "{warned:?}");
}

#[tokio::test]
async fn what_a_restart_alone_takes_up_is_said_until_then() {
    let laptop = laptop();
    laptop.fine("", &["restart"]).await;
    let status = laptop.json("", &["status", "--json"]).await;
    assert_eq!(status["restart"], Value::Null, "{status}");
    laptop.rewrite(OWN, |text| text + "[audit]\nkeep = 3\n[proxy]\nlisten = \"127.0.0.1:0\"\n");
    // At once, whether or not the daemon has looked.
    let checked = laptop.json("", &["check", "--json"]).await;
    let problems = checked["problems"].as_array().unwrap();
    let said = problems.iter().filter(|one| one["code"] == "restart-needed");
    let said: Vec<_> = said.map(|one| (one["line"].as_u64(), one["hint"].as_str())).collect();
    let hint = Some("valetkey restart");
    assert_eq!(said, [(Some(9), hint), (Some(12), hint)], "{checked}");
    assert_eq!(checked["ok"], true);
    let changed = async |wanted: &[&str]| {
        soon("the reload", async {
            loop {
                let status = laptop.json("", &["status", "--json"]).await;
                let restart = &status["restart"];
                if restart["changed"] == serde_json::json!(wanted) {
                    assert_eq!(restart["command"], "valetkey restart", "{restart}");
                    return;
                }
            }
        })
        .await;
    };
    changed(&["audit", "proxy.listen"]).await;
    // A second reload, that changes nothing of it, takes nothing back; a third that does, does.
    laptop.rewrite(OWN, |text| text.replace("keep = 3", "keep = 16") + "# said again\n");
    changed(&["proxy.listen"]).await;
    let status = laptop.fine("", &["status"]).await.stdout;
    assert!(status.contains("proxy.listen changed since the start: valetkey restart"), "{status}");
    logged(&laptop, &["takes effect at the next start: proxy.listen"]).await;
    laptop.fine("", &["restart"]).await;
    assert_eq!(laptop.json("", &["status", "--json"]).await["restart"], Value::Null);
    let checked = laptop.fine("", &["check"]).await;
    assert!(!checked.stdout.contains("restart-needed"), "{checked:?}");
}
