//! Logins in the keyring of the kernel: they outlive every process and are in no file. Where a machine forbids that
//! keyring, what a person is told instead.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::bearer;
use super::keyring::{killed_over_and_over, latest, log_in, ways};
use crate::harness::idp::Idp;
use crate::harness::leak::{Canary, Sinks};
use crate::harness::soon;
use crate::harness::stage::{EVIL, Stage, own_answer};
use crate::harness::valetkey::{Home, Valetkey};

pub(super) const KERNEL: &str = "[logins]\nprotection = \"kernel-keyring\"";

/// Our keys, as the kernel shows them; those that are revoked hold nothing any more and wait to be swept.
pub(super) fn keys_of(home: &Home) -> Vec<String> {
    let logins = std::fs::canonicalize(home.state.join("logins")).unwrap();
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        std::os::unix::ffi::OsStrExt::as_bytes(logins.as_os_str()),
    );
    let ours: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = std::fs::read_to_string("/proc/keys").unwrap();
    let user = keys.lines().filter(|line| line.contains(" user "));
    let held = user.filter(|line| line.split_whitespace().nth(1).is_some_and(|f| !f.contains('R')));
    held.filter(|line| line.contains(&ours)).map(str::to_owned).collect()
}

/// Whether this machine has it: containers often forbid it. Said past the test's captured output.
pub(super) async fn refused() -> bool {
    let idp = Idp::start().await;
    let home = ways(Valetkey::new(), &idp, KERNEL).written();
    let mut terminal = home.spawn(home.command(&["login", "mine"]));
    let shown = tokio::select! {
        shown = terminal.says("WDJB-MJHT") => shown,
        shown = terminal.says("error[kernel-keyring-unavailable]") => shown,
    };
    assert!(shown.is_some(), "{}", terminal.output());
    let refused = shown.unwrap().contains("kernel-keyring-unavailable");
    if refused {
        let said = "\nSKIPPED, NOT PASSED: this machine forbids add_key, so logins in the kernel's keyring are untested\n";
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
    terminal.sigkill().await;
    refused
}

async fn stage(idp: &Idp) -> Stage {
    Stage::valetkey_with(|builder| ways(builder, idp, KERNEL).verbose()).await
}

#[tokio::test]
async fn a_login_rests_in_the_kernel_and_in_no_file() {
    if refused().await {
        return;
    }
    let idp = Idp::start().await;
    let mut stage = stage(&idp).await;
    let home = stage.running().unwrap().home().clone();
    let told = log_in(&home, &idp).await;
    assert!(told.contains("kept in the kernel's keyring until the machine goes down"), "{told}");
    for way in ["/a", "/b", "/c"] {
        bearer(&stage, way).await;
    }
    assert_eq!(keys_of(&home).len(), 1, "{:?}", keys_of(&home));
    // The bits of /proc/keys: who has it reads and writes it, the user sees it, nobody else even that.
    assert!(keys_of(&home)[0].contains(" 2f010000 "), "{:?}", keys_of(&home));
    stage.running_mut().sigkill().await;
    stage.restart(&home).await;
    bearer(&stage, "/d").await;
    assert_eq!(idp.with(|idp| (idp.violations, idp.invalid_grants)), (0, 0));
    let status = home.run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["logins"][0]["protected_by"], "kernel-keyring");
    assert_eq!(status["logins"][0]["state"], "logged-in");

    let mut sinks = Sinks::of(stage.running().unwrap()).await;
    sinks.add("what the login said", told);
    sinks.directory(home.config.parent().unwrap());
    let secrets = [idp.refresh_tokens(), idp.minted()].concat();
    assert!(secrets.len() > 8, "{}", secrets.len());
    let canaries: Vec<_> = secrets.iter().map(|secret| Canary::of("a token", secret)).collect();
    sinks.must_not_hold(&canaries);

    let out = home.run(&["logout", "mine"]).await;
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert_eq!(idp.calls_of("/revoke")[0].one("token"), latest(&idp));
    assert_eq!(keys_of(&home), Vec::<String>::new(), "gone from there");
    own_answer(&stage.get(EVIL, "/e", "").await.unwrap(), &[403], &["login-required"]).unwrap();
}

#[tokio::test]
async fn kills_lose_nothing_that_is_in_the_kernel() {
    if refused().await {
        return;
    }
    let idp = Idp::start().await;
    idp.with(|idp| idp.grace = true);
    let mut stage = stage(&idp).await;
    killed_over_and_over(&idp, &mut stage, 16, Duration::from_millis(3)).await;
    let home = stage.running().unwrap().home();
    assert_eq!(home.run(&["logout", "mine"]).await.code, Some(0));
}

/// As after a reboot: the file that says where the login is outlives it.
#[tokio::test]
async fn what_the_kernel_has_forgotten_wants_a_login() {
    if refused().await {
        return;
    }
    let idp = Idp::start().await;
    let stage = stage(&idp).await;
    let home = stage.running().unwrap().home().clone();
    log_in(&home, &idp).await;
    bearer(&stage, "/a").await;
    let before = std::fs::read_dir(home.state.join("logins")).unwrap();
    let kept: Vec<_> = (before.flatten())
        .filter(|file| file.path().extension().is_some_and(|ext| ext == "login"))
        .map(|file| (file.path(), std::fs::read(file.path()).unwrap()))
        .collect();
    assert_eq!(home.run(&["logout", "mine"]).await.code, Some(0));
    for (path, bytes) in kept {
        std::fs::write(&path, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    own_answer(&stage.get(EVIL, "/b", "").await.unwrap(), &[403], &["login-required"]).unwrap();
    let status: Value =
        serde_json::from_str(&home.run(&["status", "--json"]).await.stdout).unwrap();
    assert_eq!(status["logins"][0]["state"], "none");
    log_in(&home, &idp).await;
    bearer(&stage, "/c").await;
    assert_eq!(home.run(&["logout", "mine"]).await.code, Some(0));
    assert_eq!(keys_of(&home), Vec::<String>::new());
}

/// What containers do to `add_key` by seccomp, done to one process.
pub(super) const FORBID: &str = r#"
import ctypes, os, platform, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 248, "aarch64": 217}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", len(steps), ctypes.addressof(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn where_the_kernel_forbids_it_nobody_is_sent_off_in_vain() {
    let idp = Idp::start().await;
    let home = ways(Valetkey::new(), &idp, KERNEL).written();
    let plain = home.command(&["login", "mine"]);
    let plain = plain.as_std();
    let mut forbidden = tokio::process::Command::new("/usr/bin/python3");
    forbidden.args(["-c", FORBID]).arg(plain.get_program()).args(plain.get_args());
    forbidden.env_clear();
    forbidden.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    forbidden.current_dir(plain.get_current_dir().unwrap());
    let done = soon("the refusal", forbidden.output()).await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    for part in [
        "error[kernel-keyring-unavailable]: the login is to be kept in the kernel's keyring",
        "is not to be had here",
        "let their seccomp profile allow add_key and keyctl",
        "key-file",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(idp.calls_of("/device").len(), 0);
}
