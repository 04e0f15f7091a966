//! I6, nothing comes back: no token in what the client gets, nor anything bought with one.
//! (Bodies are not scanned yet; these are the header fields and our own pages.)

use crate::ensure;
use crate::harness::api::Answer;
use crate::harness::stage::{BILLING, ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I6":
    an_echoed_token_is_masked,
    an_echoed_token_in_base64_is_masked,
    a_redirect_with_the_token_is_masked,
    cookies_and_alternatives_are_dropped,
    an_answer_to_a_bare_request_holds_no_token,
);

async fn an_echoed_token_is_masked(stage: &mut Stage) -> Verdict {
    stage.orders.answer(|seen| {
        let sent = seen.all("authorization").join(",");
        let token = sent.trim_start_matches("Bearer ").to_owned();
        Answer::ok("{}")
            .status(401)
            .header("X-Echo", sent)
            .header("WWW-Authenticate", format!("Bearer error=\"bad {token}\""))
            .header("Authentication-Info", format!("a={token},b={token}"))
            .header("X-Kept", "kept")
    });
    let answer = stage.get(ORDERS, "/v1/x", "").await?;
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.minted()[0])?;
    stage.silent("the answer", &answer.everything())?;
    ensure!(answer.all("x-kept") == ["kept"], "other fields stay: {}", answer.everything());
    stage.control().await
}

async fn an_echoed_token_in_base64_is_masked(stage: &mut Stage) -> Verdict {
    use base64::Engine as _;
    stage.orders.answer(|seen| {
        let sent = seen.all("authorization").join(",");
        let token = sent.trim_start_matches("Bearer ");
        let engine = base64::engine::general_purpose::STANDARD;
        let hex: String = token.bytes().map(|b| format!("{b:02x}")).collect();
        Answer::ok("{}")
            .header("X-Plain", engine.encode(token))
            .header("X-Basic", engine.encode(format!("x:{token}")))
            .header("X-Hex", hex)
    });
    let answer = stage.get(ORDERS, "/v1/x", "").await?;
    stage.silent("the answer", &answer.everything())?;
    stage.control().await
}

async fn a_redirect_with_the_token_is_masked(stage: &mut Stage) -> Verdict {
    for (at, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        stage.orders.answer(move |seen| {
            let sent = seen.all("authorization").join(",");
            let token = sent.trim_start_matches("Bearer ");
            let location = format!("https://{BILLING}/v1/y?token={token}");
            Answer::ok("").status(status).header("Location", location)
        });
        let answer = stage.get(ORDERS, "/v1/x", "").await?;
        ensure!(answer.status() == status, "passed on: {}", answer.everything());
        stage.injected(&stage.orders.request(at).await, &stage.orders_issuer.token())?;
        stage.silent("the answer", &answer.everything())?;
    }
    ensure!(stage.billing.requests().is_empty(), "the redirect was followed");
    stage.control().await
}

async fn cookies_and_alternatives_are_dropped(stage: &mut Stage) -> Verdict {
    stage.orders.answer(|_| {
        Answer::ok("{}")
            .header("Set-Cookie", "bought=with-a-token; Secure")
            .header("set-cookie", "second=one")
            .header("Alt-Svc", "h3=\":443\"")
            .header("ETag", "\"kept\"")
    });
    let answer = stage.get(ORDERS, "/v1/x", "").await?;
    ensure!(answer.all("set-cookie").is_empty(), "a cookie: {}", answer.everything());
    ensure!(answer.all("alt-svc").is_empty(), "Alt-Svc: {}", answer.everything());
    ensure!(answer.all("etag") == ["\"kept\""], "other fields stay: {}", answer.everything());
    stage.control().await
}

/// An upstream that has seen the client's token may answer another request with it.
async fn an_answer_to_a_bare_request_holds_no_token(stage: &mut Stage) -> Verdict {
    stage.get(ORDERS, "/v1/x", "").await?;
    let token = stage.orders_issuer.token();
    let echoed = token.clone();
    stage.orders.answer(move |_| Answer::ok("").header("X-Last", format!("was {echoed}")));
    let answer = stage.get(ORDERS, "/v2/bare", "").await?;
    ensure!(!answer.everything().contains(&token), "the token came back: {}", answer.everything());
    stage.orders.answer(|_| Answer::ok("{\"ok\":true}"));
    stage.control().await
}
