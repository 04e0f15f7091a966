//! The file sink: appends whole lines, all or none, and rotates.
//!
//! A write that fails half-way is undone before the next one. A file that was deleted, renamed,
//! truncated or replaced under us is noticed (deletion and truncation at the next write, renaming
//! within a second), opened anew, and said aloud as a [`Notice`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::places::TrailPaths;
use crate::audit::chain;
use crate::audit::key::no_follow;

/// Something that the trail itself must record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) code: &'static str,
    /// Bytes moved to `audit.torn`, where there were any.
    pub(crate) torn: u64,
}

/// The current file and the list of rotated ones.
#[derive(Debug)]
pub(crate) struct FileSink {
    pub(crate) places: TrailPaths,
    file: Arc<File>,
    /// Bytes of whole records in the file; what lies beyond is a failed write of ours.
    len: u64,
    /// The number of the file's first record; `None` while it is empty.
    first: Option<u64>,
    /// First records of rotated files, oldest first.
    rotated: Vec<u64>,
    /// The oldest record that rotation has not deleted.
    oldest: u64,
    max_size: u64,
    keep: usize,
    ragged: bool,
    looked: Instant,
    /// No new attempt before: one has failed.
    rotate_after: Option<Instant>,
    notices: Vec<Notice>,
    /// Rotated files that the next flush has to sync.
    unsynced: Vec<Arc<File>>,
    /// Test seam: bytes left on the disk.
    #[cfg(test)]
    pub(crate) space: Option<u64>,
}

impl FileSink {
    /// Opens or creates the current file and moves torn bytes out of it.
    pub(crate) fn open(
        places: TrailPaths,
        max_size: u64,
        keep: usize,
        now: Instant,
    ) -> io::Result<Self> {
        let file = open_current(&places.current)?;
        let (len, torn) = mend(&file, &places.torn)?;
        let rotated = places.list_rotated()?;
        let mut sink = Self {
            places,
            file: Arc::new(file),
            len,
            first: None,
            rotated,
            oldest: 1,
            max_size,
            keep,
            ragged: false,
            looked: now,
            rotate_after: None,
            notices: Vec::new(),
            unsynced: Vec::new(),
            #[cfg(test)]
            space: None,
        };
        sink.first = sink.first_record()?;
        if torn > 0 {
            sink.notices.push(Notice { code: "audit-torn-tail", torn });
        }
        Ok(sink)
    }

    /// Appends lines whose first record is number `first`. After an error none of them is in the
    /// file.
    pub(crate) fn append(&mut self, lines: &[u8], first: u64, now: Instant) -> io::Result<()> {
        self.look(now)?;
        if self.len > 0 && self.len + lines.len() as u64 > self.max_size {
            self.rotate(first, now);
        }
        if let Err(e) = self.write(lines) {
            self.ragged = true;
            self.undo().ok();
            return Err(e);
        }
        self.len += lines.len() as u64;
        self.first.get_or_insert(first);
        Ok(())
    }

    /// Makes sure that the open file is still the one at the path; looks at the path at most once
    /// a second, at the open file itself every time (about 0.3 µs).
    pub(crate) fn look(&mut self, now: Instant) -> io::Result<()> {
        self.undo()?;
        let open = self.file.metadata()?;
        let due = now.saturating_duration_since(self.looked) >= LOOK_EVERY;
        if open.nlink() > 0 && open.len() == self.len && !due {
            return Ok(());
        }
        let same = match fs::symlink_metadata(&self.places.current) {
            Ok(meta) => meta.dev() == open.dev() && meta.ino() == open.ino(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(e),
        };
        if !same || open.len() != self.len {
            let code = if same { "audit-file-changed" } else { "audit-file-replaced" };
            self.reopen(code)?;
        }
        self.looked = now;
        Ok(())
    }

    /// What has to be recorded, once.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The files written since the last call, for syncing them without a lock.
    pub(crate) fn take_unsynced(&mut self) -> Vec<Arc<File>> {
        let mut files = std::mem::take(&mut self.unsynced);
        files.push(Arc::clone(&self.file));
        files
    }

    /// First records of the rotated files that are one too many.
    pub(crate) fn surplus(&self) -> Vec<u64> {
        self.rotated[..self.rotated.len().saturating_sub(self.keep)].to_vec()
    }

    /// The oldest record that must be there: raised when rotated files become surplus and by
    /// nothing else, so that what is missing stays missed. `next`: the number of the record to
    /// come.
    pub(crate) fn oldest(&mut self, next: u64) -> u64 {
        let surplus = self.rotated.len().saturating_sub(self.keep);
        if surplus > 0 {
            let kept = self.rotated.get(surplus).copied().or(self.first).unwrap_or(next);
            self.oldest = self.oldest.max(kept);
        }
        self.oldest
    }

    /// What the head said at open; without one, what is there must do.
    pub(crate) fn expect_oldest(&mut self, oldest: Option<u64>) {
        let found = self.rotated.first().copied().or(self.first);
        self.oldest = oldest.or(found).unwrap_or(1);
    }

    /// Takes note that a surplus file is gone.
    pub(crate) fn forget(&mut self, first: u64) {
        self.rotated.retain(|r| *r != first);
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    #[cfg(not(test))]
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.file).write(bytes)
    }

    #[cfg(test)]
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(space) = &mut self.space else { return (&*self.file).write(bytes) };
        if *space == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = (&*self.file).write(&bytes[..bytes.len().min(*space as usize)])?;
        *space -= n as u64;
        Ok(n)
    }

    /// Cuts off what a failed write left behind.
    fn undo(&mut self) -> io::Result<()> {
        if self.ragged {
            self.file.set_len(self.len)?;
            self.ragged = false;
        }
        Ok(())
    }

    fn reopen(&mut self, code: &'static str) -> io::Result<()> {
        let file = open_current(&self.places.current)?;
        let (len, torn) = mend(&file, &self.places.torn)?;
        self.file = Arc::new(file);
        self.len = len;
        self.first = self.first_record()?;
        self.rotated = self.places.list_rotated()?;
        self.notices.push(Notice { code, torn });
        Ok(())
    }

    /// Moves the current file aside and starts a new one. A failure is said aloud and costs no
    /// record: the file grows beyond its size until rotation works again.
    fn rotate(&mut self, next: u64, now: Instant) {
        if self.rotate_after.is_some_and(|after| now < after) {
            return;
        }
        self.rotate_after = None;
        // Where the first line is damaged, the name still sorts before the file to come.
        let first = self.first.unwrap_or(next.saturating_sub(1));
        if let Err(e) = self.try_rotate(first) {
            self.rotate_after = Some(now + LOOK_EVERY);
            tracing::warn!(code = "audit-rotation-failed", error = %e, "the audit could not be rotated");
        }
    }

    fn try_rotate(&mut self, first: u64) -> io::Result<()> {
        let aside = self.places.rotated(first);
        if aside.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.unsynced.len() >= MAX_UNSYNCED {
            self.unsynced.clear();
            self.file.sync_data()?;
        }
        // A kill between the two steps leaves no current file; `open` then makes one.
        fs::rename(&self.places.current, &aside)?;
        let file = match open_current(&self.places.current) {
            Ok(file) => file,
            Err(e) => {
                fs::rename(&aside, &self.places.current)?;
                return Err(e);
            }
        };
        self.unsynced.push(std::mem::replace(&mut self.file, Arc::new(file)));
        self.len = 0;
        self.first = None;
        self.rotated.push(first);
        Ok(())
    }

    /// The number of the first record in the open file, from its first line.
    fn first_record(&self) -> io::Result<Option<u64>> {
        let mut line = Vec::new();
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0))?;
        io::BufRead::read_until(&mut io::BufReader::new(file.take(MAX_LINE)), b'\n', &mut line)?;
        line.pop();
        Ok(chain::unseal(&line).map(|record| record.seq))
    }
}

/// Opens the file at `path` for appending, owner only; makes it where there is none.
fn open_current(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Moves the bytes after the last newline to the end of `torn`, and syncs them before they are cut
/// off. Returns the length of what remains and the number of bytes moved. O(torn bytes).
fn mend(file: &File, torn: &Path) -> io::Result<(u64, u64)> {
    let len = file.metadata()?.len();
    let whole = end_of_last_line(file, len)?;
    if whole == len {
        return Ok((len, 0));
    }
    let mut keep = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(torn)?;
    let mut from = file;
    from.seek(SeekFrom::Start(whole))?;
    io::copy(&mut from.take(len - whole), &mut keep)?;
    keep.write_all(b"\n")?;
    keep.sync_data()?;
    file.set_len(whole)?;
    Ok((whole, len - whole))
}

/// The offset just behind the last newline, 0 where there is none.
pub(crate) fn end_of_last_line(mut file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut block = vec![0; TAIL_BLOCK];
    while end > 0 {
        let start = end.saturating_sub(TAIL_BLOCK as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|b| *b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// No record is longer, in bytes; a line that is, is none of ours.
pub(crate) const MAX_LINE: u64 = 1024 * 1024;

const TAIL_BLOCK: usize = 64 * 1024;
const MAX_UNSYNCED: usize = 4;
const LOOK_EVERY: Duration = Duration::from_secs(1);
