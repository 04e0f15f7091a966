//! A daemon that may have 64 or 128 MiB, under a flood: it says no to some, and is not killed. Needs root.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::harness::client::{connect, tls, tls_config};
use crate::harness::not_run;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::{figure, soon};

/// A memory cgroup, of either version; removed when dropped.
struct Cage(PathBuf, bool);

impl Cage {
    /// `None`: not root, or no such controller.
    fn of(mib: u64) -> Option<Self> {
        let name = format!("valetkey-it-{}-{mib}", std::process::id());
        for (root, old) in [("/sys/fs/cgroup", false), ("/sys/fs/cgroup/memory", true)] {
            let path = Path::new(root).join(&name);
            if std::fs::create_dir(&path).is_err() {
                continue;
            }
            if !path.join("cgroup.procs").exists() {
                // No cgroup is mounted there.
                let _ = std::fs::remove_dir(&path);
                continue;
            }
            let cage = Self(path, old);
            let limit = if old { "memory.limit_in_bytes" } else { "memory.max" };
            if std::fs::write(cage.0.join(limit), (mib << 20).to_string()).is_ok() {
                // Without swap, where there is any.
                let _ = std::fs::write(cage.0.join("memory.swap.max"), "0");
                return Some(cage);
            }
        }
        None
    }

    fn kills(&self) -> u64 {
        let file = if self.1 { "memory.oom_control" } else { "memory.events" };
        let text = std::fs::read_to_string(self.0.join(file)).unwrap();
        let line = text.lines().find(|line| line.starts_with("oom_kill ")).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn peak(&self) -> u64 {
        let file = if self.1 { "memory.max_usage_in_bytes" } else { "memory.peak" };
        let text = std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Tunnels with TLS in them, by the hundred, and requests on each; who is turned away is turned away.
async fn flood(stage: &Stage, tunnels: usize) -> (usize, usize) {
    let config = std::sync::Arc::new(tls_config(stage.trust(), &["http/1.1"]));
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..tunnels {
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
        if answer.status() != 200 {
            refused += 1;
            continue;
        }
        match tls(reader.stream, ORDERS, (*config).clone()).await {
            Ok(stream) => open.push(stream),
            Err(_) => refused += 1,
        }
    }
    let mut asking = JoinSet::new();
    let count = open.len();
    for mut stream in open {
        asking.spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let body = vec![b'x'; 256 * 1024];
            let head = format!(
                "POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
            let _ = stream.flush().await;
            stream
        });
    }
    asking.join_all().await;
    (count, refused)
}

#[tokio::test]
async fn a_flood_under_a_limit_of_memory_kills_nobody() {
    for mib in [64, 128] {
        let Some(cage) = Cage::of(mib) else {
            return not_run("no memory cgroup can be made here: run as root");
        };
        let stage = Stage::valetkey_with(|v| v.caged(&cage.0)).await;
        stage.control().await.unwrap();
        let since = Instant::now();
        let (mut served, mut refused) = (0, 0);
        while since.elapsed() < Duration::from_secs(8) {
            let (more, turned_away) = flood(&stage, 400).await;
            served += more;
            refused += turned_away;
        }
        assert_eq!(cage.kills(), 0, "{mib} MiB");
        soon("the service", async { while stage.control().await.is_err() {} }).await;
        figure(
            "memory",
            format!(
                "{mib} MiB: 0 kills in {:.0?}, {served} connections taken, {refused} refused, {} MiB at most",
                since.elapsed(),
                cage.peak() >> 20
            ),
        );
        drop(stage);
    }
}
