//! What an upstream sends after a switch of protocols: bytes as they come, or, in WebSocket (RFC
//! 6455), the payload of its messages, so that the head of a frame does not hide what stands on
//! both sides of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};

use super::Redactor;
use super::stream::{HOLD_PATIENCE, HeldBack};

/// How long a frame that may stand between the parts of a message waits behind what may be the
/// beginning of a token: peers end a connection whose pings get no answer.
const CONTROL_PATIENCE: Duration = Duration::from_secs(1);
/// More frames do not wait.
const MOST_WAITING: usize = 64;

/// A stream after a switch.
pub struct SwitchedRedactor {
    redactor: Arc<Redactor>,
    held: HeldBack,
    frames: Option<Frames>,
}

#[derive(Default)]
struct Frames {
    /// Of a head that is not whole yet. It waits: it may turn out to be none.
    head: Vec<u8>,
    /// These are no frames of a server: from here on bytes are bytes.
    lost: bool,
    /// Of the payload, still to come.
    left: u64,
    /// The frame is one of those that may stand between the parts of a message; its payload so far.
    control: Option<Vec<u8>>,
    /// What is to be sent, in order.
    queue: VecDeque<Piece>,
    /// Payload that may be sent.
    clean: BytesMut,
}

enum Piece {
    Payload(usize),
    Raw(Bytes),
}

impl SwitchedRedactor {
    /// `protocol` as it was agreed on, in lower case.
    pub fn new(redactor: Arc<Redactor>, protocol: &str) -> Self {
        let frames = (protocol == "websocket").then(Frames::default);
        Self { redactor, held: HeldBack::default(), frames }
    }

    /// From now on these words are looked for.
    pub fn follow(&mut self, newer: Arc<Redactor>) {
        self.redactor = newer;
        self.held.look_again();
    }

    /// The next bytes; gives what can be passed on.
    pub fn pass(&mut self, bytes: Bytes) -> Bytes {
        let Some(frames) = &mut self.frames else {
            let [waited, bytes] = self.held.pass(&self.redactor.search, bytes);
            let settled = self.held.settle(&self.redactor.search);
            return [waited, bytes, settled].concat().into();
        };
        frames.read(bytes, &self.redactor, &mut self.held);
        frames.clean.extend_from_slice(&self.held.settle(&self.redactor.search));
        let out = frames.write();
        if frames.queue.len() <= MOST_WAITING {
            return out;
        }
        [out, self.release()].concat().into()
    }

    /// What is still held when the stream has ended.
    pub fn end(&mut self) -> Bytes {
        if let Some(frames) = &mut self.frames {
            // A head that has no end is none.
            let head = Bytes::from(std::mem::take(&mut frames.head));
            frames.text(head, &self.redactor, &mut self.held);
        }
        let rest = self.held.end(&self.redactor.search);
        self.behind(rest)
    }

    /// How long what waits may wait where nothing comes after it; `None` where only what comes next
    /// can tell. What is passed on then is less of a token than is masked without its end.
    pub fn patience(&self) -> Option<Duration> {
        let control = self.frames.as_ref().is_some_and(Frames::holds_control);
        match self.held.is_brief(&self.redactor.search) {
            true => Some(HOLD_PATIENCE),
            false => control.then_some(CONTROL_PATIENCE),
        }
    }

    /// What was held back for more to come, where none came in time.
    pub fn release(&mut self) -> Bytes {
        let rest = self.held.release();
        self.behind(rest)
    }

    fn behind(&mut self, rest: Bytes) -> Bytes {
        match &mut self.frames {
            None => rest,
            Some(frames) => {
                frames.clean.extend_from_slice(&rest);
                frames.write()
            }
        }
    }
}

impl Frames {
    fn read(&mut self, mut bytes: Bytes, redactor: &Redactor, held: &mut HeldBack) {
        while bytes.has_remaining() {
            if self.left == 0 && !self.lost {
                self.head.push(bytes.get_u8());
                match payload(&self.head) {
                    Payload::Cut => continue,
                    Payload::Is(length) => self.left = length,
                    Payload::Lost => self.lost = true,
                }
                self.control = (self.head[0] & 0x08 != 0 && !self.lost).then(Vec::new);
                let head = Bytes::from(std::mem::take(&mut self.head));
                if self.lost {
                    self.text(head, redactor, held);
                } else {
                    self.queue.push_back(Piece::Raw(head));
                }
            }
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let take = if self.lost { bytes.len() } else { most.min(bytes.len()) };
            let part = bytes.split_to(take);
            self.left = self.left.saturating_sub(take as u64);
            match &mut self.control {
                Some(whole) => {
                    whole.extend_from_slice(&part);
                    if self.left == 0 {
                        let whole = self.control.take().unwrap_or_default();
                        let clean = redactor.mask(&whole).unwrap_or(whole);
                        self.queue.push_back(Piece::Raw(clean.into()));
                    }
                }
                None => self.text(part, redactor, held),
            }
        }
    }

    /// What is searched as one text.
    fn text(&mut self, part: Bytes, redactor: &Redactor, held: &mut HeldBack) {
        self.queue.push_back(Piece::Payload(part.len()));
        for clean in held.pass(&redactor.search, part) {
            self.clean.extend_from_slice(&clean);
        }
    }

    /// Whether more than the text of a message waits.
    fn holds_control(&self) -> bool {
        self.queue.iter().any(|piece| matches!(piece, Piece::Raw(_)))
    }

    /// As much as is clean, in order.
    fn write(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while let Some(piece) = self.queue.pop_front() {
            match piece {
                Piece::Raw(bytes) => out.extend_from_slice(&bytes),
                Piece::Payload(length) if length <= self.clean.len() => {
                    out.extend_from_slice(&self.clean.split_to(length));
                }
                Piece::Payload(length) => {
                    let clean = self.clean.split();
                    self.queue.push_front(Piece::Payload(length - clean.len()));
                    out.extend_from_slice(&clean);
                    break;
                }
            }
        }
        out.freeze()
    }
}

/// What a frame's head says of its payload.
enum Payload {
    Cut,
    Is(u64),
    Lost,
}

/// RFC 6455 section 5.2.
fn payload(head: &[u8]) -> Payload {
    // Nobody agreed to the reserved bits, and a server does not mask.
    let [flags, rest @ ..] = head else { return Payload::Cut };
    if flags & 0x70 != 0 {
        return Payload::Lost;
    }
    let [length, rest @ ..] = rest else { return Payload::Cut };
    let control = flags & 0x08 != 0;
    if length & 0x80 != 0 || (control && *length > 125) {
        return Payload::Lost;
    }
    let length = match length {
        126 => rest.try_into().ok().map(u16::from_be_bytes).map(u64::from),
        127 => rest.try_into().ok().map(u64::from_be_bytes),
        length => Some(u64::from(*length)),
    };
    length.map_or(Payload::Cut, Payload::Is)
}
