//! What stands in the place of a file that we read or write, users that nobody knows, and text that does something.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::harness::client::finish;
use crate::harness::neighbour;
use crate::harness::stage::Stage;
use crate::harness::valetkey::{Valetkey, program};
use crate::harness::{not_run, until};

async fn mkfifo(path: &Path) {
    let made = finish(tokio::process::Command::new("mkfifo").arg(path)).await;
    assert_eq!(made.code, Some(0), "{made:?}");
}

/// A pipe, a directory, a socket, a link to nowhere or to itself, a device: nothing waits, and the file is named.
#[tokio::test]
async fn what_is_no_plain_file_is_refused_and_not_waited_for() {
    let good = "[[sessions]]\nname = \"x\"\nsecret = { file = \"x.key\" }\n[admin]\nsocket = \"admin.sock\"\n";
    let home = Valetkey::new()
        .file("x.key", "0123456789abcdef0123")
        .file("roots.pem", include_str!("../../../certs/README.md"))
        .toml(good)
        .written();
    assert_eq!(home.run(&["check"]).await.code, Some(0), "control");
    type Plant<'a> = (&'a str, &'a dyn Fn(&Path));
    let sockets = std::cell::RefCell::new(Vec::new());
    let plants: [Plant<'_>; 6] = [
        ("a directory", &|path| std::fs::create_dir(path).unwrap()),
        ("a socket", &|path| {
            sockets.borrow_mut().push(std::os::unix::net::UnixListener::bind(path).unwrap());
        }),
        ("a link to nowhere", &|path| symlink("/nowhere/at/all", path).unwrap()),
        ("a link to itself", &|path| symlink(path, path).unwrap()),
        ("a device", &|path| symlink("/dev/zero", path).unwrap()),
        ("nothing", &|_| {}),
    ];
    for name in ["x.key", "valetkey.toml", "state"] {
        let (path, aside) = (home.path(name), home.path("aside"));
        if name == "state" {
            std::fs::create_dir_all(&path).unwrap();
        }
        std::fs::rename(&path, &aside).unwrap();
        for (what, plant) in &plants {
            if name == "state" && ["a directory", "nothing"].contains(what) {
                continue;
            }
            plant(&path);
            let done = home.run(&["serve"]).await;
            assert!(matches!(done.code, Some(1 | 2)), "{what} as {name}: {done:?}");
            assert!(done.stderr.contains(name) && done.stderr.contains("hint"), "{what}: {done:?}");
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        }
        mkfifo(&path).await;
        for command in ["serve", "check", "status"] {
            if command != "serve" && name != "valetkey.toml" {
                continue;
            }
            let done = home.run(&[command]).await;
            assert!(matches!(done.code, Some(1 | 2)), "a pipe as {name}: {done:?}");
            assert!(done.stderr.contains("hint"), "a pipe as {name}: {done:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    let _running = home.start().await;
}

/// In a user namespace every unknown user reads as the overflow uid. One who runs as that admits them all, so he
/// does not start; another one admits himself alone.
#[tokio::test]
async fn the_overflow_uid_is_nobody() {
    if !neighbour::exists() {
        return;
    }
    let home = Valetkey::new().written();
    let apart = |uid: &str, arguments: &[&str]| {
        let serve = home.command(arguments);
        let mut unshare = tokio::process::Command::new("unshare");
        unshare.args(["--user", &format!("--map-user={uid}"), &format!("--map-group={uid}"), "--"]);
        unshare.arg(program()).args(serve.as_std().get_args()).env_clear();
        unshare.envs(serve.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
        unshare.current_dir(home.path(""));
        unshare
    };
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    let done = finish(&mut apart(overflow.trim(), &["serve"])).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("uid-unmapped") && done.stderr.contains("hint"), "{done:?}");
    // Control: as somebody whom the namespace knows.
    let mut running = home.spawn(apart("1000", &["serve"]));
    running.listening().await;
    let proxy = running.proxy_addr();
    let line = format!(
        "curl -s -o /dev/null -w '%{{http_connect}}' --max-time 10 -x http://{proxy} https://a.example/ || true"
    );
    assert_eq!(neighbour::sh(&line).await.stdout, "407", "another user");
    let own = finish(tokio::process::Command::new("sh").args(["-c", &line])).await.stdout;
    assert_ne!(own, "407", "who runs it, whatever he is called there");
}

/// Names, configs, arguments and records are read as they stand, whatever is in them.
#[tokio::test]
async fn nothing_that_others_wrote_does_anything_to_a_terminal() {
    let acts = |text: &str| -> Option<char> {
        text.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    let evil = "x\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}y\r";
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let opened =
        home.run(&["session", "open", "--reason", evil, "--user", "ann\u{202e}\u{9b}"]).await;
    assert_eq!(opened.code, Some(0), "{opened:?}");
    let config = home.path(&format!("{evil}\nerror[fake]: b.toml"));
    let text = "config_version = 1\n\"k\u{9b}\u{202e}\" = 1\n[proxy]\nlisten = \"\\u001b[2J\"\n[credentials.\"a\\u001b\"]\ngrant = \"x\\u009b\"\n";
    std::fs::write(&config, text).unwrap();
    let path = config.display().to_string();
    let mut seen = Vec::new();
    for arguments in [
        vec!["check", "--config", &path],
        vec!["check", "--json", "--config", &path],
        vec!["serve", "--config", &path],
        vec!["trust", &path],
        vec!["check", "--config", evil],
        vec!["explain", "GET", evil],
        vec!["session", "end", evil],
        vec!["revoke", "--session", evil],
        vec![evil],
    ] {
        let done = finish(&mut home.bare_command(&arguments)).await;
        assert_ne!(done.code, Some(0), "{arguments:?}: {done:?}");
        seen.push((arguments.join(" "), done));
    }
    for arguments in [
        &["audit", "query"][..],
        &["audit", "query", "--json"],
        &["audit", "tail"],
        &["audit", "tail", "--json"],
        &["session", "list"],
        &["session", "list", "--json"],
        &["status"],
        &["status", "--json"],
    ] {
        let done = home.run(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        if arguments.contains(&"--json") {
            for line in done.stdout.lines().filter(|line| line.starts_with("{\"")) {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
        }
        seen.push((arguments.join(" "), done));
    }
    for (command, done) in seen {
        let said = format!("{}{}", done.stdout, done.stderr);
        assert_eq!(acts(&said), None, "{command:?}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("error[fake]")), "{command:?}: {said}");
    }
    // Control: the record itself holds it.
    let raw = std::fs::read_to_string(home.state.join("audit.jsonl")).unwrap();
    assert!(raw.contains('\u{202e}'), "{raw}");
    assert_eq!(acts(&stage.running().unwrap().output()), None, "the log");
}

/// What tools trust is put back, whatever took its place.
#[tokio::test]
async fn a_published_file_is_put_back_whatever_took_its_place() {
    let home = Valetkey::new().toml("[ca]\npublish = \"shared\"\n").written();
    std::fs::create_dir(home.path("shared")).unwrap();
    let _running = home.start().await;
    let file = home.path("shared/valetkey-ca.pem");
    let text = std::fs::read_to_string(&file).unwrap();
    for inside in ["", "full", "full/deeper"] {
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir_all(file.join(inside)).unwrap();
        let began = std::time::Instant::now();
        until("the file", || file.is_file()).await;
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}

/// What others may change is said by `check`, with what to type.
#[tokio::test]
async fn check_says_what_others_may_change() {
    let (_shared, dir) = neighbour::shared_dir(false);
    let home = Valetkey::new().written();
    std::fs::copy(&home.config, dir.join("valetkey.toml")).unwrap();
    let mut command = home.bare_command(&["check", "--config"]);
    let done = finish(command.arg(dir.join("valetkey.toml"))).await;
    assert_eq!(done.code, Some(0), "a warning: {done:?}");
    assert!(
        done.stdout.contains("config-exposed") && done.stdout.contains("chmod go-w"),
        "{done:?}"
    );
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.bare_command(&["check", "--config"]);
    let done = finish(command.arg(dir.join("valetkey.toml"))).await;
    assert!(!done.stdout.contains("config-exposed"), "control: {done:?}");
}

/// An access list gives a file to others as its bits would.
#[tokio::test]
async fn a_file_with_an_access_list_is_not_ours_alone() {
    if !neighbour::exists() {
        return;
    }
    // acl(5): owner, NEIGHBOUR, group, mask, others.
    let list = format!(
        "import os, struct, sys\ne = lambda tag, may, who=0xffffffff: struct.pack('<HHI', tag, may, who)\n\
         os.setxattr(sys.argv[1], 'system.posix_acl_access', struct.pack('<I', 2) + e(1, 6) + e(2, int(sys.argv[2]), {}) + e(4, 4) + e(16, int(sys.argv[2])) + e(32, 4))",
        neighbour::NEIGHBOUR
    );
    for (rights, exposed) in [("6", true), ("4", false)] {
        let home = Valetkey::new().written();
        let mut python = tokio::process::Command::new("python3");
        let set = finish(python.args(["-c", &list]).arg(&home.config).arg(rights)).await;
        if set.code != Some(0) {
            return not_run(format_args!("no access lists on this file system: {}", set.stderr));
        }
        let done = home.run(&["check"]).await;
        assert_eq!(done.stdout.contains("config-exposed"), exposed, "{rights}: {done:?}");
    }
}
