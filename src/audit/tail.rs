//! [`Tail`]: the last lines of an audit, and then what is added, over rotations.
//!
//! It does not wait: the caller asks again, as often as it likes.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::read::{Backward, identity, open_all};
use super::sink::file::end_of_last_line;
use super::sink::places::TrailPaths;

/// Follows the lines of an audit as they are written, over rotations.
#[derive(Debug)]
pub struct Tail {
    places: TrailPaths,
    /// The file being read and the offset of the first byte that was not handed out.
    now: Option<(File, u64)>,
    first: Vec<String>,
}

impl Tail {
    /// Starts `lines` whole lines before the end of the audit whose current file is `path`.
    pub fn open(path: &Path, lines: usize) -> io::Result<Self> {
        let places = TrailPaths::of(path);
        let mut first = VecDeque::new();
        let mut now = None;
        for (_, file) in open_all(&places)?.into_iter().rev() {
            let end = end_of_last_line(&file, file.metadata()?.len())?;
            let mut back = Backward::new(file.try_clone()?, end);
            now.get_or_insert((file, end));
            while first.len() < lines
                && let Some(line) = back.next_line()?
            {
                first.push_front(text(&line));
            }
            if first.len() >= lines {
                break;
            }
        }
        Ok(Self { places, now, first: first.into() })
    }

    /// The lines added since the last call; at the first call, the last lines. Empty: nothing new.
    pub fn poll(&mut self) -> io::Result<Vec<String>> {
        let mut lines = std::mem::take(&mut self.first);
        loop {
            if let Some((file, offset)) = &mut self.now {
                read_on(file, offset, &mut lines)?;
                if self.places.current.metadata_identity()? == Some(identity(file)?) {
                    return Ok(lines);
                }
                // Rotated away: its last lines may have come between reading and looking.
                read_on(file, offset, &mut lines)?;
            }
            let Some(next) = self.next_file()? else { return Ok(lines) };
            self.now = Some((next, 0));
        }
    }

    /// The file behind the one that was read to its end.
    fn next_file(&self) -> io::Result<Option<File>> {
        let mut files: Vec<File> = open_all(&self.places)?.into_iter().map(|(_, f)| f).collect();
        let Some((file, _)) = &self.now else {
            return Ok((!files.is_empty()).then(|| files.remove(0)));
        };
        let id = identity(file)?;
        for at in 0..files.len() {
            if identity(&files[at])? == id {
                return Ok((at + 1 < files.len()).then(|| files.remove(at + 1)));
            }
        }
        // Deleted while we read it: what is left is the current file.
        Ok(files.pop())
    }
}

trait Identity {
    /// Device and inode of what stands at the path.
    fn metadata_identity(&self) -> io::Result<Option<(u64, u64)>>;
}

impl Identity for Path {
    fn metadata_identity(&self) -> io::Result<Option<(u64, u64)>> {
        match fs::metadata(self) {
            Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn read_on(file: &mut File, offset: &mut u64, lines: &mut Vec<String>) -> io::Result<()> {
    // Truncated from outside: what is there now is new.
    if file.metadata()?.len() < *offset {
        *offset = 0;
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if let Some(whole) = line.strip_suffix(b"\n") {
            lines.push(text(whole));
            *offset += line.len() as u64;
        }
    }
    Ok(())
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}
