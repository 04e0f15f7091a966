//! How heads are spelt: names and reason phrases come out as they went in, where both sides speak HTTP/1, and odd
//! heads that every client takes alike are taken.

use crate::harness::caller::Sending;
use crate::harness::pair::Pair;
use crate::harness::soon;
use crate::harness::upstream::Protocol;

async fn pair() -> Pair {
    Pair::between(Protocol::Http1, Protocol::Http1).await
}

/// The head of the answer, as text.
async fn answered(pair: &mut Pair, answer: &str) -> String {
    let mut call = pair.caller().await.call("GET", "/x", &[], Sending::Nothing).await;
    let mut up = pair.upstream.next().await;
    up.raw(answer.as_bytes()).await;
    let head = soon("the head of an answer", call.raw().until(b"\r\n\r\n")).await;
    String::from_utf8_lossy(&head.unwrap()).into_owned()
}

/// `twine` looks at the words, and scripts look for `Location:`.
#[tokio::test]
async fn an_answer_keeps_its_words_and_its_spelling() {
    let mut pair = pair().await;
    let head = answered(
        &mut pair,
        "HTTP/1.1 400 File already exists\r\nLocation: /a\r\nETag: \"x\"\r\nX-GitHub-Id: 1\r\n\
         Content-Length: 0\r\nSet-COOKIE: a=b\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 400 File already exists\r\n"), "{head}");
    for line in ["Location: /a", "ETag: \"x\"", "X-GitHub-Id: 1", "Content-Length: 0"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
}

/// A token in the words of the answer is gone with them.
#[tokio::test]
async fn words_that_hold_the_token_stay_behind() {
    let mut pair = pair().await;
    answered(&mut pair, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let answer = format!("HTTP/1.1 400 Bad {}\r\nContent-Length: 0\r\n\r\n", pair.token());
    let head = answered(&mut pair, &answer).await;
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(!head.contains(&pair.token()), "{head}");
}

#[tokio::test]
async fn a_request_keeps_its_spelling() {
    let mut pair = pair().await;
    let asks = [("X-GitHub-Api-Version", "1"), ("X-MIXED-case", "2"), ("aCCept", "*/*")];
    let _call = pair.caller().await.call("GET", "/x", &asks, Sending::Nothing).await;
    let up = pair.upstream.next().await;
    for (name, _) in asks.iter().chain(&[("Host", ""), ("Authorization", "")]) {
        assert!(up.parts.spelt.iter().any(|spelt| spelt == name), "{name}: {:?}", up.parts);
    }
}

#[tokio::test]
async fn odd_heads_that_every_client_takes_are_written_anew() {
    for odd in [
        "HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nhi",
        "HTTP/1.1 200 OK\r\nX-A:\r\n\tb\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2, 02\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let mut pair = pair().await;
        let mut call = pair.caller().await.call("GET", "/x", &[], Sending::Nothing).await;
        pair.upstream.next().await.raw(odd.as_bytes()).await;
        let head = call.head().await;
        assert_eq!(head.status, 200, "{odd:?}: {head:?}");
        assert_eq!(head.all("x-a"), ["b"], "{odd:?}: {head:?}");
        assert_eq!(head.all("content-length"), ["2"], "{odd:?}: {head:?}");
        assert_eq!(call.body().await.0, b"hi", "{odd:?}");
    }
}

/// What has no one reading is refused while the upstream still holds the connection open.
#[tokio::test]
async fn an_odd_head_makes_no_client_wait() {
    for odd in [
        "220 smtp.example ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\nX-C: d\r\n",
        "HTTP/1.1 200 OK\nX-A: b\r\n",
        "HTTP/1.1 200 OK\rX-A: b\r\r",
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\r\nnonsense\r\n\r\n",
    ] {
        let mut pair = pair().await;
        let mut call = pair.caller().await.call("GET", "/x", &[], Sending::Nothing).await;
        let mut up = pair.upstream.next().await;
        up.raw(odd.as_bytes()).await;
        let head = call.head().await;
        assert_eq!((head.status, &*head.code()), (502, "upstream-answer-invalid"), "{odd:?}");
    }
}
