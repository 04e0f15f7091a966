//! `explain METHOD URL`: what a request would get, and why. Mints nothing; exit code 3 where it
//! would be refused.

use std::path::Path;

use http::{Method, Uri};

use super::args::Explain;
use super::failure::{Exit, Failure};
use super::terminal::{BAD, GOOD, ODD, paint};
use super::{context, printer, session};
use crate::model::client::Client;
use crate::policy::{Explanation, Policy};

pub(super) fn run(args: &Explain, explicit: Option<&Path>) -> Result<(), Failure> {
    let method = method(&args.method)?;
    let url = url(&args.url)?;
    let config = context::config(explicit)?;
    let (policy, _) = Policy::compile(&config).map_err(|problems| {
        printer::problems(&problems);
        Failure::usage("config-invalid", "the config has errors", "`valetkey check` lists them")
    })?;
    // As a tool of ours by uid, without a session: what needs one says so.
    let client = Client {
        uid: Some(rustix::process::getuid().as_raw()),
        user: Some(session::user().into()),
        ..Client::default()
    };
    let explanation = policy.explain(&client, &method, &url).map_err(|_| bad_url(&args.url))?;
    if args.json.json {
        printer::json(&explanation)?;
    } else {
        printer::line(shown(&explanation))?;
    }
    if explanation.decision == "deny" { Err(Failure::silent(Exit::Refused)) } else { Ok(()) }
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
