//! Floor 5: the one way from a request to what may leave, and from an answer to what may come back.
//!
//! ```text
//! Arrival ─ arrive ─▶ Incoming ─ judge ─▶ Judged ─ supply ─▶ Supplied ─ pass ─▶ Passed
//!   who asks           size, one authority,     a token from        ├─ record ─▶ Written
//!   (placeholders)     policy, standing key,    its slot, or        └─ clear ──▶ Cleared: the one thing
//!                      rates                    minted now                       that may be sent
//!                                                                   clean ◀── the answer
//! ```
//!
//! Each step takes what the one before it gave, and only these functions make those values: whoever
//! serves requests cannot leave a step out, nor send another request than the one that was judged.
//! `proxy` and the adapters call it; sockets, connections and bodies are theirs.
//!
//! [`Given`] knows every token that an upstream was given by a client, until its end: all of them
//! are masked in all that comes back, also in an answer that was under way before.

pub mod agree;
mod asking;
mod clean;
mod desk;
mod given;
mod incoming;
mod known;
mod passed;
mod refused;

pub use clean::{Clean, Followed};
pub use desk::{Passage, Terms};
pub use given::{AllGiven, Given};
pub use incoming::{Arrival, Incoming, Judged, Supplied, Way};
pub use known::Known;
pub use passed::{Cleared, JudgedRequest, Passed, record};
pub use refused::{Refused, Word, closes, name_config, raw, response, status};
