//! A stream of text with its forms masked: what may be the beginning of one waits for what comes
//! next, everything else passes at once, and nothing changes its length.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use zeroize::Zeroizing;

use super::breaks::ends_line;
use super::search::Search;

/// How long a few bytes wait for what comes after them: a token that is cut in two by the network
/// comes whole within it, and a peer that waits for them notices nothing.
pub(super) const HOLD_PATIENCE: Duration = Duration::from_millis(20);
/// What a form is overwritten with.
pub(super) const MASK: u8 = b'*';
/// A beginning of up to so many bytes is let go where nothing follows for a while: an answer that
/// waits for the client's next word may end in it by chance. The rest is masked all the same.
const BRIEF: usize = 6;

/// So much of a piece is copied behind what waits.
const NEXT: usize = 512;

/// A piece of less than this share of what waits is not searched by itself.
const LITTLE: usize = 8;

/// Bytes that may be the beginning of a word, held back until it is known.
#[derive(Default)]
pub(super) struct HeldBack {
    /// The bytes as they came.
    text: Zeroizing<Vec<u8>>,
    /// So much of it was searched.
    searched: usize,
    /// So much of it was let go.
    gone: usize,
    /// What was before it ended in a line break.
    behind_break: bool,
    /// Whole forms that reach into it.
    whole: Vec<(usize, usize)>,
    masked: bool,
}

/// What can be said of a text so far, in order: what waited, and what came last. The second is no
/// copy where nothing in it is masked.
pub(super) type Passed = [Bytes; 2];

impl HeldBack {
    /// The next piece; gives what can be said of the text so far. A little may be left to
    /// [`Self::settle`].
    pub(super) fn pass(&mut self, search: &Search, mut piece: Bytes) -> Passed {
        let mut waited = Bytes::new();
        if !self.text.is_empty() {
            if self.is_little(&piece) {
                self.text.extend_from_slice(&piece);
                return Passed::default();
            }
            // What waits is mostly the beginning of nothing, as a little of the piece shows.
            let next = piece.len().min(NEXT);
            waited = self.join(search, &piece[..next]);
            if next == piece.len() {
                return [waited, Bytes::new()];
            }
            let Some(passed) = next.checked_sub(self.text.len()).filter(|_| self.whole.is_empty())
            else {
                return [waited, self.join(search, &piece[next..])];
            };
            piece.advance(passed);
            self.text.clear();
            self.searched = 0;
        }
        let found = search.through(&piece, self.behind_break);
        if !found.whole.is_empty() {
            return [waited, self.join(search, &piece)];
        }
        Self::leave(&mut self.behind_break, &piece[..found.open]);
        self.text.extend_from_slice(&piece[found.open..]);
        self.searched = self.text.len();
        piece.truncate(found.open);
        [waited, piece]
    }

    /// Whether a piece, and what came before it and was not searched, is little beside what waits.
    /// To search all of that for each byte would take the square of its length.
    fn is_little(&self, piece: &[u8]) -> bool {
        (self.text.len() - self.searched + piece.len()) * LITTLE <= self.text.len()
    }

    /// What waits is to be searched anew: for other words than before.
    pub(super) fn look_again(&mut self) {
        self.searched = 0;
    }

    /// What can be said where no more comes for now.
    pub(super) fn settle(&mut self, search: &Search) -> Bytes {
        if self.searched == self.text.len() { Bytes::new() } else { self.join(search, &[]) }
    }

    /// The next piece, copied behind what waits.
    fn join(&mut self, search: &Search, piece: &[u8]) -> Bytes {
        self.text.extend_from_slice(piece);
        let open = self.look(search);
        let piece = self.take(open);
        self.searched = self.text.len();
        piece
    }

    /// From where on it is open.
    fn look(&mut self, search: &Search) -> usize {
        let found = search.through(&self.text, self.behind_break);
        self.masked |= !found.whole.is_empty();
        self.whole.extend(found.whole);
        found.open
    }

    /// The rest, of a text that has ended.
    pub(super) fn end(&mut self, search: &Search) -> Bytes {
        if self.searched < self.text.len() {
            self.look(search);
        }
        self.searched = 0;
        self.take(self.text.len())
    }

    /// Whether what waits may be let go.
    pub(super) fn is_brief(&self, search: &Search) -> bool {
        let waits = self.text.len() > self.gone;
        waits && self.text.len() <= BRIEF.min(search.shortest() / 4)
    }

    pub(super) fn length(&self) -> usize {
        self.text.len() - self.gone
    }

    pub(super) fn was_masked(&self) -> bool {
        self.masked
    }

    /// Lets go what waits, and remembers it.
    pub(super) fn release(&mut self) -> Bytes {
        let piece = self.masked(self.text.len());
        self.gone = self.text.len();
        piece
    }

    /// Remembers how the text ended that is looked at no more.
    fn leave(behind_break: &mut bool, text: &[u8]) {
        if !text.is_empty() {
            *behind_break = ends_line(text);
        }
    }

    /// Takes out everything before `end`, masked.
    fn take(&mut self, end: usize) -> Bytes {
        let piece = self.masked(end);
        Self::leave(&mut self.behind_break, &self.text[..end]);
        self.text.drain(..end);
        self.gone = self.gone.saturating_sub(end);
        self.whole.retain_mut(|(from, to)| {
            (*from, *to) = (from.saturating_sub(end), to.saturating_sub(end));
            *to > 0
        });
        self.whole.sort_unstable();
        self.whole.dedup();
        piece
    }

    fn masked(&self, end: usize) -> Bytes {
        let Some(piece) = self.text.get(self.gone..end) else { return Bytes::new() };
        let mut piece = piece.to_vec();
        for (from, to) in &self.whole {
            let (from, to) = (from.saturating_sub(self.gone), to.saturating_sub(self.gone));
            let to = to.min(piece.len());
            if from < to {
                piece[from..to].fill(MASK);
            }
        }
        piece.into()
    }
}
