//! I5, owned slots: what the client put where the route strips or injects is gone, in every spelling.

use crate::ensure;
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I5":
    own_authorization_fields_are_replaced,
    stripped_header_is_gone_in_every_spelling,
    stripped_query_is_gone_in_every_spelling,
    connection_options_cannot_remove_the_token,
    proxy_credentials_stay_here,
    trailers_cannot_bring_it_back,
);

/// Both kinds of value that a client may send: one that Valetkey knows, and one that it cannot know.
fn keys(stage: &Stage) -> [String; 2] {
    [stage.placeholder.clone(), stage.standing_key.clone()]
}

async fn own_authorization_fields_are_replaced(stage: &mut Stage) -> Verdict {
    let spellings = ["Authorization", "authorization", "AUTHORIZATION", "aUTHORIZATION"];
    for key in keys(stage) {
        for count in [1, 2, 4, 90] {
            let before = stage.orders.requests().len();
            let lines: String = (0..count)
                .map(|n| format!("{}: Bearer {key}-{n}\r\n", spellings[n % spellings.len()]))
                .collect();
            let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{lines}\r\n");
            let answer = stage.send(ORDERS, &request).await?;
            ensure!(answer.status() == 200, "{count} fields: {}", answer.everything());
            let seen = stage.orders.request(before).await;
            stage.injected(&seen, &stage.orders_issuer.token())?;
        }
    }
    stage.control().await
}

async fn stripped_header_is_gone_in_every_spelling(stage: &mut Stage) -> Verdict {
    for key in keys(stage) {
        for name in ["X-Api-Key", "x-api-key", "X-API-KEY", "X_Api_Key", "x_api-key", "X-API_KEY"] {
            let before = stage.orders.requests().len();
            let lines = format!("{name}: {key}\r\n{name}: {key}-2\r\nX-Other: kept\r\n");
            let answer = stage.get(ORDERS, "/v1/x", &lines).await?;
            let seen = stage.orders.requests();
            let Some(seen) = seen.get(before) else {
                ensure!(answer.status() == 400, "{name}: {}", answer.everything());
                continue;
            };
            let token = stage.orders_issuer.token();
            stage.injected(seen, &token).map_err(|e| format!("{name}: {e}"))?;
            ensure!(seen.all(name).is_empty(), "{name} went upstream");
            ensure!(seen.all("x-other") == ["kept"], "its neighbour is gone");
        }
    }
    stage.control().await
}

async fn stripped_query_is_gone_in_every_spelling(stage: &mut Stage) -> Verdict {
    for key in keys(stage) {
        for name in ["api_key", "api%5Fkey", "api%5fkey", "%61pi_key", "API_KEY", "Api%5FKey"] {
            for query in [
                format!("{name}={key}&page=2"),
                format!("page=2&{name}={key}"),
                format!("{name}={key}&page=2&{name}={key}"),
                format!("page=2;{name}={key}"),
                format!("page=2&{name}={key}&&"),
                format!("page=2&{name}"),
                format!("page=2&={name}&{name}=={key}"),
            ] {
                stripped(stage, &query).await.map_err(|e| format!("?{query}: {e}"))?;
            }
        }
    }
    stage.control().await
}

async fn stripped(stage: &Stage, query: &str) -> Verdict {
    let before = stage.orders.requests().len();
    let answer = stage.get(ORDERS, &format!("/v1/x?{query}"), "").await?;
    let seen = stage.orders.requests();
    let Some(seen) = seen.get(before) else {
        ensure!(answer.status() == 400, "{}", answer.everything());
        return Ok(());
    };
    stage.injected(seen, &stage.orders_issuer.token())?;
    let left = seen.target.to_ascii_lowercase().replace("%5f", "_").replace("%61", "a");
    ensure!(!left.contains("api_key="), "the API got {}", seen.target);
    ensure!(seen.target.contains("page=2"), "its neighbour is gone: {}", seen.target);
    Ok(())
}

async fn connection_options_cannot_remove_the_token(stage: &mut Stage) -> Verdict {
    for option in ["authorization", "Authorization, close", "keep-alive, authorization, x-api-key"]
    {
        let before = stage.orders.requests().len();
        let lines = format!("Connection: {option}\r\nKeep-Alive: timeout=5\r\n");
        let answer = stage.get(ORDERS, "/v1/x", &lines).await?;
        let seen = stage.orders.requests();
        let Some(seen) = seen.get(before) else {
            ensure!(answer.status() == 400, "{}", answer.everything());
            continue;
        };
        stage.injected(seen, &stage.orders_issuer.token())?;
        let sent = seen.all("connection").join(",").to_ascii_lowercase();
        ensure!(!sent.contains("authorization"), "Connection: {sent} went upstream");
        ensure!(seen.all("keep-alive").is_empty(), "Keep-Alive went upstream");
    }
    stage.control().await
}

async fn proxy_credentials_stay_here(stage: &mut Stage) -> Verdict {
    let lines = "Proxy-Authorization: Basic cHJveHk6c2VjcmV0\r\nProxy-Connection: keep-alive\r\n";
    let answer = stage.get(ORDERS, "/v1/x", lines).await?;
    ensure!(answer.status() == 200, "{}", answer.everything());
    let seen = stage.orders.request(0).await;
    ensure!(seen.count("cHJveHk6c2VjcmV0") == 0, "proxy credentials upstream: {seen:#?}");
    ensure!(seen.all("proxy-connection").is_empty(), "hop-by-hop field upstream");
    stage.injected(&seen, &stage.orders_issuer.token())?;
    stage.control().await
}

async fn trailers_cannot_bring_it_back(stage: &mut Stage) -> Verdict {
    let key = stage.standing_key.clone();
    let request = format!(
        "POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nTransfer-Encoding: chunked\r\nTrailer: authorization\r\n\r\n\
         2\r\nhi\r\n0\r\nAuthorization: Bearer {key}\r\nX-Api-Key: {key}\r\nHost: evil.example\r\n\r\n"
    );
    let answer = stage.send(ORDERS, &request).await?;
    match stage.orders.requests().first() {
        Some(seen) => {
            stage.injected(seen, &stage.orders_issuer.token())?;
            ensure!(seen.count("evil.example") == 0, "a trailer named a host: {seen:#?}");
            ensure!(seen.body == b"hi", "the body is {:?}", seen.body);
        }
        None => ensure!(answer.status() == 400, "{}", answer.everything()),
    }
    stage.control().await
}
