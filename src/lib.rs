//! Valetkey: placeholder in, fresh token out. This file is the map; it holds no code.
//!
//! # The life of a request
//!
//! ```text
//! socket
//!   │ proxy::front::accept               a worker accepts it and keeps it
//!   ▼
//! front::connect ── client::Gate ───────▶ Admitted │ 407
//!   │            ── policy.at_connect ──▶ Intercept │ Tunnel ─▶ back::tunnel │ Refuse ─▶ a problem document
//!   ▼ Intercept
//! front::intercept ── ca::Authority ────▶ a leaf for exactly this host; TLS ends; h1 (our own, http1) or h2 (hyper)
//!   ▼
//! request::serve ── passage.arrive ─────▶ Incoming: its record has begun ······┐ writes what is missing when dropped
//!   ├─ judge ─────▶ Judged              still admitted, one authority, policy, standing key, rates
//!   ├─ enter                            proxy::live can end it from here on
//!   ├─ supply ────▶ Supplied            a pointer load, or one mint for all who wait ─▶ broker, mint, store, net
//!   ├─ pass ──────▶ Passed              from here on it is request::exchange
//!   ├─ record ────▶ Written             in the kernel's hands, or waived by config
//!   ├─ clear ─────▶ Cleared             emptied and filled: inject             :
//!   ├─ back::upstream.send(Cleared)     its one origin, verified               :
//!   ├─ request::retry                   a 401, a nonce                         :
//!   ▼                                                                          :
//! the answer ─ passage: clean ─▶ Clean ─ request::body, streamed back ─ outcome ┘
//! ```
//!
//! The proofs are types: a [`policy::Permit`] only comes from policy, an [`audit::Written`] only from a
//! record on its way to disk, a [`passage::Cleared`] only from all the steps before it, and nothing else can be sent.
//!
//! # The floors
//!
//! A module imports only from floors below its own; a test holds it to that.
//!
//! | floor | modules |
//! |---|---|
//! | 8 | [`cli`]: what a person touches |
//! | 7 | [`daemon`]: wiring; the only place that knows everyone |
//! | 6 | [`proxy`]: the data plane. [`admin`]: looking in. [`adapter`]: the same passage in other proxies (cargo features) |
//! | 5 | [`passage`]: the one way from a request to what may leave, and from an answer to what may come back |
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
pub mod passage;
pub mod policy;
pub mod proxy;
pub mod store;
pub mod telemetry;
