//! `status`: what the running daemon says of itself; never a value of a secret.

use std::path::Path;

use serde_json::{Map, Value};

use super::admin_client::AdminClient;
use super::args::Json;
use super::failure::Failure;
use super::{context, printer};

pub(super) fn run(args: &Json, explicit: Option<&Path>) -> Result<(), Failure> {
    let config = context::config(explicit)?;
    let status: Map<String, Value> = context::runtime()?.block_on(async {
        let mut daemon = AdminClient::connect(&config.admin.socket).await?;
        Ok::<_, Failure>(daemon.get("/v1/status").await?)
    })?;
    if args.json { printer::json(&status) } else { printer::line(human(&status)) }
}

/// One row for a fact, one for each entry of a list.
fn human(status: &Map<String, Value>) -> String {
    let mut rows = Vec::new();
    for (name, value) in status {
        let values = match value {
            Value::Array(list) if list.is_empty() => vec!["none".to_owned()],
            Value::Array(list) => list.iter().map(cell).collect(),
            other => vec![cell(other)],
        };
        for (number, value) in values.into_iter().enumerate() {
            let label = if number == 0 { name.as_str() } else { "" };
            rows.push(format!("{label:<12}{value}"));
        }
    }
    rows.join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => (fields.iter())
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| format!("{name} {}", cell(value)))
            .collect::<Vec<_>>()
            .join("  "),
        other => other.to_string(),
    }
}
