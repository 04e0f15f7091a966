//! I13: after a revocation a token is hardly to be found in the daemon's own memory any more. How often it still is, is
//! printed: copies that libraries make are not ours to zero, and nothing is promised.

use std::io::{Read as _, Seek as _};
use std::time::{Duration, Instant};

use crate::harness::not_run;
use crate::harness::stage::{ORDERS, Stage};

/// How often a text stands in what the process may write to; `None` where this user may not look.
fn copies(pid: u32, text: &str) -> Option<usize> {
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut found = 0;
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|m| m.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        memory.seek(std::io::SeekFrom::Start(from)).ok()?;
        // Guard pages and the like cannot be read.
        if memory.read_exact(&mut bytes).is_ok() {
            found += memchr::memmem::find_iter(&bytes, text).count();
        }
    }
    Some(found)
}

#[tokio::test]
async fn a_revoked_token_leaves_the_memory() {
    let stage = Stage::valetkey().await;
    let running = stage.running().unwrap();
    assert_eq!(stage.get(ORDERS, "/v1/x", "").await.unwrap().status(), 200);
    let (pid, token) = (running.pid().unwrap(), stage.orders_issuer.token());
    let Some(before) = copies(pid, &token) else {
        return not_run("only root may look into the daemon's memory");
    };
    assert!(before > 0, "the token is in use, and the search finds it");
    let revoked = running.home.run(&["revoke", "--credential", "orders"]).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let (mut after, begun) = (before, Instant::now());
    while after > 0 && begun.elapsed() < Duration::from_secs(3) {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        after = copies(pid, &token).unwrap();
    }
    // What is left here would be ours: the issuer is on loopback, without the TLS library's buffers.
    assert_eq!(after, 0, "{before} before");
    println!(
        "sent: a revocation: {before} copies of the token before, {after} after {:?}",
        begun.elapsed()
    );
    stage.control().await.unwrap();
}
