//! What the daemon takes from the machine: resident memory, processor time, file descriptors.

use std::time::Duration;

use crate::harness::stage::Stage;
use crate::harness::valetkey::{Running, program};

/// Whether the program is optimised, so that the figures that are promised hold for it: by the folder that it lies in.
pub fn is_release() -> bool {
    let folder = program().parent().map(std::path::Path::to_owned).unwrap_or_default();
    folder.ends_with("release") || folder.ends_with("optimised")
}

/// One reading.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// Bytes of resident memory.
    pub rss: u64,
    /// Of that what is its own, and no page of its program or of a library that it has come to run.
    pub own: u64,
    /// Processor time so far.
    pub cpu: Duration,
    /// Open file descriptors.
    pub files: usize,
}

pub fn read(running: &Running) -> Vitals {
    let (rss, own) = (status(running, "VmRSS:"), status(running, "RssAnon:"));
    let pid = running.pid().expect("valetkey runs");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything, in parentheses: utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    // Linux has shown 100 ticks a second to programs for decades.
    Vitals { rss, own, cpu: Duration::from_millis(ticks * 10), files }
}

/// Threads now.
pub fn threads(running: &Running) -> usize {
    let pid = running.pid().expect("valetkey runs");
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// A line of `/proc/PID/status` that is given in KiB, in bytes.
fn status(running: &Running, name: &str) -> u64 {
    let pid = running.pid().expect("valetkey runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// The most that was ever resident, in bytes.
pub fn peak(stage: &Stage) -> u64 {
    status(stage.running().unwrap(), "VmHWM:")
}

pub fn of(stage: &Stage) -> Vitals {
    read(stage.running().unwrap())
}

/// Bytes as a person reads them.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
