//! The five steps of the demo. Each does something, tells what came of it, and says what has to
//! be true for the story to hold. No token is ever printed.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::api::SeenRequest;
use super::issuer::LIFE_S;
use super::net::broken;
use super::road::{DemoRoad, ToolAnswer};
use super::story::{DemoStep, INDENT};
use super::tool::DemoTool;
use super::world::World;
use crate::audit::tail::Tail;
use crate::audit::{Decision, EventKind, Record};
use crate::cli::audit_brief::{Entry, Joiner, Layout};
use crate::cli::failure::Failure;
use crate::cli::local_time::Here;
use crate::cli::{audit, terminal};
use crate::config::index::Whereabouts;

/// At the audit, for outcomes that are still to come: 2 s in all.
const MOST_LOOKS: usize = 40;
const ORDERS: &str = "/v1/orders";
const COMMAND: &str =
    r#"$ curl -H "x-api-key: $ORDERS_API_KEY" https://api.orders.example/v1/orders"#;

/// The placeholder opens nothing.
pub(super) async fn straight(world: &World, tool: &DemoTool) -> Result<DemoStep, Failure> {
    let mut step = DemoStep::new("straight", "The tool straight to the API");
    step.line(COMMAND, "");
    let answer = tool.send(world, DemoRoad::Straight, "GET", ORDERS).await?;
    let status = tell_answer(&mut step, &answer);
    step.expect(status == Some(401), "401: a placeholder opens nothing");
    Ok(step)
}

/// The same command, and a token arrives.
pub(super) async fn through(world: &World, tool: &DemoTool) -> Result<DemoStep, Failure> {
    let mut step = DemoStep::new("through", "The same command through Valetkey");
    step.line(COMMAND, "");
    let answer = tool.send(world, DemoRoad::Proxied, "GET", ORDERS).await?;
    let status = tell_answer(&mut step, &answer);
    step.expect(status == Some(200), "200: the API took the token");
    step.line("tool sent", format!("x-api-key: {}", short(&world.placeholder()?)));
    if let Some(seen) = world.api.seen().last() {
        tell_seen(&mut step, seen);
    }
    step.fact("tokens_minted", world.issuer.minted().len());
    Ok(step)
}

/// What policy refuses never reaches the API.
pub(super) async fn refused(world: &World, tool: &DemoTool) -> Result<DemoStep, Failure> {
    let mut step = DemoStep::new("refused", "A request that policy refuses");
    step.line(&COMMAND.replace("curl", "curl -X DELETE").replace(ORDERS, "/v1/orders/1"), "");
    let before = world.api.seen().len();
    let answer = tool.send(world, DemoRoad::Proxied, "DELETE", "/v1/orders/1").await?;
    let problem = answer.as_ref().ok().and_then(|(_, body)| serde_json::from_str(body).ok());
    let problem: Value = problem.unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let status = answer.as_ref().ok().map(|(status, _)| *status);
    match &answer {
        Ok((status, _)) => {
            step.line(&status.to_string(), format!("{}: {}", text("code"), text("detail")))
        }
        Err(why) => step.line("failed", why),
    }
    step.line("hint", text("hint"));
    let reached = world.api.seen().len() - before;
    step.line("API got", if reached == 0 { "nothing" } else { "the request" });
    step.fact("status", status);
    step.fact("code", text("code"));
    step.expect(status == Some(403), "403 from Valetkey");
    step.expect(text("code") == "route-denied", "the code route-denied");
    step.expect(reached == 0, "nothing at the API");
    Ok(step)
}

/// The token ends; the next request has another.
pub(super) async fn renewed(world: &World, tool: &DemoTool) -> Result<DemoStep, Failure> {
    let mut step = DemoStep::new("renewed", "The token ends, the tool notices nothing");
    let first =
        world.api.seen().into_iter().rev().find_map(|seen| Some((seen.claims?, seen.token?)));
    let Some((claims, token)) = first else {
        step.expect(false, "a token in the second step");
        return Ok(step);
    };
    let end = UNIX_EPOCH + Duration::from_secs(claims.exp) + Duration::from_millis(100);
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left).await;
    let verdict = world.api.judge(&token).map(|_| "still good").unwrap_or_else(|e| e);
    step.line("first token", format!("{verdict}, says the API after {LIFE_S} s"));
    step.expect(world.api.judge(&token).is_err(), "the first token to have ended");
    step.line(COMMAND, "");
    let answer = tool.send(world, DemoRoad::Proxied, "GET", ORDERS).await?;
    let status = tell_answer(&mut step, &answer);
    step.expect(status == Some(200), "200: the API took the new token");
    let again = world.api.seen().last().and_then(|seen| seen.claims.clone());
    let jti = again.map(|claims| claims.jti).unwrap_or_default();
    step.line("API got", format!("token {jti}, no longer {}", claims.jti));
    step.fact("first_token", claims.jti.as_str());
    step.fact("second_token", jti.as_str());
    step.fact("tokens_minted", world.issuer.minted().len());
    step.expect(!jti.is_empty() && jti != claims.jti, "another token than the first");
    Ok(step)
}

/// Who did what with which token, and nothing that opens anything.
pub(super) async fn audited(world: &World) -> Result<DemoStep, Failure> {
    let mut step = DemoStep::new("audited", "The audit trail of all this");
    let here = Here::new(false);
    let (mut entries, mut decisions) = (Vec::new(), Vec::new());
    // Outcomes are written a moment after the tool has its answer.
    for _ in 0..MOST_LOOKS {
        let open;
        (entries, decisions, open) = told(world, &here)?;
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let width = terminal::width() - INDENT;
    for line in Layout::new(here, width, false).lines(&entries) {
        step.ready(&line);
    }
    let report = audit::report(&Whereabouts::of(&world.config))?;
    step.line("verify", audit::human(&report));
    let secrets = world.issuer.minted().into_iter().chain([world.client_secret.clone()]);
    let secrets: Vec<String> = secrets.collect();
    let held = holding(&world.config.state_dir, &secrets) || holding(&world.log, &secrets);
    let found = if held { "FOUND" } else { "in none of them" };
    step.line(
        "searched",
        format!("state, audit and log for {} secrets and tokens: {found}", secrets.len()),
    );
    step.fact("records", report.records);
    step.fact("intact", report.is_intact());
    step.fact("decisions", decisions.clone());
    let count = |wanted: &str| decisions.iter().filter(|decision| **decision == wanted).count();
    step.expect(count("inject") == 2 && count("deny") == 1, "two injections and one denial");
    step.expect(report.is_intact(), "an intact chain");
    step.expect(!held, "no token and no secret in any file");
    Ok(step)
}

/// The entries of the audit, what was decided, and how many requests have no outcome yet.
fn told(world: &World, here: &Here) -> Result<(Vec<Entry>, Vec<&'static str>, usize), Failure> {
    let lines = Tail::open(&world.config.audit.path, 200)
        .and_then(|mut tail| tail.poll())
        .map_err(|error| broken("read its audit", &error))?;
    let (mut joiner, mut entries, mut decisions) = (Joiner::default(), Vec::new(), Vec::new());
    for line in &lines {
        let Ok(record) = serde_json::from_str::<Record<'_>>(line) else { continue };
        if record.event == EventKind::Decision {
            decisions.extend(record.decision.map(Decision::as_str));
        }
        if record.request.is_some() || record.event == EventKind::Mint {
            entries.extend(joiner.take(&record, here));
        }
    }
    let open = joiner.all_open();
    let count = open.len();
    entries.extend(open);
    entries.sort_by_key(|entry| entry.seq);
    Ok((entries, decisions, count))
}

fn tell_answer(step: &mut DemoStep, answer: &ToolAnswer) -> Option<u16> {
    match answer {
        Ok((status, body)) => {
            step.line(&status.to_string(), body.trim());
            step.fact("status", *status);
            Some(*status)
        }
        Err(why) => {
            step.line("failed", why);
            step.fact("error", why.as_str());
            None
        }
    }
}

fn tell_seen(step: &mut DemoStep, seen: &SeenRequest) {
    let Some(claims) = &seen.claims else {
        step.expect(false, "a token that the API accepts");
        return;
    };
    step.line("API got", "authorization: Bearer JWT; signature and audience verified");
    step.line("", format!("sub {}, scope {}, token {}", claims.sub, claims.scope, claims.jti));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    step.line(
        "",
        format!("ends in {} s; no x-api-key, no placeholder", claims.exp.saturating_sub(now)),
    );
    step.fact("claims", serde_json::to_value(claims).unwrap_or_default());
    step.expect(seen.authorizations == 1, "exactly one authorization field");
    step.expect(seen.api_keys == 0 && !seen.placeholder, "no trace of the placeholder");
}

/// Enough of a placeholder to know it again.
fn short(placeholder: &str) -> String {
    format!("{}…", placeholder.chars().take(23).collect::<String>())
}

/// Whether a file, or one in a directory, holds one of them.
fn holding(path: &Path, secrets: &[String]) -> bool {
    if let Ok(entries) = fs::read_dir(path) {
        return entries.flatten().any(|entry| holding(&entry.path(), secrets));
    }
    if !path.is_file() {
        return false;
    }
    let content = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    secrets.iter().any(|secret| text.contains(secret.as_str()))
}
