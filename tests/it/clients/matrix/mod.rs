//! The client table as code: every unmodified client that people put behind the proxy, one [`Client`]
//! each, and one check for all of them.
//!
//! `command_line`, `python` and `node` are the table, `check` says what holds for every row, `tap`
//! sees what a client offers on its way to the proxy, `answers` are the fake APIs' words, `report`
//! writes the matrix that `tests/run` prints at its end, `variables` holds the table to what `run` sets.

mod answers;
mod check;
mod command_line;
mod node;
mod python;
mod report;
mod tap;
mod variables;

use std::path::Path;

use crate::harness::api::{Answer, Seen};

/// One row. Lines are shell lines in which `{py}`, `{venv}`, `{node}`, `{npm}`, `{scripts}`,
/// `{cargo}` and `{host}` are filled in; nothing in them names a proxy or a CA.
#[derive(Clone, Copy)]
pub struct Client {
    /// For people: the word of `config/tools.md` for it.
    pub name: &'static str,
    /// What must be there. Everything that `tests/run` installs is; the rest is said in the matrix.
    pub needs: Needs,
    /// Prints its version.
    pub version: &'static str,
    /// The routed host that it asks.
    pub host: &'static str,
    /// The variable that holds its key.
    pub key: &'static str,
    /// Variables of a person's own that it runs with: no retries, no telemetry.
    pub settings: &'static [(&'static str, &'static str)],
    /// Each alone leads it to the proxy.
    pub proxy: &'static [&'static str],
    /// Each alone makes it trust our CA.
    pub ca: &'static [&'static str],
    /// How its key arrives, before the proxy touches it.
    pub sends: Form,
    /// Where the route puts the token.
    pub slot: Slot,
    /// Run beforehand, without the proxy.
    pub prepare: &'static str,
    /// One use of the tool.
    pub line: &'static str,
    /// What the fake API says; the path is the client's home.
    pub answer: fn(&Seen, &Path) -> Answer,
    /// How that ends.
    pub ends: Ends,
    /// Goes on trying for long where it doesn't trust our CA.
    pub stubborn: bool,
    /// Judges our leaf only after the handshake: where it doesn't trust our CA, the audit has nothing.
    pub silent: bool,
}

/// What a row needs to run.
#[derive(Clone, Copy)]
pub enum Needs {
    /// A program that `tests/run` installs: its absence is a failure.
    Installed,
    /// A program that no package has; without it the row is not run, and the matrix says so.
    Program(&'static str),
    /// A shell condition; likewise.
    If(&'static str, &'static str),
}

/// How a client sends its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `Authorization`, with this before the key.
    Word(&'static str),
    /// `Authorization: Basic`, with this user.
    Basic(&'static str),
    /// A field of its own.
    Header(&'static str),
    /// It sends none.
    Nothing,
    /// A signature, which is not a key.
    Signature,
}

/// Where the token must stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    Bearer,
    Basic(&'static str),
    Header(&'static str),
    /// A route without credential: no token anywhere.
    Pass,
}

/// How a use of the tool ends.
#[derive(Clone, Copy)]
pub enum Ends {
    /// Exit code 0, and this in what it prints.
    Well(&'static str),
    /// The request gets there; how the tool likes the fake's answer is its own affair, for this reason.
    Asked(&'static str),
    /// It can't, and says one of these. With the words of the second member it works: that is
    /// what `config/tools.md` tells people.
    Cannot { says: &'static [&'static str], remedy: &'static str, told: &'static str },
}

/// What most rows share.
const CLIENT: Client = Client {
    name: "",
    needs: Needs::Installed,
    version: "",
    host: "api.matrix.example",
    key: "MATRIX_KEY",
    settings: &[],
    proxy: &["HTTPS_PROXY", "https_proxy"],
    ca: &["SSL_CERT_FILE"],
    sends: Form::Word("Bearer "),
    slot: Slot::Bearer,
    prepare: "",
    line: "",
    answer: answers::json,
    ends: Ends::Well("matrix-ok"),
    stubborn: false,
    silent: false,
};

/// Tests of these names, one a row.
macro_rules! rows {
    ($($name:ident: $row:expr;)+) => {
        /// The rows of this file.
        pub const ROWS: &[&super::Client] = &[$(&$row),+];
        $(
            #[tokio::test]
            #[ignore = "needs real peers: run tests/run"]
            async fn $name() {
                super::check::row(&$row).await;
            }
        )+
    };
}
use rows;
