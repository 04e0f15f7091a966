//! I2, no cleartext: no token into plain HTTP or a raw tunnel; what is no TLS towards a routed host is closed.

use tokio::io::AsyncWriteExt;

use crate::ensure;
use crate::harness::client::{Dribble, connect, dial, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I2":
    plaintext_in_a_routed_tunnel_is_closed,
    garbage_in_a_routed_tunnel_is_closed,
    a_client_hello_byte_by_byte_is_intercepted,
    plain_http_is_never_given_a_token,
    absolute_form_https_is_refused_with_a_hint,
);

async fn plaintext_in_a_routed_tunnel_is_closed(stage: &mut Stage) -> Verdict {
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    closed_without_answer(stage, request.as_bytes()).await?;
    stage.control().await
}

async fn garbage_in_a_routed_tunnel_is_closed(stage: &mut Stage) -> Verdict {
    let mut bad_handshake = vec![0x16, 3, 1, 0, 64];
    bad_handshake.extend_from_slice(&[0xff; 64]);
    let garbage: [&[u8]; 6] = [
        b"\0\0\0\0\0\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10",
        b"\x05\x01\0",
        &bad_handshake,
    ];
    for bytes in garbage {
        closed_without_answer(stage, bytes).await?;
    }
    stage.control().await
}

/// The tunnel ends with at most a TLS alert, and nobody was dialled.
async fn closed_without_answer(stage: &Stage, bytes: &[u8]) -> Verdict {
    let (answer, mut reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    ensure!(answer.status() == 200, "CONNECT: {}", answer.everything());
    let _ = reader.stream.write_all(bytes).await;
    // What follows must not be needed for the decision, nor change it.
    let _ = reader.stream.shutdown().await;
    let came = soon("the tunnel to close", reader.rest()).await;
    let dialled = stage.orders.connections();
    ensure!(dialled == 0, "{bytes:?} went upstream");
    ensure!(came.len() <= 7, "{bytes:?} was answered by {}", String::from_utf8_lossy(&came));
    Ok(())
}

async fn a_client_hello_byte_by_byte_is_intercepted(stage: &mut Stage) -> Verdict {
    let (answer, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    ensure!(answer.status() == 200, "CONNECT: {}", answer.everything());
    let config = tls_config(stage.trust(), &["http/1.1"]);
    // Our CA alone is trusted: a raw tunnel to the API would not verify.
    let stream = match tls(Dribble::over(reader.stream), ORDERS, config).await {
        Ok(stream) => stream,
        Err(error) => return Err(format!("not intercepted: {error}")),
    };
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = exchange(&mut Reader::new(stream), request.as_bytes()).await;
    ensure!(answer.is_some_and(|a| a.status() == 200), "an answer through it");
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token())?;
    stage.control().await
}

async fn plain_http_is_never_given_a_token(stage: &mut Stage) -> Verdict {
    let key = stage.placeholder.clone();
    let mut answers = Vec::new();
    for authority in [ORDERS.to_owned(), format!("{ORDERS}:80"), format!("{ORDERS}:443")] {
        let mut reader = dial(stage.proxy_addr()).await;
        let request = format!(
            "GET http://{authority}/v1/x HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        answers.push(exchange(&mut reader, request.as_bytes()).await);
    }
    stage.bare("plain HTTP", &stage.orders_plain)?;
    stage.bare("the API", &stage.orders)?;
    ensure!(stage.orders_issuer.calls().is_empty(), "a token was minted for it");
    ensure!(answers.iter().all(Option::is_some), "each is answered");
    stage.control().await
}

async fn absolute_form_https_is_refused_with_a_hint(stage: &mut Stage) -> Verdict {
    let mut reader = dial(stage.proxy_addr()).await;
    let request = format!("GET https://{ORDERS}/v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    let answer = exchange(&mut reader, request.as_bytes()).await.unwrap_or_default();
    own_answer(&answer, &[400], &["https-over-plain-proxy"])?;
    ensure!(answer.text().contains("CONNECT"), "the hint names CONNECT: {}", answer.text());
    let dialled = stage.orders.connections() + stage.orders_plain.connections();
    ensure!(dialled == 0, "somebody was dialled");
    stage.control().await
}
