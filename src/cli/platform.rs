//! What only Linux can tell or do, with an answer that is safe to act on elsewhere.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use rustix::process::{
    DumpableBehavior, Pid, WaitOptions, getpid, set_child_subreaper, set_dumpable_behavior, waitpid,
};

/// A process that the commands below it must not read, nor get away from.
///
/// Its environment may hold secrets that they do not get, and they are of the same user. And they
/// are told by standing below it: one that lets its parent end would stand elsewhere, if we did not
/// take it in.
#[derive(Default)]
pub(super) struct Keeper {
    /// Our own memory: it can only be opened while others may read it as well.
    memory: Option<File>,
}

impl Keeper {
    /// From now on. `forgets`: whether there will be something to wipe.
    pub(super) fn begin(forgets: bool) -> Self {
        let open = || OpenOptions::new().read(true).write(true).open("/proc/self/mem").ok();
        let memory = forgets.then(open).flatten();
        // It fails on no kernel of this decade.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        Self { memory }
    }

    /// From now on whoever loses his parent below us stands below us still.
    pub(super) fn take_in_orphans(&self) {
        let _ = set_child_subreaper(Some(getpid()));
    }

    /// Wipes the values of these variables where this process was given them.
    pub(super) fn forget<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) {
        let Some((memory, (start, end))) = self.memory.as_ref().zip(environment_at()) else {
            return;
        };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0).min(MAX_ENVIRONMENT);
        let mut block = zeroize::Zeroizing::new(vec![0; length]);
        if memory.read_exact_at(&mut block, start).is_err() {
            return;
        }
        let mut at = start;
        for entry in block.split(|byte| *byte == 0) {
            let length = entry.len() as u64;
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            if names.clone().any(|wanted| wanted.as_bytes() == name) && entry.len() > name.len() {
                // The strings keep their places and their ends: whoever reads them finds empty
                // ones.
                let value = at + name.len() as u64 + 1;
                let _ = memory.write_all_at(&vec![0; entry.len() - name.len() - 1], value);
            }
            at += length + 1;
        }
    }

    /// Lets those go that ended below us and that nobody else waits for; `child` is waited for
    /// elsewhere.
    pub(super) fn reap(&self, child: Option<u32>) {
        let own = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let others = own.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        for pid in others.filter(|pid| child.map(u32::cast_signed) != Some(*pid)) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// The most that a kernel gives a program, arguments included, in bytes (execve(2): a quarter of
/// the stack).
const MAX_ENVIRONMENT: usize = 8 * 1024 * 1024;

/// Where the environment lies that the kernel gave us: fields 50 and 51 of `/proc/self/stat`
/// (proc(5)).
fn environment_at() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(47);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Signals that this process was started with as ignored: bit n-1 stands for signal n. Nothing
/// is known of any elsewhere.
pub(super) fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Where distributions keep all roots in one file, the most common first. None exists elsewhere.
pub(super) const ROOT_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
