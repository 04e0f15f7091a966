//! The audit beside what came upstream: each request with a token has an inject record for each time it was sent.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Requests are numbered; what is so far behind has long ended.
const KEPT: u64 = 50_000;

pub struct Trail {
    dir: PathBuf,
    /// How far each file was read, by inode: rotation renames.
    read: HashMap<u64, u64>,
    /// By a request's number: records, and times that it came upstream.
    requests: BTreeMap<u64, (u32, u32)>,
    newest: u64,
    pub checked: u64,
    records: u64,
}

impl Trail {
    pub fn new(dir: &Path) -> Self {
        let (read, requests) = (HashMap::new(), BTreeMap::new());
        Self { dir: dir.to_owned(), read, requests, newest: 0, checked: 0, records: 0 }
    }

    /// `seen`: the numbers of requests that came upstream with a token since the last time. Their records were
    /// written before, so they are in the files now.
    pub fn compare(&mut self, seen: &[u64]) {
        self.follow();
        for number in seen {
            self.requests.entry(*number).or_default().1 += 1;
            if self.requests[number].1 > self.requests[number].0 {
                // A file that was renamed between the listing and its opening was read as its successor.
                self.follow();
            }
            let (records, times) = &self.requests[number];
            assert!(
                times <= records,
                "request {number} came {times} times, recorded {records}; the files:\n{}",
                self.evidence(*number)
            );
            self.newest = self.newest.max(*number);
            self.checked += 1;
        }
        let behind = self.newest.saturating_sub(KEPT);
        self.requests = self.requests.split_off(&behind);
    }

    pub fn so_far(&self) -> String {
        format!("{} requests with a token, {} inject records", self.checked, self.records)
    }

    /// Each file of the audit as it is now, how far it was read, and its lines about a request.
    fn evidence(&self, number: u64) -> String {
        let files = std::fs::read_dir(&self.dir).unwrap().flatten();
        let files = files.map(|file| {
            let metadata = file.metadata().unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let path = format!("/{number}\"");
            let lines: Vec<_> = text.lines().filter(|line| line.contains(&path)).collect();
            let (inode, length) = (metadata.ino(), metadata.len());
            let read = self.read.get(&inode);
            format!(
                "{:?}: inode {inode}, {length} bytes, read {read:?}, {lines:#?}",
                file.file_name()
            )
        });
        files.collect::<Vec<_>>().join("\n")
    }

    fn follow(&mut self) {
        let files = std::fs::read_dir(&self.dir).unwrap().flatten();
        let paths = files.map(|file| file.path());
        let of_audit = |path: &PathBuf| {
            path.file_name().unwrap_or_default().to_string_lossy().starts_with("audit.jsonl")
        };
        for path in paths.filter(of_audit) {
            // Rotation may take it away between the two.
            let Ok(mut file) = std::fs::File::open(&path) else { continue };
            let metadata = file.metadata().unwrap();
            let from = self.read.entry(metadata.ino()).or_default();
            if *from > metadata.len() {
                // The number of one that rotation has deleted.
                *from = 0;
            }
            file.seek(SeekFrom::Start(*from)).unwrap();
            let mut new = Vec::new();
            file.read_to_end(&mut new).unwrap();
            let whole = memchr::memrchr(b'\n', &new).map_or(0, |at| at + 1);
            *from += whole as u64;
            let lines = new[..whole].split(|byte| *byte == b'\n');
            let injects = lines
                .filter(|line| memchr::memmem::find(line, b"\"decision\":\"inject\"").is_some());
            for line in injects {
                let record: serde_json::Value = serde_json::from_slice(line).unwrap();
                self.records += 1;
                if let Some(number) = record["target"]["path"].as_str().and_then(number) {
                    self.requests.entry(number).or_default().0 += 1;
                }
            }
        }
    }
}

/// The last segment of a request's path.
pub fn number(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.parse().ok()
}
