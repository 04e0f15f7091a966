//! Kept upstream connections under pressure: a GET outlives the connection it was on, a POST is never sent
//! twice, and a connection that has been authenticated is its client's alone.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, Pair};
use crate::harness::upstream::Protocol;

/// The upstream closes right after each answer, without a word: the next request finds a dead connection. A
/// GET is answered all the same; a POST is answered, or lost with a 502 before anybody has seen it.
#[tokio::test]
async fn a_connection_that_died_while_idle_costs_no_request() {
    for (client, upstream) in ALL {
        dies_while_idle(client, upstream).await;
    }
}

/// See above, for one combination.
async fn dies_while_idle(client: Protocol, upstream: Protocol) {
    let repeats = super::repeats();
    let mut pair = Pair::between(client, upstream).await;
    let mut caller = pair.caller().await;
    let mut lost = 0;
    for n in 0..repeats {
        let what = format!("{client:?} {upstream:?}, request {n}");
        let post = n % 5 == 4;
        let (method, path) = (if post { "POST" } else { "GET" }, format!("/{n}"));
        let sending = if post { Sending::Sized(4) } else { Sending::Nothing };
        let mut call = caller.call(method, &path, &[], sending).await;
        if post {
            call.send(b"body").await;
            call.end().await;
        }
        let mut up = tokio::select! {
            up = pair.upstream.next() => up,
            head = call.head() => {
                assert!(post && head.status == 502, "{what}: {head:?}");
                lost += 1;
                call.body().await;
                assert!(pair.upstream.waiting().is_none(), "{what}: lost, and yet it arrived");
                caller = pair.caller().await;
                continue;
            }
        };
        assert_eq!(up.parts.target, path, "{what}: repeated or lost");
        up.body().await;
        up.head(200, &[("content-length", "2")]).await;
        up.send(b"ok").await;
        let close = match upstream {
            // The answer is complete for HTTP/1.1; HTTP/2 still wants its end.
            Protocol::Http1 => Some(up),
            Protocol::Http2 if n % 2 == 0 => up.end_and_keep().await,
            Protocol::Http2 => {
                up.end().await;
                None
            }
        };
        let (head, rest) = (call.head().await, call.body().await.0);
        assert_eq!((head.status, &rest[..]), (200, &b"ok"[..]), "{what}");
        match close {
            Some(up) if upstream == Protocol::Http1 && n % 2 == 0 => {
                up.reset(h2::Reason::NO_ERROR);
            }
            Some(up) => up.close().await,
            None => {}
        }
        caller = call.again();
    }
    let opened = pair.upstream.connections();
    println!(
        "{client:?} {upstream:?}: {repeats} requests, {opened} connections that died, {lost} POSTs lost, \
         no GET, nothing twice"
    );
    assert!(opened > repeats / 3, "{opened} connections: they never died");
}

/// Killed when the next request is already on it: a GET goes again on another connection, a POST never does.
#[tokio::test]
async fn a_connection_that_is_killed_under_a_request() {
    for client in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(client, Protocol::Http1).await;
        let mut posts_lost = 0;
        let mut caller = pair.caller().await;
        for n in 0..super::repeats() {
            // One good answer, so that the connection is kept.
            let mut call = caller.get("/first").await;
            pair.upstream.next().await.answer(200, "ok").await;
            assert_eq!(call.head().await.status, 200);
            call.body().await;

            let post = n % 2 == 1;
            let sending = if post { Sending::Sized(4) } else { Sending::Nothing };
            let method = if post { "POST" } else { "GET" };
            let mut call = call.again().call(method, &format!("/{n}"), &[], sending).await;
            if post {
                call.send(b"body").await;
                call.end().await;
            }
            let up = pair.upstream.next().await;
            assert_eq!(up.parts.target, format!("/{n}"), "{client:?}");
            let killed = up.connection;
            match n % 4 {
                0 | 1 => up.reset(h2::Reason::NO_ERROR),
                _ => up.close().await,
            }
            if post {
                let head = call.head().await;
                assert_eq!(head.status, 502, "{client:?} {n}: {head:?}");
                call.body().await;
                assert!(pair.upstream.waiting().is_none(), "{client:?} {n}: the POST came again");
                posts_lost += 1;
                caller = pair.caller().await;
            } else {
                let up = pair.upstream.next().await;
                assert_eq!(up.parts.target, format!("/{n}"), "{client:?}");
                assert_ne!(up.connection, killed);
                up.answer(200, "again").await;
                assert_eq!(call.head().await.status, 200, "{client:?} {n}");
                assert_eq!(call.body().await.0, b"again");
                caller = call.again();
            }
        }
        println!(
            "{client:?}: 125 GETs answered, {posts_lost} POSTs told of their loss, none repeated"
        );
    }
}

/// A GET is tried again once, not for ever.
#[tokio::test]
async fn an_upstream_that_kills_every_request_is_a_502() {
    let mut pair = Pair::between(Protocol::Http1, Protocol::Http1).await;
    let mut call = pair.caller().await.get("/first").await;
    pair.upstream.next().await.answer(200, "ok").await;
    assert_eq!(call.head().await.status, 200);
    call.body().await;
    let mut call = call.again().get("/doomed").await;
    let mut tries = 0;
    let head = loop {
        tokio::select! {
            biased;
            head = call.head() => break head,
            up = pair.upstream.next() => {
                tries += 1;
                assert!(tries <= 3, "tried {tries} times");
                up.reset(h2::Reason::NO_ERROR);
            }
        }
    };
    assert_eq!(head.status, 502, "{head:?}");
}

/// NTLM and Negotiate authenticate a connection, not a request: whoever did the handshake owns it.
#[tokio::test]
async fn connection_bound_authentication_stays_with_its_client() {
    for scheme in ["NTLM", "Negotiate"] {
        for client in [Protocol::Http1, Protocol::Http2] {
            handshake(scheme, client).await;
        }
    }
}

async fn handshake(scheme: &str, client: Protocol) {
    let what = format!("{scheme} {client:?}");
    let mut pair = Pair::between(client, Protocol::Http1).await;
    // Three legs: asked, challenged, proven.
    let mut call = pair.pass_caller().await.get("/").await;
    let mut up = pair.upstream.next().await;
    up.head(401, &[("www-authenticate", scheme), ("content-length", "0")]).await;
    up.end().await;
    assert_eq!(call.head().await.all("www-authenticate"), [scheme], "{what}");

    let first = format!("{scheme} TlRMTVNTUAABAAAA");
    let mut call =
        call.again().call("GET", "/", &[("authorization", &first)], Sending::Nothing).await;
    let mut up = pair.upstream.next().await;
    assert_eq!(up.parts.all("authorization"), [&*first], "{what}: {:?}", up.parts);
    let bound = up.connection;
    let challenge = format!("{scheme} TlRMTVNTUAACAAAA");
    up.head(401, &[("www-authenticate", &challenge), ("content-length", "0")]).await;
    up.end().await;
    assert_eq!(call.head().await.all("www-authenticate"), [&*challenge], "{what}");

    // Somebody else asks in the middle of it.
    let mut other = pair.pass_caller().await.get("/other").await;
    let up = pair.upstream.next().await;
    assert_ne!(up.connection, bound, "{what}: a stranger rides on a half-made handshake");
    up.answer(200, "public").await;
    assert_eq!(other.head().await.status, 200);
    other.body().await;

    let proof = format!("{scheme} TlRMTVNTUAADAAAA");
    let mut call =
        call.again().call("GET", "/", &[("authorization", &proof)], Sending::Nothing).await;
    let up = pair.upstream.next().await;
    assert_eq!(up.connection, bound, "{what}: the proof came on another connection");
    up.answer(200, "hello, client one").await;
    assert_eq!(call.head().await.status, 200);
    call.body().await;

    // From now on the connection speaks for its client: for nobody else, whoever comes.
    for n in 0..10 {
        let caller = if n % 2 == 0 { pair.pass_caller().await } else { other.again() };
        let mut stranger = caller.get(&format!("/stranger/{n}")).await;
        let up = pair.upstream.next().await;
        assert_ne!(up.connection, bound, "{what}: a stranger rides on the connection");
        up.answer(200, "public").await;
        assert_eq!(stranger.head().await.status, 200);
        stranger.body().await;
        other = stranger;
    }
    let mut call = call.again().get("/mine").await;
    let up = pair.upstream.next().await;
    assert_eq!(up.connection, bound, "{what}: its own client lost it");
    up.answer(200, "yours").await;
    assert_eq!(call.head().await.status, 200);
    call.body().await;

    // It goes with its client.
    let again = call.again().get("/last").await;
    let up = pair.upstream.next().await;
    assert_eq!(up.connection, bound, "{what}");
    again.vanish();
    up.given_up().await;
    let mut stranger = pair.pass_caller().await.get("/after").await;
    let up = pair.upstream.next().await;
    assert_ne!(up.connection, bound, "{what}");
    up.answer(200, "public").await;
    assert_eq!(stranger.head().await.status, 200);
}
