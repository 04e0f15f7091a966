//! I6, nothing comes back: no token in what the client gets, nor anything bought with one.

use crate::ensure;
use crate::harness::api::{Answer, Seen};
use crate::harness::stage::{BILLING, ORDERS, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I6":
    an_echoed_token_is_masked,
    an_echoed_token_in_base64_is_masked,
    a_redirect_with_the_token_is_masked,
    cookies_and_alternatives_are_dropped,
    an_answer_to_a_bare_request_holds_no_token,
    a_body_that_shows_the_request_is_masked,
    a_body_with_every_encoding_is_masked,
    a_compressed_body_is_masked,
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

/// An error page with the whole request on it.
async fn a_body_that_shows_the_request_is_masked(stage: &mut Stage) -> Verdict {
    for status in [200, 403, 500] {
        stage.orders.answer(move |seen| {
            let shown = format!("<pre>{} {}\n{:#?}", seen.method, seen.target, texts(seen));
            Answer::ok(shown).status(status)
        });
        let answer = stage.get(ORDERS, "/v1/x", "X-Mine: kept\r\n").await?;
        stage.silent("the page", &answer.everything())?;
        ensure!(answer.status() == status, "the status stays: {}", answer.everything());
        ensure!(answer.text().contains("kept"), "the rest stays: {}", answer.everything());
        let token = stage.orders_issuer.token();
        let stars = format!("Bearer {}\"", "*".repeat(token.len()));
        ensure!(answer.text().contains(&stars), "masked: {}", answer.everything());
    }
    stage.orders.answer(|_| Answer::ok("{\"ok\":true}"));
    stage.control().await
}

fn texts(seen: &Seen) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    seen.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn token_of(seen: &Seen) -> String {
    seen.all("authorization").join(",").trim_start_matches("Bearer ").to_owned()
}

async fn a_body_with_every_encoding_is_masked(stage: &mut Stage) -> Verdict {
    type Spell = fn(u8) -> String;
    let spellings: [Spell; 9] = [
        |b| format!("{b:02x}"),
        |b| format!("{b:02X}"),
        |b| format!("%{b:02x}"),
        |b| format!("%{b:02X}"),
        |b| format!("\\u{b:04x}"),
        |b| format!("\\u{b:04X}"),
        |b| format!("&#{b};"),
        |b| format!("&#x{b:x};"),
        |b| if b == b'-' { "%2D".to_owned() } else { char::from(b).to_string() },
    ];
    for (at, spell) in spellings.into_iter().enumerate() {
        stage.orders.answer(move |seen| {
            let spelt: String = token_of(seen).bytes().map(spell).collect();
            Answer::ok(format!("{{\"echo\":\"{spelt}\"}}"))
        });
        let answer = stage.get(ORDERS, "/v1/x", "").await?;
        let spelt: String = stage.orders_issuer.token().bytes().map(spell).collect();
        let wanted = format!("{{\"echo\":\"{}\"}}", "*".repeat(spelt.len()));
        ensure!(answer.text() == wanted, "spelling {at}: {}", answer.everything());
    }
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    for (before, url) in [("", false), ("x", true), ("xy", false), ("xyz", true)] {
        stage.orders.answer(move |seen| {
            let pair = format!("{before}{}{before}", token_of(seen));
            Answer::ok(if url { URL_SAFE.encode(pair) } else { STANDARD.encode(pair) })
        });
        let answer = stage.get(ORDERS, "/v1/x", "").await?;
        stage.silent("the body", &answer.everything())?;
        ensure!(answer.text().contains("********"), "masked: {}", answer.everything());
    }
    stage.orders.answer(|_| Answer::ok("{\"ok\":true}"));
    stage.control().await
}

async fn a_compressed_body_is_masked(stage: &mut Stage) -> Verdict {
    type Encode = fn(&[u8]) -> Vec<u8>;
    let ways: [(&str, Encode); 5] = [
        ("gzip", |text| gzip(text)),
        ("br", |text| br(text)),
        ("zstd", |text| zstd(text)),
        ("deflate", |text| zlib(text)),
        ("br, gzip", |text| gzip(&br(text))),
    ];
    for (coding, encode) in ways {
        stage.orders.answer(move |seen| {
            let text = format!("an echo: {}.", token_of(seen));
            Answer::ok(encode(text.as_bytes())).header("Content-Encoding", coding)
        });
        let answer = stage.get(ORDERS, "/v1/x", "Accept-Encoding: gzip, br, zstd\r\n").await?;
        let token = stage.orders_issuer.token();
        let wanted = format!("an echo: {}.", "*".repeat(token.len()));
        ensure!(answer.text() == wanted, "{coding}: {}", answer.everything());
        ensure!(answer.all("content-encoding").is_empty(), "{coding}: {}", answer.everything());
    }
    stage.orders.answer(|_| Answer::ok("{\"ok\":true}"));
    stage.control().await
}

fn written<W: std::io::Write>(text: &[u8], mut to: W) -> W {
    to.write_all(text).unwrap();
    to
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    written(text, to).finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    written(text, to).finish().unwrap()
}

fn br(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut &text[..], &mut out, &Default::default()).unwrap();
    out
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}
