//! I10, mint failure fails closed: without a fresh token no request leaves, and no placeholder.

use std::time::Instant;

use crate::ensure;
use crate::harness::issuer::Reply;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I10":
    issuer_refuses,
    issuer_breaks,
    issuer_says_later,
    issuer_answers_html,
    issuer_answers_rubbish,
    issuer_redirects,
    issuer_answers_ten_megabytes,
    issuer_gives_another_token_type,
    issuer_gives_a_token_with_a_line_break,
    issuer_gives_an_ended_token,
    issuer_hangs_up,
    issuer_is_down,
    an_expired_token_is_never_used,
);

/// What the issuer wrote, which no client may see.
const FOREIGN: &str = "foreign-detail-c4a1";

const REFUSED: (&[u16], &[&str]) = (&[502], &["issuer-refused"]);
const INVALID: (&[u16], &[&str]) = (&[502], &["issuer-answer-invalid", "issuer-refused"]);
const UNREACHABLE: (&[u16], &[&str]) = (&[503], &["issuer-unreachable"]);

async fn fails(stage: &mut Stage, reply: Reply, expected: (&[u16], &[&str])) -> Verdict {
    stage.orders_issuer.reply(reply);
    failed(stage, expected).await?;
    let first = stage.get(ORDERS, "/v1/again", "").await?;
    ensure!(first.status() >= 500, "the second too: {}", first.everything());
    ensure!(stage.orders.requests().is_empty(), "{:#?}", stage.orders.requests());
    stage.control().await
}

async fn failed(stage: &Stage, (statuses, codes): (&[u16], &[&str])) -> Verdict {
    let answer = stage.get(ORDERS, "/v1/x", "").await?;
    ensure!(stage.orders.requests().is_empty(), "went out: {:#?}", stage.orders.requests());
    own_answer(&answer, statuses, codes)?;
    ensure!(!answer.everything().contains(FOREIGN), "foreign: {}", answer.everything());
    if answer.status() == 503 {
        let after = answer.all("retry-after");
        let number = after.first().and_then(|v| v.parse::<u64>().ok());
        ensure!(number.is_some(), "503 needs Retry-After: {}", answer.everything());
    }
    Ok(())
}

async fn issuer_refuses(stage: &mut Stage) -> Verdict {
    let body = format!("{{\"error\":\"invalid_client\",\"error_description\":\"{FOREIGN}\"}}");
    fails(stage, Reply::json(401, &body), REFUSED).await
}

async fn issuer_breaks(stage: &mut Stage) -> Verdict {
    let both: (&[u16], &[&str]) =
        (&[502, 503], &["issuer-unreachable", "issuer-refused", "issuer-answer-invalid"]);
    fails(stage, Reply::html(500, FOREIGN), both).await
}

async fn issuer_says_later(stage: &mut Stage) -> Verdict {
    let reply = Reply::json(503, "{}").header("Retry-After", "7");
    fails(stage, reply, UNREACHABLE).await
}

async fn issuer_answers_html(stage: &mut Stage) -> Verdict {
    let page = format!("<html>Log in to {FOREIGN}</html>");
    fails(stage, Reply::html(200, &page), INVALID).await
}

async fn issuer_answers_rubbish(stage: &mut Stage) -> Verdict {
    let twice = "{\"access_token\":\"aaaaaaaaaaaa\",\"access_token\":\"bbbbbbbbbbbb\",\"token_type\":\"Bearer\"}";
    for body in ["", "{}", "[]", "{\"access_token\":", "{\"access_token\":17}", "null", twice] {
        each_fails(stage, body).await?;
    }
    stage.control().await
}

/// On a stage of its own, because a failure is shared for a while.
async fn each_fails(stage: &Stage, body: &str) -> Verdict {
    let mut fresh = stage.another().await;
    let verdict = fails(&mut fresh, Reply::json(200, body), INVALID).await;
    verdict.map_err(|e| format!("{}: {e}", &body[..body.len().min(80)]))
}

async fn issuer_redirects(stage: &mut Stage) -> Verdict {
    let elsewhere = stage.billing_issuer.token_url();
    let reply = Reply::json(307, "{}").header("Location", elsewhere);
    fails(stage, reply, INVALID).await?;
    ensure!(stage.billing_issuer.calls().len() == 1, "the redirect was followed");
    Ok(())
}

async fn issuer_answers_ten_megabytes(stage: &mut Stage) -> Verdict {
    let filler = "x".repeat(10 * 1024 * 1024);
    let body = format!("{{\"access_token\":\"abc\",\"token_type\":\"Bearer\",\"x\":\"{filler}\"}}");
    fails(stage, Reply::json(200, &body), INVALID).await
}

async fn issuer_gives_another_token_type(stage: &mut Stage) -> Verdict {
    let body = "{\"access_token\":\"abcdefghijkl\",\"token_type\":\"mac\",\"expires_in\":60}";
    fails(stage, Reply::json(200, body), INVALID).await
}

async fn issuer_gives_a_token_with_a_line_break(stage: &mut Stage) -> Verdict {
    let huge = "a".repeat(60_000);
    for token in ["abc\\r\\nX-Evil: 1", "abc\\u0000def", "abc def", "", "abc\\u00e9", &huge] {
        let body = format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\"}}");
        each_fails(stage, &body).await?;
    }
    stage.control().await
}

async fn issuer_gives_an_ended_token(stage: &mut Stage) -> Verdict {
    for end in ["0", "-1", "\"never\""] {
        let body = format!(
            "{{\"access_token\":\"abcdefghijkl\",\"token_type\":\"Bearer\",\"expires_in\":{end}}}"
        );
        each_fails(stage, &body).await?;
    }
    stage.control().await
}

async fn issuer_hangs_up(stage: &mut Stage) -> Verdict {
    fails(stage, Reply::Gone, UNREACHABLE).await
}

async fn issuer_is_down(stage: &mut Stage) -> Verdict {
    stage.orders_issuer.stop();
    let begun = Instant::now();
    failed(stage, UNREACHABLE).await?;
    ensure!(begun.elapsed().as_secs() < 2, "said within 2 s: {:?}", begun.elapsed());
    stage.control().await
}

/// Requests follow each other for longer than a token lives; none carries one that has ended.
async fn an_expired_token_is_never_used(stage: &mut Stage) -> Verdict {
    let life = 2;
    stage.orders_issuer.reply(Reply::Token { life: Some(life) });
    let mut born: Vec<(String, Instant)> = Vec::new();
    let begun = Instant::now();
    while begun.elapsed().as_secs() < 2 * life + 1 {
        let answer = stage.get(ORDERS, "/v1/x", "").await?;
        ensure!(answer.status() == 200, "{}", answer.everything());
        let arrived = Instant::now();
        let seen = stage.orders.requests();
        let slot = seen[seen.len() - 1].all("authorization").join(",");
        match born.iter().find(|(token, _)| *token == slot) {
            Some((_, first)) => {
                let age = arrived.duration_since(*first);
                ensure!(age.as_secs() < life + 1, "a token of {life} s used after {age:?}");
            }
            None => born.push((slot, arrived)),
        }
    }
    ensure!(born.len() >= 2, "a new one was minted");
    stage.control().await
}
