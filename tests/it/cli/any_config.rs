//! Whatever becomes of a config under a daemon that runs: `revoke --all` makes its next request a 403.
//!
//! 64 cases; `VALETKEY_TEST_LARGE=1` tries a thousand.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::harness::stage::{ORDERS, Stage};
use crate::harness::{look_again, soon};
use crate::stream::is_large;

/// What a person, an editor, a disk or a script does to it.
#[derive(Clone, Debug)]
enum Change {
    Bom,
    Bytes(Vec<(prop::sample::Index, u8)>),
    Crlf,
    Cut(prop::sample::Index),
    Directory,
    /// A line of it, or a table with all that follows, twice.
    Doubled(prop::sample::Index, bool),
    Fifo,
    Link(&'static str),
    /// A line is gone.
    Lost(prop::sample::Index),
    Nul(prop::sample::Index),
    Removed,
    /// The key of a line has another name.
    Renamed(prop::sample::Index, String),
    Unreadable,
    /// The value of a line is of another kind.
    Wrong(prop::sample::Index, &'static str),
}

const VALUES: &[&str] = &[
    "1",
    "-1",
    "1e9",
    "true",
    "\"\"",
    "\"x\"",
    "[]",
    "[[]]",
    "{}",
    "{ a = 1 }",
    "'",
    "1979-05-27",
];
/// Where a link may lead.
const PLACES: &[&str] =
    &["nowhere", "valetkey.toml", "/dev/null", "/dev/zero", "/etc/passwd", "/proc/self/mem", "."];

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => at().prop_map(Change::Cut),
        4 => prop::collection::vec((at(), any::<u8>()), 1..8).prop_map(Change::Bytes),
        4 => (at(), "[a-z_]{1,8}").prop_map(|(line, name)| Change::Renamed(line, name)),
        4 => (at(), prop::sample::select(VALUES)).prop_map(|(line, value)| Change::Wrong(line, value)),
        3 => (at(), any::<bool>()).prop_map(|(line, rest)| Change::Doubled(line, rest)),
        3 => at().prop_map(Change::Lost),
        2 => at().prop_map(Change::Nul),
        3 => prop::sample::select(PLACES).prop_map(Change::Link),
        1 => Just(Change::Bom),
        1 => Just(Change::Crlf),
        1 => Just(Change::Directory),
        1 => Just(Change::Fifo),
        1 => Just(Change::Removed),
        1 => Just(Change::Unreadable),
    ]
}

/// What the file holds then.
fn text(good: &str, change: &Change) -> Vec<u8> {
    let lines: Vec<&str> = good.lines().collect();
    let with = |line: &prop::sample::Index, new: &dyn Fn(&str) -> String| {
        let at = line.index(lines.len());
        let all = lines.iter().enumerate();
        let all = all.map(|(n, old)| if n == at { new(old) } else { (*old).to_owned() });
        (all.collect::<Vec<_>>().join("\n") + "\n").into_bytes()
    };
    let mut bytes = good.as_bytes().to_vec();
    match change {
        Change::Bom => [&b"\xef\xbb\xbf"[..], &bytes].concat(),
        Change::Bytes(all) => {
            for (at, byte) in all {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes
        }
        Change::Crlf => good.replace('\n', "\r\n").into_bytes(),
        Change::Cut(at) => bytes[..at.index(bytes.len())].to_vec(),
        Change::Doubled(at, true) => {
            let rest = lines[at.index(lines.len())..].join("\n");
            format!("{good}{rest}\n").into_bytes()
        }
        Change::Doubled(at, false) => with(at, &|old| format!("{old}\n{old}")),
        Change::Lost(at) => with(at, &|_| String::new()),
        Change::Nul(at) => {
            bytes.insert(at.index(bytes.len()), 0);
            bytes
        }
        Change::Renamed(at, name) => with(at, &|old| match old.split_once('=') {
            Some((_, value)) => format!("{name} ={value}"),
            None => format!("[{name}]"),
        }),
        Change::Wrong(at, value) => with(at, &|old| match old.split_once('=') {
            Some((key, _)) => format!("{key}= {value}"),
            None => (*value).to_owned(),
        }),
        Change::Directory
        | Change::Fifo
        | Change::Link(_)
        | Change::Removed
        | Change::Unreadable => bytes,
    }
}

/// In place where it may be, as an editor may write it; else by another file of this name.
fn make(path: &Path, good: &str, change: &Change) {
    clear(path);
    match change {
        Change::Directory => std::fs::create_dir(path).unwrap(),
        Change::Fifo => {
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
        }
        Change::Link(place) => std::os::unix::fs::symlink(place, path).unwrap(),
        Change::Removed => {}
        change => {
            let mut file = std::fs::File::create(path).unwrap();
            file.write_all(&text(good, change)).unwrap();
            if matches!(change, Change::Unreadable) {
                file.set_permissions(std::fs::Permissions::from_mode(0o0)).unwrap();
            }
        }
    }
}

fn clear(path: &Path) {
    let _ = std::fs::remove_dir(path);
    let _ = std::fs::remove_file(path);
}

/// The status of a request, or of the CONNECT before it.
async fn status(stage: &Stage) -> String {
    match stage.get(ORDERS, "/v1/x", "").await {
        Ok(answer) => format!("{} {}", answer.status(), answer.text()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn revoke_all_works_whatever_became_of_the_config() {
    let stage = Stage::valetkey().await;
    let home = stage.running().unwrap().home.clone();
    let good = std::fs::read_to_string(&home.config).unwrap();
    let mut runner = TestRunner::deterministic();
    let (cases, mut slowest) = (if is_large() { 1000 } else { 64 }, Duration::ZERO);
    for case in 0..cases {
        let change = change().new_tree(&mut runner).unwrap().current();
        make(&home.config, &good, &change);
        let done = home.run(&["revoke", "--all"]).await;
        assert_eq!(done.code, Some(0), "{case}: {change:?}: {done:?}");
        let said = Instant::now();
        let answer = status(&stage).await;
        assert!(answer.contains("client-revoked"), "{case}: {change:?}: {answer}");
        slowest = slowest.max(said.elapsed());
        // There was something to take back: it was this revocation that refused.
        let done = home.run(&["revoke", "--all", "--undo"]).await;
        assert_eq!(done.code, Some(0), "{case}: {change:?}: {done:?}");
    }
    println!("{cases} cases; the slowest refusal after {slowest:?}");
    clear(&home.config);
    std::fs::write(&home.config, &good).unwrap();
    soon("the good config again", async {
        while !status(&stage).await.starts_with("200 ") {
            look_again().await;
        }
    })
    .await;
}
