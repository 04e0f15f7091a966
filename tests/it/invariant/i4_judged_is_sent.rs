//! I4, judged = sent: the method, path and query that policy saw are the bytes the API gets.

use crate::ensure;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I4":
    dot_segments_and_backslashes_are_refused,
    odd_paths_are_sent_as_judged_or_refused,
    a_path_outside_the_route_gets_no_token,
    unlisted_methods_get_no_token,
    trace_and_track_are_refused,
    method_and_path_overrides_are_removed,
);

async fn dot_segments_and_backslashes_are_refused(stage: &mut Stage) -> Verdict {
    for path in [
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2e/admin",
        "/v1/.%2e/admin",
        "/v1/x/..",
        "/v1/./x",
        "/v1/%2e/x",
        "/v1/..\\admin",
        "/v1/x\\..\\..\\admin",
        "/v1/%5c..%5cadmin",
        "/v1/x%5Cy",
        "/v1/..%2fadmin",
        "/v1/..%5cadmin",
        "/../v1/x",
    ] {
        let answer = stage.get(ORDERS, path, "").await.map_err(|e| format!("{path}: {e}"))?;
        own_answer(&answer, &[400], &["ambiguous-path", "malformed-request"])
            .map_err(|e| format!("{path}: {e}"))?;
    }
    ensure!(stage.orders.requests().is_empty(), "{:#?}", stage.orders.requests());
    stage.control().await
}

/// Whatever reaches the API is what the client sent, to the byte, with a token only inside `/v1/`.
async fn odd_paths_are_sent_as_judged_or_refused(stage: &mut Stage) -> Verdict {
    let paths = [
        "/v1//x",
        "//v1/x",
        "/v1/x;v=1",
        "/v1/..;/admin",
        "/v1;/x",
        "/v1/a%2Fb",
        "/v1/a%2fb",
        "/v1/%252e%252e/admin",
        "/v1/%3f",
        "/v1/%23",
        "/v1/%ff",
        "/v1/%c0%ae%c0%ae/x",
        "/v1/%00",
        "/V1/x",
        "/%76%31/x",
        "/v1",
        "/v1/?a=%2e%2e/&b=c",
        "/v1/x?a=../../b",
        "/v1/x?y#z",
        "/v1/%zz",
        "/v1/%",
        "/v1/\u{e4}",
        "/v1/x\ty",
        "*",
        "v1/x",
        "?x=1",
        "",
    ];
    for path in paths {
        let before = stage.orders.requests().len();
        let sent = stage.get(ORDERS, path, "").await;
        let seen = stage.orders.requests();
        let Some(seen) = seen.get(before) else {
            // Refused: by an answer of our own, or where HTTP is impossible by closing.
            let status = sent.map_or(400, |answer| answer.status());
            ensure!(status == 400, "{path} is answered by {status} and not sent");
            continue;
        };
        // A fragment never belongs to a request; policy did not see it, nor does the API.
        let path = path.split('#').next().unwrap_or_default();
        // What no URI may hold raw is judged, and sent, as the escapes that it stands for.
        let normal = path.replace("%76%31", "v1").replace('\u{e4}', "%C3%A4");
        ensure!(
            seen.target == path || seen.target == normal,
            "sent {path}, the API got {}",
            seen.target
        );
        let injected = stage.tokens().iter().any(|t| seen.count(t) > 0);
        // An escaped letter is the letter (RFC 3986 section 6.2.2.2); what has two readings is refused.
        // `**` is any number of segments, none included.
        let inside = normal == "/v1" || normal.starts_with("/v1/");
        ensure!(!injected || inside, "a token for {path}, which is outside the route");
        ensure!(seen.count(&stage.placeholder) == 0, "placeholder upstream for {path}");
    }
    stage.control().await
}

async fn a_path_outside_the_route_gets_no_token(stage: &mut Stage) -> Verdict {
    for path in ["/", "/v2/x", "/v10/x", "/admin", "/x/v1/y"] {
        let answer = stage.get(ORDERS, path, "").await?;
        ensure!(answer.status() == 200, "{path} passes: {}", answer.everything());
    }
    ensure!(stage.orders.requests().len() == 5, "all five pass");
    stage.bare("a path outside the route", &stage.orders)?;
    ensure!(stage.orders_issuer.calls().is_empty(), "a token was minted for it");
    stage.control().await
}

async fn unlisted_methods_get_no_token(stage: &mut Stage) -> Verdict {
    let key = stage.placeholder.clone();
    for method in ["OPTIONS", "DELETE", "PUT", "PATCH", "PROPFIND", "get", "trace"] {
        let request = format!(
            "{method} /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n"
        );
        stage.send(ORDERS, &request).await.map_err(|e| format!("{method}: {e}"))?;
    }
    stage.bare("an unlisted method", &stage.orders)?;
    stage.control().await
}

async fn trace_and_track_are_refused(stage: &mut Stage) -> Verdict {
    for method in ["TRACE", "TRACK"] {
        let request = format!("{method} /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
        let answer = stage.send(ORDERS, &request).await?;
        own_answer(&answer, &[400, 403, 405, 501], &["method-refused", "malformed-request"])?;
    }
    ensure!(stage.orders.requests().is_empty(), "{:#?}", stage.orders.requests());
    stage.control().await
}

/// The API might act on these instead of on what policy judged.
async fn method_and_path_overrides_are_removed(stage: &mut Stage) -> Verdict {
    let names = [
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-HTTP-Method",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Forwarded",
    ];
    let lines: String = names.iter().map(|n| format!("{n}: DELETE\r\n")).collect();
    let answer = stage.get(ORDERS, "/v1/x", &lines).await?;
    if let Some(seen) = stage.orders.requests().first() {
        for name in names {
            ensure!(seen.all(name).is_empty(), "`{name}` went upstream");
        }
        stage.injected(seen, &stage.orders_issuer.token())?;
    } else {
        own_answer(&answer, &[400, 403], &["malformed-request"])?;
    }
    stage.control().await
}
