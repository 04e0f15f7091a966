//! I7, no crossing: what was minted for one client serves no other. (Under load: `proxy/crossing.rs`.)

use crate::ensure;
use crate::harness::client::{connect_with, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I7": two_clients_share_no_token);

async fn two_clients_share_no_token(stage: &mut Stage) -> Verdict {
    for who in ["ann", "bob"] {
        let login = stage.login(who).await;
        let (answer, reader) =
            connect_with(stage.proxy_addr(), &format!("{ORDERS}:443"), &login).await;
        ensure!(answer.status() == 200, "CONNECT: {}", answer.everything());
        let stream = tls(reader.stream, ORDERS, tls_config(stage.trust(), &["http/1.1"])).await;
        let mut tunnel = Reader::new(stream.map_err(|error| error.to_string())?);
        let request = format!("GET /v1/{who} HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
        let answer = exchange(&mut tunnel, request.as_bytes()).await.ok_or("no answer")?;
        ensure!(answer.status() == 200, "{}", answer.everything());
    }
    let seen = stage.orders.requests();
    let tokens: Vec<_> = seen.iter().map(|seen| seen.all("authorization")).collect();
    ensure!(tokens.len() == 2, "two requests: {seen:#?}");
    ensure!(tokens[0] != tokens[1], "both clients' requests carry the token of one");
    stage.control().await
}
