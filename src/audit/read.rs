//! Reading the trail: lines and records in chain order over rotated files and the current one, and
//! lines from a file's end backwards. `verify`, `tail` and later `query` are built on these.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::Record;
use super::sink::file::MAX_LINE;
use super::sink::places::TrailPaths;
use crate::local::place;

/// One line of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub file: Arc<Path>,
    /// Which line of the file, from 1.
    pub number: usize,
    /// Without the newline; not necessarily UTF-8 where somebody damaged it.
    pub bytes: Vec<u8>,
    /// Whether a newline follows. Only the last line of the current file may lack one: it is just
    /// being written, or its writer was killed.
    pub whole: bool,
}

/// All lines of an audit, oldest first.
#[derive(Debug)]
pub struct Lines {
    files: std::vec::IntoIter<(Arc<Path>, File)>,
    now: Option<(Arc<Path>, BufReader<File>, usize)>,
}

impl Lines {
    /// Opens all files of the audit whose current file is `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { files: open_all(&TrailPaths::of(path))?.into_iter(), now: None })
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.now.is_none() {
                let (path, file) = self.files.next()?;
                self.now = Some((path, BufReader::with_capacity(READ_BLOCK, file), 0));
            }
            let (path, reader, number) = self.now.as_mut()?;
            let mut bytes = Vec::new();
            match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes) {
                Ok(0) => self.now = None,
                Ok(_) => {
                    *number += 1;
                    let whole = bytes.last() == Some(&b'\n');
                    if whole {
                        bytes.pop();
                    }
                    let file = Arc::clone(path);
                    return Some(Ok(Line { file, number: *number, bytes, whole }));
                }
                Err(e) => {
                    self.now = None;
                    return Some(Err(e));
                }
            }
        }
    }
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be read.
    #[error("the audit could not be read")]
    Io(#[from] io::Error),
    /// Not JSON of our shape.
    #[error("{}:{}: not an audit record", .line.file.display(), .line.number)]
    Shape {
        line: Line,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
}

/// All records of an audit, oldest first, unchecked: `verify` checks. A torn last line is left out.
#[derive(Debug)]
pub struct Records(Lines);

impl Records {
    /// Opens all files of the audit whose current file is `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Lines::open(path)?))
    }
}

impl Iterator for Records {
    type Item = Result<(Line, Record<'static>), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.0.next()? {
            Ok(line) => line,
            Err(e) => return Some(Err(e.into())),
        };
        match serde_json::from_slice(&line.bytes) {
            Ok(record) => Some(Ok((line, record))),
            Err(_) if !line.whole => self.next(),
            Err(source) => Some(Err(RecordError::Shape { line, source })),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    Ok(place::open(path)?.into_file())
}

/// Every file, oldest first. The current one is opened before the others are listed: a rotation in
/// between makes it turn up under its new name, and it is still the last that is read.
pub(crate) fn open_all(places: &TrailPaths) -> io::Result<Vec<(Arc<Path>, File)>> {
    let current = absent_is_none(open(&places.current))?;
    let id = current.as_ref().map(identity).transpose()?;
    let mut files = Vec::new();
    for first in places.list_rotated()? {
        let path = places.rotated(first);
        let Some(file) = absent_is_none(open(&path))? else {
            // Rotation deleted it since it was listed, and so all that are older.
            files.clear();
            continue;
        };
        let was_current = Some(identity(&file)?) == id;
        files.push((Arc::from(path), file));
        if was_current {
            return Ok(files);
        }
    }
    files.extend(current.map(|file| (Arc::from(places.current.clone()), file)));
    Ok(files)
}

/// Device and inode, by which a file is known under another name.
pub(crate) fn identity(file: &File) -> io::Result<(u64, u64)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

fn absent_is_none(file: io::Result<File>) -> io::Result<Option<File>> {
    match file {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The whole lines of a file, last first, reading only as much as is asked for.
#[derive(Debug)]
pub(crate) struct Backward {
    file: File,
    start: u64,
    /// Bytes from `start` on that have not been handed out; ends with a newline or is empty.
    held: Vec<u8>,
}

impl Backward {
    /// From the offset `end`, which lies behind a newline.
    pub(crate) fn new(file: File, end: u64) -> Self {
        Self { file, start: end, held: Vec::new() }
    }

    /// The line before, without its newline. An overlong one comes in pieces, none of which is a
    /// record.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let body = self.held.len().saturating_sub(1);
            if let Some(at) = self.held[..body].iter().rposition(|b| *b == b'\n') {
                return Ok(Some(self.split(at + 1)));
            }
            if self.start == 0 || self.held.len() as u64 > MAX_LINE {
                return Ok((!self.held.is_empty()).then(|| self.split(0)));
            }
            let from = self.start.saturating_sub(READ_BLOCK as u64);
            let mut block = vec![0; (self.start - from) as usize];
            self.file.seek(SeekFrom::Start(from))?;
            self.file.read_exact(&mut block)?;
            block.append(&mut self.held);
            self.held = block;
            self.start = from;
        }
    }

    fn split(&mut self, at: usize) -> Vec<u8> {
        let mut line = self.held.split_off(at);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        line
    }
}

/// Every file's path, oldest first, as far as they exist.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(open_all(&TrailPaths::of(path))?.into_iter().map(|(path, _)| path.to_path_buf()).collect())
}

const READ_BLOCK: usize = 64 * 1024;
