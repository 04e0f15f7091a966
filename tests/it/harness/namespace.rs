//! A network namespace of a test's own, where names, addresses and rules are what it says: the test begins
//! again in there. Needs root, or sudo without a question; without either it says so and is skipped.

use std::process::Stdio;

use super::not_run;
use tokio::process::Command;

/// Set inside.
const INSIDE: &str = "VALETKEY_TEST_NAMESPACE";

/// Whether this is the inside; outside, `test` (its full name) is run to its end in there first.
pub async fn entered(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let able = apart().args(["iptables", "-t", "nat", "-L", "OUTPUT"]).output().await.unwrap();
    if !able.status.success() {
        let why = String::from_utf8_lossy(&able.stderr);
        not_run(format_args!("this machine gives no network namespace with iptables: {why}"));
        return false;
    }
    let mut command = apart();
    command.arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--nocapture"]).env(INSIDE, "1");
    let done = command.output().await.unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success() && said[0].contains("1 passed"), "{}{}", said[0], said[1]);
    for figure in said[0].lines().filter(|line| line.starts_with("figure ")) {
        println!("{figure}");
    }
    false
}

/// A command in new namespaces for network and mounts.
fn apart() -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("unshare")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "-E", "unshare"]);
        sudo
    };
    command.args(["--net", "--mount", "--"]).stdin(Stdio::null());
    command
}

/// Runs a command that must work.
pub async fn sh(line: &str) -> String {
    let done = Command::new("sh").args(["-ec", line]).output().await.unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// In here, `names` are at these addresses and nowhere else.
pub async fn naming(names: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), names).unwrap();
    sh(&format!("chmod 644 {0}; mount --bind {0} /etc/hosts", file.path().display())).await;
    file
}
