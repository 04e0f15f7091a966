//! Valetkey: placeholder in, fresh token out. This file is the map; it holds no code.
//!
//! # The life of a request
//!
//! ```text
//! socket
//!   │ proxy::listen::accept               a worker accepts it and keeps it
//!   ▼
//! proxy::connect ── client::Gate ───────▶ Admitted │ 407
//!   │            ── policy.at_connect ──▶ Intercept │ Tunnel ─▶ proxy::tunnel │ Refuse ─▶ proxy::respond
//!   ▼ Intercept
//! proxy::intercept ── ca::Authority ────▶ a leaf for exactly this host; TLS ends; h1 (our own, http1) or h2 (hyper)
//!   ▼
//! proxy::serve     audit::Recorder::start ································┐ writes what is missing when dropped
//!   ├─ agree: CONNECT = SNI = Host = :authority                           :
//!   ├─ policy.decide ───────────────────▶ Permit │ Refusal(Reason)        :
//!   ├─ broker::Slot ────────────────────▶ Token: a pointer load, or one mint for all who wait ─▶ mint ─▶ store, net
//!   ├─ proxy::exchange: the same from here for plain http              :
//!   ├─ Recorder::decide ────────────────▶ Written: in the kernel's hands  :
//!   ├─ inject::clear(Permit, Token, Written, request) ─▶ Cleared          :
//!   ├─ proxy::upstream.send(Cleared) ───▶ its one origin, verified        :
//!   ▼                                                                     :
//! the answer, cleaned (inject::clean_answer), streamed back ── outcome ───┘
//! ```
//!
//! The proofs are types: a [`policy::Permit`] only comes from policy, an [`audit::Written`] only from a
//! record on its way to disk, an [`inject::Cleared`] only from both, and nothing else can be sent.
//!
//! # The floors
//!
//! A module imports only from floors below its own; a test holds it to that.
//!
//! | floor | modules |
//! |---|---|
//! | 7 | [`cli`]: what a person touches |
//! | 6 | [`daemon`]: wiring; the only place that knows everyone |
//! | 5 | [`proxy`]: the data plane. [`admin`]: looking in. [`adapter`]: the same decisions in other proxies (cargo features) |
//! | 4 | [`broker`]: holding tokens. [`inject`]: touching the request and the answer. [`limits`]: rates |
//! | 3 | [`policy`]: pure decisions. [`mint`]: one file a grant. [`ca`], [`client`], [`audit`] |
//! | 2 | [`http1`]: bytes to head and body and back. [`masking`]: words found and masked, whoever they belong to. [`net`], [`store`], [`telemetry`] |
//! | 1 | [`config`]: TOML to types that cannot be wrong |
//! | 0 | [`model`]: the nouns. [`local`]: what a place or a peer on this machine must be before it is believed |
//!
//! # Who may see a secret
//!
//! `Secret::expose` is called in `mint/endpoint.rs`, `mint/id_token.rs`, `mint/jws.rs`, `mint/template.rs`, `net/client.rs`, `net/via.rs`,
//! `inject/place.rs`, `inject/redact.rs` and in `store`, and nowhere else outside tests; a test holds the code to that. Comparing
//! and fingerprinting are methods of [`model::secret::Secret`].
//!
//! # Threads
//!
//! | thread | runs |
//! |---|---|
//! | processes | looks for the process of a client |
//! | main | signals, admin socket, mints, the half-second ticker |
//! | metrics | answers scrapers and probes, where config names an address |
//! | worker-N, one a core | a current-thread runtime: accept, TLS, requests, its own upstream pool |
//! | blocking pool | DNS, reading secrets, the audit's sync, the directory of `[ca] publish` |

pub mod adapter;
pub mod admin;
pub mod audit;
pub mod broker;
pub mod ca;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod http1;
pub mod inject;
pub mod limits;
pub mod local;
pub mod masking;
pub mod mint;
pub mod model;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod store;
pub mod telemetry;
