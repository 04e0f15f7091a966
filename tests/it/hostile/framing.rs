//! I3: what has two readings is refused, or becomes one request after which the connection closes; what a field
//! line hides does not reach the API.

use tokio::io::AsyncWriteExt;

use crate::ensure;
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I3":
    transfer_codings_with_two_readings,
    lengths_with_two_readings,
    chunks_with_two_readings,
    field_lines_that_hide_an_owned_field,
    bodies_where_none_is_expected,
);

const INNER: &str = "GET /v1/smuggled HTTP/1.1\r\nHost: api.orders.example\r\n\r\n";

/// Sends one message and then nothing: what came of it at the API, and whether it was answered once at most.
async fn alone(stage: &Stage, n: usize, what: &str, fields: &str, body: &str) -> Verdict {
    let path = format!("/v1/case-{n}-");
    let head = format!("POST {path} HTTP/1.1\r\nHost: {ORDERS}\r\n{fields}\r\n");
    let before = stage.orders.requests().len();
    let mut tunnel = stage.tunnel(ORDERS).await?;
    let _ = tunnel.stream.write_all((head + body).as_bytes()).await;
    let _ = tunnel.stream.shutdown().await;
    let came = soon(what, tunnel.rest()).await;
    let came = String::from_utf8_lossy(&came).into_owned();
    let seen = stage.orders.requests()[before..].to_vec();
    ensure!(!seen.iter().any(|s| s.target.contains("smuggled")), "{what:?} became two: {seen:#?}");
    let own = seen.iter().filter(|s| s.target.starts_with(&path));
    ensure!(own.clone().count() <= 1, "{what:?} came twice: {seen:#?}");
    for seen in own {
        let lengths = seen.all("content-length").len() + seen.all("transfer-encoding").len();
        ensure!(lengths <= 1, "{what:?} is framed twice: {seen:#?}");
        ensure!(seen.count(&stage.standing_key) == 0, "{what:?} shows the key: {seen:#?}");
    }
    ensure!(came.matches("HTTP/1.1 ").count() <= 1, "{what:?} was answered twice: {came}");
    let refused =
        ["400", "411", "413", "501"].iter().any(|s| came.starts_with(&format!("HTTP/1.1 {s} ")));
    let served = came.is_empty() || came.starts_with("HTTP/1.1 200 ");
    ensure!(refused || served, "{what:?} was answered by {came}");
    Ok(())
}

/// What may stand round a word and change it for one reader only.
const MARKS: &[&str] = &[
    "\0", "\u{1}", "\u{8}", "\u{b}", "\u{c}", "\u{1b}", "\u{1f}", "\u{7f}", "\"", "'", ";", "=",
    "/", "\\", "(", ")", "@", "\u{a0}", "\u{feff}", "\u{2028}", "\r", "x", "0", ".",
];

async fn transfer_codings_with_two_readings(stage: &mut Stage) -> Verdict {
    let body = format!("0\r\n\r\n{INNER}");
    let length = format!("Content-Length: {}\r\n", body.len());
    let mut values: Vec<String> = MARKS
        .iter()
        .flat_map(|m| [format!("{m}chunked"), format!("chunked{m}"), format!("chun{m}ked")])
        .collect();
    let words = [
        "identity",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;q=1",
        "chunked; a=b",
        "chunk",
        "chunkedd",
        "chun ked",
        "chun\tked",
        "deflate",
        "\"chunked\"",
        "",
        "trailers",
        "chunked\r\n , identity",
        "\r\n chunked",
    ];
    values.extend(words.map(str::to_owned));
    let names = [
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        " Transfer-Encoding",
        "Transfer_Encoding",
        "Transfer-Encoding\0",
        "Transfer-Encoding\u{b}",
        "Transfer\u{ad}-Encoding",
        "Transfer-\r\nEncoding",
        "Transfer-Encoding\r",
        "X: y\nTransfer-Encoding",
        "X: y\rTransfer-Encoding",
    ];
    let mut sent = 0;
    let lines = values.iter().map(|value| format!("Transfer-Encoding: {value}\r\n"));
    let lines = lines.chain(names.iter().map(|name| format!("{name}: chunked\r\n")));
    for line in lines.collect::<Vec<_>>() {
        // A length that covers all, before and after: whoever does not see the coding reads no second request.
        for fields in [line.clone() + &length, length.clone() + &line] {
            alone(stage, sent, &fields, &fields, &body).await?;
            sent += 1;
        }
    }
    for fields in [
        format!("Transfer-Encoding: chunked\r\n{length}"),
        format!("{length}Transfer-Encoding: chunked\r\n"),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n".to_owned(),
    ] {
        alone(stage, sent, &fields, &fields, &body).await?;
        sent += 1;
    }
    println!("sent: {sent} codings");
    stage.control().await
}

async fn lengths_with_two_readings(stage: &mut Stage) -> Verdict {
    let n = INNER.len();
    let mut values: Vec<String> = vec![
        format!("0, {n}"),
        format!("{n}, 0"),
        format!("0 {n}"),
        format!("0;{n}"),
        format!("0\t{n}"),
        "-1".into(),
        "+0".into(),
        "0x0".into(),
        "0x5".into(),
        "0.0".into(),
        "0e0".into(),
        "0_0".into(),
        String::new(),
        "18446744073709551616".into(),
        "18446744073709551617".into(),
        "9223372036854775808".into(),
        "99999999999999999999999999".into(),
        "\u{ff10}".into(),
        "\u{660}".into(),
        "O".into(),
        "zero".into(),
        "0\r\n ,1".into(),
        "0,0".into(),
        "0, 0".into(),
    ];
    values.extend(
        MARKS.iter().filter(|m| **m != "0").flat_map(|m| [format!("{m}0"), format!("0{m}")]),
    );
    let mut fields: Vec<String> =
        values.iter().map(|value| format!("Content-Length: {value}\r\n")).collect();
    for (one, two) in [(0, n), (n, 0), (n, n - 1), (1, 2)] {
        for name in ["Content-Length", "content-length", "CONTENT-LENGTH"] {
            fields.push(format!("Content-Length: {one}\r\n{name}: {two}\r\n"));
        }
        // Servers that take `_` for `-` would read another length.
        fields.push(format!("Content-Length: {n}\r\nContent_Length: {one}\r\n"));
        fields.push(format!("Content-Length : {one}\r\nContent-Length: {two}\r\n"));
    }
    for (at, fields) in fields.iter().enumerate() {
        alone(stage, at, fields, fields, INNER).await?;
    }
    println!("sent: {} lengths", fields.len());
    stage.control().await
}

async fn chunks_with_two_readings(stage: &mut Stage) -> Verdict {
    let sizes = [
        "0x0",
        "-0",
        "+0",
        " 0",
        "0 x",
        "0\u{b}",
        "0\u{0}",
        "0\u{7f}",
        "\u{ff10}",
        "g",
        "",
        "0.",
        "1_0",
        "0;a\nb",
        "0\n",
        "10000000000000000",
        "ffffffffffffffffff",
        "fffffffffffffffe",
        "0;\r",
        "0\r",
        "0;a=\"\n\"",
        "0 ;\nx",
    ];
    let mut bodies: Vec<String> =
        sizes.iter().map(|size| format!("{size}\r\n\r\n{INNER}")).collect();
    // Data that is longer or shorter than it says, and ends that are not the two bytes they should be.
    for data in [
        "2\r\nabc\r\n",
        "2\r\na\r\n",
        "2\r\nab\n",
        "2\r\nab\r",
        "2\r\nab",
        "2\nab\r\n",
        "2\r\nab\n\r",
        "2\r\nabXX",
    ] {
        bodies.push(format!("{data}0\r\n\r\n{INNER}"));
    }
    for end in [
        "0\r\n\n",
        "0\n\r\n",
        "0\r\n\r",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n Y: z\r\n\r\n",
        "0\r\nA: b\nC: d\r\n\r\n",
        "0\r\nA: \0\r\n\r\n",
    ] {
        bodies.push(format!("{end}{INNER}"));
    }
    for (at, body) in bodies.iter().enumerate() {
        let fields = "Transfer-Encoding: chunked\r\n";
        alone(stage, at, body, fields, body).await?;
    }
    println!("sent: {} bodies in chunks", bodies.len());
    stage.control().await
}

async fn field_lines_that_hide_an_owned_field(stage: &mut Stage) -> Verdict {
    let key = stage.standing_key.clone();
    let mut lines = Vec::new();
    for owned in ["Authorization", "X-Api-Key"] {
        for byte in (0..=0x20u8).chain(*b"\"(),/:;<=>?@[\\]{}").chain([0x7f]) {
            let c = char::from(byte);
            lines.push(format!("{owned}{c}: {key}\r\n"));
            lines.push(format!("{c}{owned}: {key}\r\n"));
            lines.push(format!("X-Other: y{c}{owned}: {key}\r\n"));
        }
        for line in [
            "X-Other: y\r\n \r\n{}: {}",
            "X-Other: y\r\n\t{}: {}",
            "X-Other: y\n{}: {}",
            "X-Other: y\r{}: {}",
            "X-Other\r\n: {}: {}",
        ] {
            lines.push(line.replacen("{}", owned, 1).replacen("{}", &key, 1) + "\r\n");
        }
    }
    // In a value these are text that belongs to a field which nobody owns.
    let text = |line: &String| {
        line.starts_with("X-Other: y") && {
            let byte = line.as_bytes()["X-Other: y".len()];
            (0x20..0x7f).contains(&byte) || byte == b'\t'
        }
    };
    lines.retain(|line| !text(line));
    for (at, line) in lines.iter().enumerate() {
        let fields = format!("{line}Content-Length: 0\r\n");
        alone(stage, at, line, &fields, "").await?;
    }
    println!("sent: {} field lines", lines.len());
    stage.control().await
}

/// Bodies of methods that have none by custom are read and passed on as one request's, whatever frames them.
async fn bodies_where_none_is_expected(stage: &mut Stage) -> Verdict {
    let mut sent = 0;
    // HTTP/1.0 knows no codings, and a request never ends with its connection.
    for request in [
        format!(
            "POST /v1/x HTTP/1.0\r\nHost: {ORDERS}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{INNER}"
        ),
        format!("POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nConnection: close\r\n\r\n{INNER}"),
        format!("POST /v1/x HTTP/1.0\r\nHost: {ORDERS}\r\n\r\n{INNER}"),
    ] {
        let before = stage.orders.requests().len();
        let mut tunnel = stage.tunnel(ORDERS).await?;
        let _ = tunnel.stream.write_all(request.as_bytes()).await;
        let _ = tunnel.stream.shutdown().await;
        soon("the end", tunnel.rest()).await;
        let seen = stage.orders.requests()[before..].to_vec();
        ensure!(!seen.iter().any(|s| s.target.contains("smuggled")), "{request:?}: {seen:#?}");
        sent += 1;
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"] {
        for (framing, body) in [
            (format!("Content-Length: {}\r\n", INNER.len()), INNER.to_owned()),
            (
                "Transfer-Encoding: chunked\r\n".to_owned(),
                format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len()),
            ),
            ("Content-Length: 0\r\n".to_owned(), String::new()),
        ] {
            let before = stage.orders.requests().len();
            let mut tunnel = stage.tunnel(ORDERS).await?;
            let request =
                format!("{method} /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{framing}\r\n{body}");
            let _ = tunnel.stream.write_all(request.as_bytes()).await;
            let _ = tunnel.stream.shutdown().await;
            let came = soon(method, tunnel.rest()).await;
            let seen = stage.orders.requests()[before..].to_vec();
            let one =
                seen.len() == 1 && (seen[0].body.is_empty() || seen[0].body == INNER.as_bytes());
            let refused = seen.is_empty() && came.starts_with(b"HTTP/1.1 4");
            ensure!(one || refused, "{method} {framing:?}: {seen:#?}");
            ensure!(!seen.iter().any(|s| s.target.contains("smuggled")), "{method}: {seen:#?}");
            sent += 1;
        }
    }
    println!("sent: {sent} bodies");
    stage.control().await
}
