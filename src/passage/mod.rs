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
//! serves requests cannot leave a step out, nor send another head than one that was judged.
//! `proxy` and the adapters call it; sockets, connections and bodies are theirs.
//!
//! [`Given`] notes the tokens that one client gave to one host, until each has ended or is revoked.
//! All of them are masked in header fields and trailers of every answer; in bodies and in what
//! follows a switch of protocols where the request carried a token, unless its route says
//! `redact = false`; also in an answer that was under way before.

pub mod agree;
mod asking;
mod clean;
mod desk;
mod given;
mod incoming;
mod known;
mod passed;
mod refused;

pub use clean::{Clean, Followed, why_undecoded};
pub use desk::{Passage, Terms};
pub use given::Given;
pub use incoming::{Arrival, Attended, Incoming, Judged, Supplied, Way, context};
pub use known::Known;
pub use passed::{Cleared, JudgedRequest, Passed, Unclean, record_tunnel};
pub use refused::{Refused, Word, closes, name_config, raw, response, status};
