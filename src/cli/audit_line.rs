//! One audit record as one line for a person, with all that it holds: the long form. Pure.

use super::printer;
use crate::audit::{EventKind, Record};

/// A line of the file; one that is no record is shown as it is.
pub(super) fn of_json(line: &str) -> String {
    match serde_json::from_str::<Record<'_>>(line) {
        Ok(record) => of_record(&record),
        Err(_) => format!("not a record: {}", printer::plain(line)),
    }
}

/// `TIME  WHAT  …`, with columns that line up where they can.
pub(super) fn of_record(record: &Record<'_>) -> String {
    let kind = match (record.event, record.decision) {
        (EventKind::Decision, Some(decision)) => word(decision),
        (event, _) => word(event),
    };
    let mut parts = vec![record.time.to_string(), format!("{kind:<8}")];
    if let Some(target) = &record.target {
        let port = if target.port == 443 { String::new() } else { format!(":{}", target.port) };
        let path = target.path.as_deref().unwrap_or_default();
        parts.push(format!("{} {}{port}{path}", target.method, target.host));
    }
    if let Some(outcome) = &record.outcome {
        let status = outcome.status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
        parts.push(format!("{status} in {} ms, {} bytes", outcome.ms, outcome.bytes_out));
    }
    let pairs =
        [("", &record.code), ("route ", &record.route), ("credential ", &record.credential)];
    for (label, value) in pairs {
        parts.extend(value.as_ref().map(|value| format!("{label}{value}")));
    }
    if !record.policies.is_empty() {
        parts.push(format!("policies {}", record.policies.join(", ")));
    }
    if let Some(token) = &record.token {
        parts.push(format!("token {} until {}", token.fingerprint, token.expires));
    }
    if let Some(key) = &record.static_key {
        parts.push(format!("static key {} ({})", key.fingerprint, key.kind));
    }
    if let Some(client) = &record.client {
        let session = client.session.as_deref().map(|name| format!("session {name}"));
        let user = client.user.as_deref().map(|name| format!("user {name}"));
        let uid = client.uid.map(|uid| format!("uid {uid}"));
        parts.extend(session.or(user).or(uid));
        parts.extend(client.exe.as_deref().map(|exe| {
            let pid = client.pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
            format!("{}{pid}", exe.rsplit('/').next().unwrap_or_default())
        }));
    }
    for (key, value) in &record.context {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        parts.push(format!("{key} {value}"));
    }
    printer::plain(&parts.join("  "))
}

/// As it is spelled in the file.
pub(super) fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_reads_as_a_line() {
        let line = r#"{"v":1,"seq":7,"time":"2026-01-02T03:04:05.678Z","event":"decision","request":"01J",
            "client":{"session":"run-1","uid":1000},"target":{"method":"GET","host":"api.orders.example",
            "port":443,"path":"/v1/orders"},"route":"orders-read","credential":"orders","decision":"inject",
            "token":{"fingerprint":"sha256:00ff","expires":"2026-01-02T03:09:05Z"}}"#;
        assert_eq!(
            of_json(line),
            "2026-01-02T03:04:05.678Z  inject    GET api.orders.example/v1/orders  route orders-read  \
             credential orders  token sha256:00ff until 2026-01-02T03:09:05Z  session run-1"
        );
    }

    #[test]
    fn a_damaged_line_does_nothing_to_the_terminal() {
        assert_eq!(of_json("\u{1b}[2J{"), "not a record: ?[2J{");
    }
}
