//! The matrix for people: one Markdown row for each client that was tried, or why it wasn't.

use super::{Client, Ends, Form, Slot};
use crate::clients::tests_file;

/// What was seen of one client.
pub struct Found {
    pub version: String,
    /// Offered to the proxy.
    pub alpn: String,
    /// `session` or `uid`.
    pub admitted: &'static str,
    /// What it says where it doesn't trust our CA.
    pub untrusted: String,
    pub result: String,
}

/// Leaves the row where `tests/run` collects them.
pub fn write(client: &Client, found: &Found) {
    let proxy = if client.proxy.is_empty() { "none".into() } else { client.proxy.join(", ") };
    let ca = if client.ca.is_empty() { "none".into() } else { client.ca.join(", ") };
    let cells = [
        client.name,
        &found.version,
        &proxy,
        &ca,
        &found.alpn,
        &sends(client),
        found.admitted,
        &found.result,
        &found.untrusted,
    ];
    let cells = cells.map(|cell| cell.replace('|', "/").replace('\n', " "));
    let directory = tests_file(".peers/matrix");
    std::fs::create_dir_all(&directory).unwrap();
    let file = client.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    std::fs::write(directory.join(file), format!("| {} |\n", cells.join(" | "))).unwrap();
}

fn sends(client: &Client) -> String {
    match client.sends {
        Form::Word(word) => format!("`{}`", word.trim_end()),
        Form::Basic(user) => format!("Basic, user `{user}`"),
        Form::Header(name) => format!("`{name}`"),
        Form::Nothing => "none on the first request".into(),
        Form::Signature => "SigV4".into(),
    }
}

/// What a good end means for this client.
pub fn good(client: &Client) -> String {
    let token = match client.slot {
        Slot::Bearer => "token as Bearer",
        Slot::Basic(_) => "token as Basic",
        Slot::Header(name) => return format!("token in `{name}`{}", reservation(client)),
        Slot::Pass => "passes, no token",
    };
    format!("{token}{}", reservation(client))
}

fn reservation(client: &Client) -> String {
    match client.ends {
        Ends::Asked(why) => format!(" ({why})"),
        Ends::Well(_) | Ends::Cannot { .. } => String::new(),
    }
}
