//! The leak search: every sink that a canary could have reached, and every spelling that it could have there.
//!
//! ```ignore
//! let mut sinks = Sinks::of(&running).await;              // what it printed, wrote and says of itself
//! sinks.add("the answer", answer.everything());
//! sinks.must_not_hold(&[Canary::of("client secret", &secret)]);
//! ```
//! [`Sinks::must_not_hold`] plants each canary in each sink afterwards and finds it there: a search that finds
//! nothing because it looks nowhere fails.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::valetkey::Running;

/// A part of a canary that is as good as the whole: 96 bits where it is base64.
const WINDOW: usize = 12;

/// 256 bits in base64.
const RANDOM: usize = 43;

/// A value that may stand nowhere, random from end to end.
#[derive(Clone, Debug)]
pub struct Canary {
    pub name: String,
    random: Vec<u8>,
}

impl Canary {
    /// A value that ends as [`super::canary`] makes it: what stands before is no secret.
    pub fn of(name: &str, value: &str) -> Self {
        Self::whole(name, &value.as_bytes()[value.len().saturating_sub(RANDOM)..])
    }

    /// What is inside a PEM: its first line is the same for every key of a kind.
    pub fn pem(name: &str, pem: &str) -> Self {
        let lines = pem.lines().filter(|line| !line.starts_with('-')).skip(1);
        Self::whole(name, lines.collect::<String>().as_bytes())
    }

    /// Any other value that is random throughout.
    pub fn whole(name: &str, value: &[u8]) -> Self {
        assert!(value.len() >= WINDOW, "{name} is too short to be a canary");
        Self { name: name.to_owned(), random: value.to_vec() }
    }

    /// The spelling in which some part of it stands in `text`.
    pub fn found_in(&self, text: &[u8]) -> Option<&'static str> {
        Needles::of(std::slice::from_ref(self)).all(text).first().map(|(_, spelling)| *spelling)
    }
}

/// Every spelling of every window of some canaries, by how it begins: one pass over a text finds them all.
struct Needles {
    by_head: HashMap<[u8; HEAD], Vec<Needle>>,
    /// Whether any begins with these two bytes: hashing at each place of a long log takes minutes.
    begins: Vec<bool>,
}

struct Needle {
    /// Which of the canaries.
    canary: usize,
    spelling: &'static str,
    text: Vec<u8>,
}

/// No spelling is shorter than its window.
const HEAD: usize = 8;

impl Needles {
    fn of(canaries: &[Canary]) -> Self {
        let mut by_head: HashMap<[u8; HEAD], Vec<Needle>> = HashMap::new();
        for (canary, one) in canaries.iter().enumerate() {
            for window in one.random.windows(WINDOW) {
                for (spelling, spell) in SPELLINGS {
                    let text = spell(window);
                    let head = *text.first_chunk().expect("a spelling of twelve bytes");
                    by_head.entry(head).or_default().push(Needle { canary, spelling, text });
                }
            }
        }
        let mut begins = vec![false; 1 << 16];
        for head in by_head.keys() {
            begins[two(head)] = true;
        }
        Self { by_head, begins }
    }

    /// Each of them that stands in a text: which canary, and how it is spelled.
    fn all(&self, text: &[u8]) -> Vec<(usize, &'static str)> {
        let mut found = Vec::new();
        for at in 0..text.len().saturating_sub(HEAD - 1) {
            if !self.begins[two(&text[at..])] {
                continue;
            }
            let here = text[at..].first_chunk().and_then(|head| self.by_head.get(head));
            for needle in here.into_iter().flatten() {
                if text[at..].starts_with(&needle.text) {
                    found.push((needle.canary, needle.spelling));
                }
            }
        }
        found
    }
}

fn two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

type Spell = fn(&[u8]) -> Vec<u8>;

/// A window of 12 bytes is whole groups of base64, so the three alignments are three windows in a row.
const SPELLINGS: &[(&str, Spell)] = &[
    ("as it is", <[u8]>::to_vec),
    ("backwards", |bytes| bytes.iter().rev().copied().collect()),
    ("base64", |bytes| STANDARD_NO_PAD.encode(bytes).into()),
    ("base64url", |bytes| URL_SAFE_NO_PAD.encode(bytes).into()),
    ("hex", |bytes| each(bytes, |b| format!("{b:02x}"))),
    ("hex, upper case", |bytes| each(bytes, |b| format!("{b:02X}"))),
    ("percent", |bytes| each(bytes, |b| format!("%{b:02x}"))),
    ("percent, upper case", |bytes| each(bytes, |b| format!("%{b:02X}"))),
    ("JSON", |bytes| each(bytes, |b| format!("\\u{b:04x}"))),
    ("JSON, upper case", |bytes| each(bytes, |b| format!("\\u{b:04X}"))),
    ("HTML, decimal", |bytes| each(bytes, |b| format!("&#{b};"))),
    ("HTML, hex", |bytes| each(bytes, |b| format!("&#x{b:x};"))),
    ("numbers", |bytes| each(bytes, |b| format!("{b}, "))),
];

fn each(bytes: &[u8], spell: impl Fn(&u8) -> String) -> Vec<u8> {
    bytes.iter().map(spell).collect::<String>().into_bytes()
}

/// Texts with the names of where they were found.
#[derive(Debug, Default)]
pub struct Sinks(Vec<(String, Vec<u8>)>);

impl Sinks {
    /// All that a daemon printed (run it with `-vv`: at trace level), wrote into its state directory and says
    /// of itself, and the command lines and environments of its children.
    pub async fn of(running: &Running) -> Self {
        let mut sinks = Self::default();
        sinks.add("its output", running.output());
        for command in [&["status"][..], &["status", "--json"], &["check"], &["ca", "show"]] {
            let done = running.home.run(command).await;
            sinks.add(&command.join(" "), done.stdout + &done.stderr);
        }
        sinks.directory(&running.home.state);
        if let Some(pid) = running.pid() {
            sinks.children(pid);
        }
        sinks
    }

    /// One more text.
    pub fn add(&mut self, name: &str, text: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), text.into()));
    }

    /// Takes out those with such names.
    pub fn take(&mut self, is: impl Fn(&str) -> bool) -> Self {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(name, _)| is(name));
        self.0 = left;
        Self(taken)
    }

    /// With all of others besides.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Every file below a directory, names included.
    pub fn directory(&mut self, directory: &Path) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            if path.is_dir() {
                self.directory(&path);
            } else if path.is_file() {
                let mut text = name.clone().into_bytes();
                text.extend(std::fs::read(&path).unwrap_or_default());
                self.add(&name, text);
            }
        }
    }

    /// What `/proc` shows of every process below this one. Those that end meanwhile are not waited for.
    pub fn children(&mut self, pid: u32) {
        for child in below(pid) {
            for file in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{child}/{file}")).unwrap_or_default();
                self.add(&format!("{file} of a child"), text);
            }
        }
    }

    /// How much there is to search, in bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, text)| text.len()).sum()
    }

    /// Each canary that stands in a sink, with the sink and the spelling.
    pub fn found(&self, canaries: &[Canary]) -> Vec<String> {
        let needles = Needles::of(canaries);
        let mut found = Vec::new();
        for (sink, text) in &self.0 {
            for (canary, spelling) in needles.all(text) {
                let name = &canaries[canary].name;
                let one = format!("{name} in {sink} ({spelling})");
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        }
        found
    }

    /// Fails where a canary stands in a sink, or where one that is planted there would not be found.
    pub fn must_not_hold(&self, canaries: &[Canary]) {
        let found = self.found(canaries);
        assert!(found.is_empty(), "found: {found:#?}");
        assert!(!canaries.is_empty() && self.len() > 0, "there is something to find, and a place");
        let needles = Needles::of(canaries);
        for (sink, text) in &self.0 {
            let (before, after) = text.split_at(text.len() / 2);
            let mut planted = before.to_vec();
            for canary in canaries {
                planted.extend_from_slice(&canary.random);
                planted.push(b' ');
            }
            planted.extend_from_slice(after);
            let found = needles.all(&planted);
            for (which, canary) in canaries.iter().enumerate() {
                let seen = found.iter().any(|(canary, _)| *canary == which);
                assert!(seen, "{} planted in {sink}", canary.name);
            }
        }
    }
}

/// The processes below one, by their parents.
pub fn below(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything: `pid (name) state ppid …`.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut known = vec![pid];
    let mut next = 0;
    while let Some(above) = known.get(next).copied() {
        known.extend(all.iter().filter(|pid| parent(**pid) == Some(above)));
        next += 1;
    }
    known.split_off(1)
}

#[test]
fn every_spelling_is_found_at_every_offset() {
    let value = super::canary("kind");
    let canary = Canary::of("it", &value);
    let random = value.strip_prefix("kind-").unwrap().as_bytes();
    for (name, spell) in SPELLINGS {
        for offset in 0..3 {
            let mut text = vec![b'~'; offset];
            text.extend_from_slice(random);
            text.extend_from_slice(b"~~");
            assert!(canary.found_in(&spell(&text)).is_some(), "{name} at {offset}");
        }
    }
    assert!(canary.found_in(&random[3..3 + WINDOW]).is_some(), "a part of it");
    assert!(canary.found_in(&random[..WINDOW - 1]).is_none());
    assert!(canary.found_in(super::canary("kind").as_bytes()).is_none());
    let pem = "-----BEGIN X-----\nMHcCAQEEIAlwaysTheSame\nabcdefghijklmnop\n-----END X-----\n";
    assert!(Canary::pem("key", pem).found_in(b"x abcdefghijklmnop x").is_some());
}
