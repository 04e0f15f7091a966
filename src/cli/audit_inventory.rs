//! `audit inventory`: static keys that tools still send, and the config that takes each one's place.

use serde::Serialize;

use super::args::Json;
use super::audit::unreadable_record;
use super::failure::Failure;
use super::printer;
use super::table::{cell, list, table};
use crate::audit::inventory::{Seen, inventory};
use crate::config::Config;

/// What is printed of a key.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    seen: Seen,
    /// TOML.
    replace: String,
}

pub(super) fn run(args: &Json, config: &Config) -> Result<(), Failure> {
    let path = &config.audit.path;
    let seen = inventory(path).map_err(|error| unreadable_record(path, &error))?;
    let rows: Vec<_> =
        seen.into_iter().map(|seen| Row { replace: replacement(&seen, config), seen }).collect();
    if args.json {
        return printer::json(&rows);
    }
    printer::line(human(&rows))
}

fn human(rows: &[Row]) -> String {
    let value = serde_json::to_value(rows).unwrap_or_default();
    let head = ["KIND", "KEY", "HOST", "TOOL", "USER", "FIRST", "LAST", "REQUESTS", "REFUSED"];
    let text = table(head, list(&value), |row| {
        let many = |key: &str| list(&row[key]).iter().map(cell).collect::<Vec<_>>().join(",");
        [
            cell(&row["kind"]),
            cell(&row["fingerprint"]),
            many("hosts"),
            many("tools"),
            many("users"),
            cell(&row["first"]),
            cell(&row["last"]),
            cell(&row["requests"]),
            cell(&row["refused"]),
        ]
        .map(|cell| printer::plain(&cell))
    });
    let mut text = text.trim_start().to_owned();
    for row in rows {
        text.push_str("\n\n");
        text.push_str(row.replace.trim_end());
    }
    text
}

/// What to write, and where a complete example is.
fn replacement(seen: &Seen, config: &Config) -> String {
    let name = &seen.kind;
    let variable =
        config.routes.iter().filter(|route| seen.routes.contains(route.value.name.as_str()));
    let variable = variable.flat_map(|route| route.value.env.keys()).next().cloned();
    let variable = variable
        .unwrap_or_else(|| format!("{}_API_KEY", name.replace('-', "_").to_ascii_uppercase()));
    let placeholder = match name.as_str() {
        "google" => "opaque",
        other => other,
    };
    let (mint, recipe) = match name.as_str() {
        "aws" => ("grant = \"exec\"             # a program that prints a session's keys", "exec"),
        "gitlab" => ("grant = \"client-credentials\"", "gitlab"),
        "jwt" => ("grant = \"token-exchange\"", "token-exchange"),
        "npm" | "pypi" => {
            ("grant = \"token-exchange\"   # trusted publishing", "trusted-publishing")
        }
        _ => (
            "grant  = \"static-key\"     # no short-lived token there: at least the tool has the key no more\n\
             secret = { file = \"KEY\" }  # a new one: the old one has been at large",
            "static-key",
        ),
    };
    let routes: Vec<_> = seen.routes.iter().map(String::as_str).collect();
    let hosts: Vec<_> = seen.hosts.iter().map(String::as_str).collect();
    format!(
        "# {} sent to {}; config/recipes/{recipe}.toml has it whole\n\
         [credentials.{name}]\n{mint}\n\n\
         [[routes]]                    # {}\n\
         credential    = \"{name}\"\n\
         env           = {{ {variable} = \"placeholder:{placeholder}\" }}\n\
         on_static_key = \"deny\"\n",
        seen.fingerprint,
        hosts.join(", "),
        if routes.is_empty() { "new".to_owned() } else { format!("in {}", routes.join(", ")) },
    )
}
