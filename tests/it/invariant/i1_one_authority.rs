//! I1, one authority: CONNECT, SNI, `Host`, absolute form and certificate name one host, or nothing
//! goes upstream.

use crate::ensure;
use crate::harness::client::{Trust, alert, connect, exchange, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, Verdict, own_answer};
use crate::invariant::invariant;

invariant!("I1":
    sni_differs_from_connect,
    host_differs_from_connect,
    host_of_another_route_gets_no_token_of_it,
    host_is_doubled_or_odd,
    absolute_form_in_the_tunnel_names_another_host,
    another_spelling_is_the_same_host,
    no_host_at_all,
    other_ports_of_a_routed_host_are_refused,
);

async fn sni_differs_from_connect(stage: &mut Stage) -> Verdict {
    for name in [BILLING, EVIL] {
        let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
        let config = tls_config(Trust::Anyone(Default::default()), &["http/1.1"]);
        let Err(error) = tls(reader.stream, name, config).await else {
            return Err(format!("a handshake for {name} succeeded in a tunnel to {ORDERS}"));
        };
        let alert = alert(&error);
        ensure!(
            alert == Some(rustls::AlertDescription::UnrecognisedName),
            "expected the alert unrecognized_name, got {error}"
        );
    }
    ensure!(stage.orders.connections() == 0, "the upstream was dialled");
    ensure!(stage.evil.connections() == 0, "the host of the SNI was dialled");
    stage.audited("sni-mismatch", 2).await;
    stage.control().await
}

async fn host_differs_from_connect(stage: &mut Stage) -> Verdict {
    for host in [EVIL, BILLING, "api.orders.example:8443", "127.0.0.1"] {
        let answer = stage.send(ORDERS, &get("/v1/x", &format!("Host: {host}\r\n"))).await?;
        own_answer(&answer, &[421], &["authority-mismatch"])?;
    }
    ensure!(stage.orders.connections() == 0, "the upstream was dialled");
    stage.control().await
}

async fn host_of_another_route_gets_no_token_of_it(stage: &mut Stage) -> Verdict {
    let answer = stage.send(BILLING, &get("/v1/x", &format!("Host: {ORDERS}\r\n"))).await?;
    ensure!(stage.billing.requests().is_empty(), "{:#?}", stage.billing.requests());
    own_answer(&answer, &[421], &["authority-mismatch"])?;
    stage.control().await
}

async fn host_is_doubled_or_odd(stage: &mut Stage) -> Verdict {
    let odd = [
        format!("Host: {ORDERS}\r\nHost: {EVIL}\r\n"),
        format!("Host: {ORDERS}\r\nHost: {ORDERS}\r\n"),
        format!("Host: {ORDERS}\r\nhost: {BILLING}\r\n"),
        format!("Host: {ORDERS}, {EVIL}\r\n"),
        format!("Host: {ORDERS}@{EVIL}\r\n"),
        format!("Host: {EVIL}@{ORDERS}\r\n"),
        format!("Host: {EVIL}#{ORDERS}\r\n"),
        format!("Host: {ORDERS}:443:80\r\n"),
        format!("Host: {ORDERS}/\r\n"),
        format!("Host: {ORDERS}:\u{ff14}43\r\n"),
        format!("Host: [{ORDERS}]\r\n"),
        "Host: %61pi.orders.example\r\n".to_owned(),
        "Host: api.orders\u{3002}example\r\n".to_owned(),
        "Host: \r\n".to_owned(),
    ];
    for lines in odd {
        let answer = stage.send(ORDERS, &get("/v1/x", &lines)).await;
        let answer = answer.map_err(|e| format!("{lines:?}: {e}"))?;
        own_answer(&answer, &[400], &["malformed-request"])
            .map_err(|e| format!("{lines:?}: {e}"))?;
    }
    ensure!(stage.orders.connections() == 0, "the upstream was dialled");
    stage.control().await
}

async fn no_host_at_all(stage: &mut Stage) -> Verdict {
    let key = stage.placeholder.clone();
    let lines = format!("Authorization: Bearer {key}\r\n");
    let answer = stage.send(ORDERS, &get("/v1/x", &lines)).await;
    let answer = answer.map_err(|e| format!("no Host: {e}"))?;
    own_answer(&answer, &[400], &["malformed-request"])?;
    ensure!(stage.orders.connections() == 0, "the upstream was dialled");
    stage.control().await
}

async fn absolute_form_in_the_tunnel_names_another_host(stage: &mut Stage) -> Verdict {
    for target in [
        format!("https://{EVIL}/v1/x"),
        format!("https://{BILLING}/v1/x"),
        format!("https://{ORDERS}@{EVIL}/v1/x"),
        format!("https://{ORDERS}:8443/v1/x"),
        format!("http://{ORDERS}/v1/x"),
        format!("ftp://{ORDERS}/v1/x"),
    ] {
        let request = get(&target, &format!("Host: {ORDERS}\r\n"));
        let answer = stage.send(ORDERS, &request).await?;
        own_answer(&answer, &[400, 421], &["malformed-request", "authority-mismatch"])
            .map_err(|e| format!("{target}: {e}"))?;
    }
    ensure!(stage.orders.connections() == 0, "the upstream was dialled");
    stage.control().await
}

async fn another_spelling_is_the_same_host(stage: &mut Stage) -> Verdict {
    for (at, spelling) in ["API.Orders.EXAMPLE", "api.orders.example."].into_iter().enumerate() {
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{spelling}:443")).await;
        ensure!(answer.status() == 200, "CONNECT {spelling}: {}", answer.everything());
        let config = tls_config(stage.trust(), &["http/1.1"]);
        let stream = tls(reader.stream, ORDERS, config).await.map_err(|e| e.to_string())?;
        let mut reader = Reader::new(stream);
        for host in [spelling, ORDERS] {
            let request = get("/v1/x", &format!("Host: {host}\r\n"));
            let answer = exchange(&mut reader, request.as_bytes()).await.unwrap_or_default();
            ensure!(answer.status() == 200, "Host {host}: {}", answer.everything());
        }
        ensure!(stage.orders.requests().len() == 2 * at + 2, "both arrive");
    }
    for seen in stage.orders.requests() {
        stage.injected(&seen, &stage.orders_issuer.token())?;
        ensure!(seen.authority == ORDERS, "one spelling upstream: {}", seen.authority);
        ensure!(seen.sni.as_deref() == Some(ORDERS), "one spelling as SNI: {:?}", seen.sni);
    }
    for odd in [
        "api.orders\u{3002}example:443",
        "api.or\u{ad}ders.example:443",
        "[api.orders.example]:443",
        "%61pi.orders.example:443",
        "api.orders.example..:443",
        ".api.orders.example:443",
        "user@api.orders.example:443",
        "api.orders.example:443:443",
        "api.orders.example:0443x",
        "api.orders.example:0",
        "api.orders.example:65979",
        "api.orders.example",
    ] {
        let (answer, _) = connect(stage.proxy_addr(), odd).await;
        own_answer(&answer, &[400], &["malformed-request"]).map_err(|e| format!("{odd}: {e}"))?;
    }
    stage.control().await
}

async fn other_ports_of_a_routed_host_are_refused(stage: &mut Stage) -> Verdict {
    for port in ["8443", "80"] {
        let (answer, _) = connect(stage.proxy_addr(), &format!("{ORDERS}:{port}")).await;
        own_answer(&answer, &[403], &["port-not-routed"])?;
    }
    ensure!(stage.orders_alt.connections() == 0, "the other port was dialled");
    stage.control().await
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{lines}\r\n")
}
