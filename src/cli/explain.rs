//! `explain METHOD URL`: what a request would get, and why. Mints nothing; exit code 3 where it
//! would be refused. `explain CODE` and `explain --codes`: what the program says, without any
//! config.

use std::path::Path;
use std::time::SystemTime;

use http::{Method, Uri};

use super::args::Explain;
use super::codes::{self, Code};
use super::explain_as::Asker;
use super::failure::{Exit, Failure};
use super::terminal::{BAD, GOOD, ODD, columns, paint, width, wrap};
use super::{context, printer};
use crate::config::wording;
use crate::policy::{Explanation, Policy};

pub(super) fn run(args: &Explain, explicit: Option<&Path>) -> Result<(), Failure> {
    match (args.what.as_deref(), args.url.as_deref()) {
        (Some(method), Some(url)) => request(method, url, args, explicit),
        (Some(word), None) if codes::is_code(word) => code(word, args.json.json),
        (Some(word), None) => Err(incomplete(word)),
        (None, _) => list(args.json.json),
    }
}

fn request(
    method: &str,
    text: &str,
    args: &Explain,
    explicit: Option<&Path>,
) -> Result<(), Failure> {
    let method = self::method(method)?;
    let url = url(text)?;
    let config = context::config(explicit)?;
    let (policy, _) = Policy::compile(&config).map_err(|problems| {
        printer::problems(&problems);
        Failure::usage("config-invalid", "the config has errors", "`valetkey check` lists them")
    })?;
    let asker = Asker::parse(&args.r#as)?;
    let (client, context) = (asker.client(), asker.context(SystemTime::now()));
    let explanation = policy.explain(&client, context, &method, &url).map_err(|_| bad_url(text))?;
    if args.json.json {
        printer::json(&explanation)?;
    } else {
        printer::line(shown(&explanation))?;
    }
    if explanation.decision == "deny" { Err(Failure::silent(Exit::Refused)) } else { Ok(()) }
}

/// One code, whatever says it.
fn code(word: &str, as_json: bool) -> Result<(), Failure> {
    let all = codes::all();
    let Some(code) = all.iter().find(|code| code.code == word) else {
        let hint = format!(
            "{}`valetkey explain --codes` lists all; a request is explained by its method and URL",
            meant(word, &all)
        );
        return Err(Failure::usage("code-unknown", format!("there is no such code: {word}"), hint));
    };
    if as_json { printer::json(code) } else { printer::line(told(code)) }
}

/// A few of those that hold the word, else the one that is spelled almost like it.
fn meant(word: &str, all: &[Code]) -> String {
    let codes = || all.iter().map(|code| code.code);
    let hold = codes().filter(|code| code.contains(word)).take(5);
    let hold: Vec<_> = hold.map(|code| format!("`{code}`")).collect();
    match hold.as_slice() {
        [] => wording::meant(word, codes()),
        hold => format!("did you mean {}? ", hold.join(", ")),
    }
}

fn told(code: &Code) -> String {
    let next = printer::pasteable(&code.next);
    let status = code.status.as_deref().unwrap_or_default();
    let rows = [
        ("code", code.code),
        ("means", code.means),
        ("do", &*next),
        ("fault", code.fault),
        ("status", status),
    ];
    let mut lines = Vec::new();
    for (name, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        for (i, line) in wrap(text, width().saturating_sub(8)).iter().enumerate() {
            lines.push(format!("{:<8}{line}", if i == 0 { name } else { "" }));
        }
    }
    lines.join("\n")
}

/// A line each, as wide as the terminal.
fn list(as_json: bool) -> Result<(), Failure> {
    let all = codes::all();
    if as_json {
        return printer::json(&all);
    }
    let widest = all.iter().map(|code| columns(code.code)).max().unwrap_or_default();
    let lines = all.iter().map(|code| {
        let room = width().saturating_sub(widest + 2);
        let means = match wrap(code.means, room).as_slice() {
            [all] => all.clone(),
            _ => wrap(code.means, room.saturating_sub(2)).swap_remove(0) + " …",
        };
        format!("{:<widest$}  {means}", code.code)
    });
    printer::line(lines.collect::<Vec<_>>().join("\n"))
}

fn incomplete(word: &str) -> Failure {
    Failure::usage(
        "explain-incomplete",
        format!("this is no code, and a request is a method and a URL: {word}"),
        "as in: valetkey explain GET https://api.example.com/v1/orders; or `valetkey explain no-route`",
    )
}

/// As it displays itself, its decision in colour.
fn shown(explanation: &Explanation) -> String {
    let style = match explanation.decision {
        "deny" => BAD,
        "inject" => GOOD,
        _ => ODD,
    };
    let line = |decision: &str| format!("decision    {decision}");
    let (plain, painted) = (explanation.decision, paint(style, explanation.decision));
    explanation.to_string().replacen(&line(plain), &line(&painted), 1)
}

fn method(text: &str) -> Result<Method, Failure> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).map_err(|_| {
        Failure::usage(
            "method-invalid",
            format!("not an HTTP method: {text}"),
            "as in: valetkey explain GET https://api.example.com/v1/orders",
        )
    })
}

/// A URL without a scheme is taken for https, the only one that can get a token.
fn url(text: &str) -> Result<Uri, Failure> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    whole.parse().map_err(|_| bad_url(text))
}

fn bad_url(text: &str) -> Failure {
    Failure::usage(
        "url-invalid",
        format!("not a URL with a host: {text}"),
        "as in: valetkey explain GET https://api.example.com/v1/orders",
    )
}
