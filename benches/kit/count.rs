//! User instructions, counted by valgrind: the same on a busy machine, and on one without hardware counters.
//!
//! What starting costs is subtracted: the same program runs with a few requests and with many.

use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

/// Whether valgrind is here.
pub fn available() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Whether counts of another machine say anything about this one's. valgrind shows every x86-64 CPU with AVX2
/// as one and the same to the program (without SHA or VAES), so that libraries choose the same code.
pub fn is_comparable() -> bool {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut flags = info.lines().filter(|line| line.starts_with("flags"));
    cfg!(target_arch = "x86_64")
        && flags.any(|line| line.split_whitespace().any(|flag| flag == "avx2"))
}

/// The wrapper that counts; what it found goes to `log`, the profile to `profile`.
pub fn wrapper(log: &Path, profile: &Path) -> Vec<String> {
    vec![
        "valgrind".into(),
        "--tool=callgrind".into(),
        format!("--log-file={}", log.display()),
        format!("--callgrind-out-file={}", profile.display()),
    ]
}

/// Counts what this program does inside `measured_step` when it is called with `arguments`.
pub fn inside(arguments: &[&str]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let wrapper = wrapper(&log, &folder.path().join("profile"));
    let child = Command::new(&wrapper[0])
        .args(&wrapper[1..])
        .arg("--toggle-collect=*measured_step*")
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .spawn()
        .unwrap();
    wait(child, &log)
}

/// Ends a counted process in good order, and gives its instructions.
pub fn finish(child: Child, log: &Path) -> u64 {
    kill_process(Pid::from_child(&child), Signal::TERM).ok();
    wait(child, log)
}

fn wait(mut child: Child, log: &Path) -> u64 {
    child.wait().unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let line = text.lines().find_map(|line| line.split("Collected : ").nth(1));
    let count = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.unwrap_or_else(|| panic!("valgrind counted nothing:\n{text}"))
}
