//! User instructions, counted by valgrind: the same on a busy machine, and on one without hardware counters.
//!
//! What starting costs is subtracted: the same program runs with a few requests and with many.

use std::collections::HashSet;
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

/// How often memory was asked for, new or another size, by a profile of callgrind's. A function is named where it is met
/// first, `cfn=(7) malloc`, and is `cfn=(7)` from then on; `calls=3 …` in the next line says how often it was called.
pub fn allocations(profile: &Path) -> u64 {
    const ASKING: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];
    let text = std::fs::read_to_string(profile).unwrap();
    let mut asking = HashSet::new();
    let (mut is_asked, mut count) = (false, 0);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (id, name) = name.split_once(' ').unwrap_or((name, ""));
            if ASKING.contains(&name) {
                asking.insert(id.to_owned());
            }
            is_asked = line.starts_with('c') && asking.contains(id);
        } else if let Some(calls) = line.strip_prefix("calls=")
            && is_asked
        {
            let calls = calls.split(' ').next().and_then(|calls| calls.parse::<u64>().ok());
            count += calls.unwrap();
        }
    }
    assert!(count > 0, "no allocation in {}", profile.display());
    count
}

fn wait(mut child: Child, log: &Path) -> u64 {
    child.wait().unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let line = text.lines().find_map(|line| line.split("Collected : ").nth(1));
    let count = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.unwrap_or_else(|| panic!("valgrind counted nothing:\n{text}"))
}
