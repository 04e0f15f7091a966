//! A coded body that passes as it came: what it decodes to is searched beside it, at each coding
//! and with what stands behind the end of one, and its bytes wait until all that anybody may make
//! of them was searched.

use std::collections::VecDeque;

use bytes::Bytes;

use super::coding::{Codings, DecodeError, MAX_STAGES, Pulled};
use super::search::Search;
use super::stream::HeldBack;

/// The encoded bytes, and what each coding makes of them.
const MAX_LEVELS: usize = MAX_STAGES + 1;
/// Encoded bytes that may wait besides those that a decoder has taken and not told of.
const MAX_WAITING: u64 = 1024 * 1024;

pub(super) struct Original {
    codings: Codings,
    levels: Vec<Level>,
    waiting: VecDeque<Waiting>,
    /// Of what waits.
    length: u64,
    /// The last piece may decode to more.
    pulling: bool,
}

/// One text among those that are searched: the encoded bytes, or what so many codings make of them.
#[derive(Default)]
struct Level {
    held: HeldBack,
    seen: u64,
}

struct Waiting {
    piece: Bytes,
    /// It may pass once so much of each level was searched.
    until: [u64; MAX_LEVELS],
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    All,
    /// There is more to look at, but others should have their turn first.
    Tired,
    /// A word is in it.
    Told,
}

impl Level {
    fn see(&mut self, search: &Search, piece: &Bytes) {
        self.seen += piece.len() as u64;
        self.held.pass(search, piece.clone());
    }

    /// So much is no beginning of a word.
    fn said(&self) -> u64 {
        self.seen - self.held.length() as u64
    }
}

impl Original {
    pub(super) fn new(codings: Codings) -> Self {
        let levels = (0..=codings.count()).map(|_| Level::default()).collect();
        Self { codings, levels, waiting: VecDeque::new(), length: 0, pulling: false }
    }

    /// Takes a piece, to be looked at.
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.length += piece.len() as u64;
        self.codings.push(piece.clone());
        self.waiting.push_back(Waiting { piece, until: [u64::MAX; MAX_LEVELS] });
        self.pulling = true;
    }

    /// Looks at what was pushed.
    pub(super) fn look(&mut self, search: &Search) -> Result<Looked, DecodeError> {
        let Self { codings, levels, .. } = self;
        while self.pulling && !is_told(codings, levels) {
            match codings.pull_seen(&mut |level, piece| levels[level].see(search, piece))? {
                Pulled::Piece(piece) => {
                    let last = codings.count();
                    levels[last].see(search, &piece);
                }
                Pulled::Tired => return Ok(Looked::Tired),
                Pulled::All => self.pulling = false,
            }
        }
        if is_told(codings, levels) {
            return Ok(Looked::Told);
        }
        self.mark();
        // One piece is as long as the upstream and its connection make it.
        let more = self.waiting.len() > 1 && !self.may_release();
        if more && self.length > MAX_WAITING + self.codings.retains() {
            return Err(DecodeError::TooMuch);
        }
        Ok(Looked::All)
    }

    /// What came so far may pass once all that was seen of it was searched, and what a decoder has
    /// not told of yet.
    fn mark(&mut self) {
        let retained = self.codings.retains();
        let mut until = [0; MAX_LEVELS];
        for (until, level) in until.iter_mut().zip(&self.levels) {
            *until = level.seen;
        }
        until[self.codings.count()] += retained;
        for waiting in self.waiting.iter_mut().rev() {
            if waiting.until != [u64::MAX; MAX_LEVELS] && retained > 0 {
                break;
            }
            for (old, new) in waiting.until.iter_mut().zip(until) {
                *old = new.min(*old);
            }
        }
    }

    /// Whether the next bytes may pass.
    pub(super) fn may_release(&self) -> bool {
        let said = |(level, until): (&Level, u64)| level.said() >= until;
        let waiting = self.waiting.front();
        waiting.is_some_and(|waiting| self.levels.iter().zip(waiting.until).all(said))
    }

    /// The next bytes that may pass; nothing: there are none for now.
    pub(super) fn release(&mut self) -> Bytes {
        if !self.may_release() {
            return Bytes::new();
        }
        let piece = self.waiting.pop_front().map_or(Bytes::new(), |waiting| waiting.piece);
        self.length -= piece.len() as u64;
        piece
    }

    /// What can be said where no more comes for now.
    pub(super) fn settle(&mut self, search: &Search) -> Looked {
        for level in &mut self.levels {
            level.held.settle(search);
        }
        if is_told(&self.codings, &self.levels) { Looked::Told } else { Looked::All }
    }

    /// Whether a few bytes at most keep back what waits.
    pub(super) fn is_brief(&self, search: &Search) -> bool {
        let held = || self.levels.iter().map(|level| &level.held).filter(|held| held.length() > 0);
        held().next().is_some() && held().all(|held| held.is_brief(search))
    }

    /// Lets those few bytes go.
    pub(super) fn let_go(&mut self) {
        for level in &mut self.levels {
            level.held.release();
        }
    }

    /// The body has ended, and so has what it decodes to: all of it may pass.
    pub(super) fn end(&mut self, search: &Search) -> Result<Looked, DecodeError> {
        self.codings.end()?;
        for level in &mut self.levels {
            level.held.end(search);
        }
        for waiting in &mut self.waiting {
            waiting.until = [0; MAX_LEVELS];
        }
        let told = is_told(&self.codings, &self.levels);
        Ok(if told { Looked::Told } else { Looked::All })
    }

    /// What waits is to be searched anew: for other words than before.
    pub(super) fn look_again(&mut self) {
        for level in &mut self.levels {
            level.held.look_again();
        }
    }

    /// Bytes that wait.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// All that waits, as it came.
    pub(super) fn into_waiting(self) -> VecDeque<Bytes> {
        self.waiting.into_iter().map(|waiting| waiting.piece).collect()
    }
}

fn is_told(codings: &Codings, levels: &[Level]) -> bool {
    codings.are_doubtful() || levels.iter().any(|level| level.held.was_masked())
}

#[cfg(test)]
mod tests;
