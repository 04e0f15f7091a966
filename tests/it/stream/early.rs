//! Answers before the end of an upload, over HTTP/2: the client gets them, ours and the upstream's, and is not reset
//! while it still writes (RFC 9113 section 8.1).

use std::path::Path;

use tokio::io::AsyncWriteExt as _;

use crate::harness::caller::Sending;
use crate::harness::client::{connect, curl_command, finish};
use crate::harness::pair::{HOST, Pair};
use crate::harness::stage::Stage;
use crate::harness::upstream::{Exchange, Piece, Protocol};
use crate::harness::{soon, until};

const LARGE: usize = 3 << 20;
const UPSTREAMS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

async fn pair(upstream: Protocol) -> Pair {
    let denied = format!("name = \"no\"\nhost = \"{HOST}\"\npath = [\"/no\"]\ndeny = true");
    Pair::between_with(Protocol::Http2, upstream, |v| v.route(&denied), "").await
}

/// Says no and reads nothing more; over HTTP/2 that resets the stream without an error.
async fn says_no(mut up: Exchange) -> Option<Exchange> {
    let close: &[_] = if up.is_http1() { &[("connection", "close")] } else { &[] };
    up.head(413, &[&[("content-length", "9")], close].concat()).await;
    up.send(b"too large").await;
    up.end_and_keep().await
}

/// A client that writes on has its answer, and is let go on.
#[tokio::test]
async fn an_upload_that_is_answered_early_may_still_end() {
    for upstream in UPSTREAMS {
        for (path, status) in [("/up", 413), ("/no", 403)] {
            let what = format!("{upstream:?} {path}");
            let mut pair = pair(upstream).await;
            let caller = pair.caller().await;
            let mut call = caller.call("POST", path, &[], Sending::Sized(LARGE)).await;
            let mut open = None;
            if status == 413 {
                call.send(&[1; 1000]).await;
                let said = says_no(pair.upstream.next().await).await;
                open = said.filter(Exchange::is_http1);
            }
            let head = call.head().await;
            assert_eq!(head.status, status, "{what}: {head:?}");
            assert_eq!(call.body().await.1, Piece::End(vec![]), "{what}");
            for n in 0..30 {
                assert!(call.send(&[2; 100_000]).await, "{what}: reset after {n} pieces");
            }
            call.end().await;
            let mut call = call.again().get("/no").await;
            assert_eq!(call.head().await.status, 403, "{what}");
            drop(open);
        }
    }
}

/// The real curl: its answer, and no error.
#[tokio::test]
async fn curl_gets_each_early_answer() {
    let times = if super::is_large() { 100 } else { 5 };
    for upstream in UPSTREAMS {
        let mut pair = pair(upstream).await;
        let (proxy, ca) = (pair.stage.proxy_addr(), pair.stage.ca_file());
        for size in [100, LARGE, 20 * LARGE] {
            for (path, code) in [("/up", "413"), ("/no", "403")] {
                let dir = tempfile::tempdir().unwrap();
                let file = dir.path().join("body");
                std::fs::write(&file, vec![b'x'; size]).unwrap();
                for n in 0..times {
                    let what = format!("{upstream:?} {size} {path}, upload {n}");
                    let upload = upload(proxy, &ca, path, &file);
                    let answers = async {
                        if code == "413" {
                            let kept = says_no(pair.upstream.next().await).await;
                            if upstream == Protocol::Http1 {
                                std::mem::forget(kept);
                            }
                        }
                    };
                    let (done, ()) = tokio::join!(upload, answers);
                    assert_eq!((done.0, &*done.1), (Some(0), code), "{what}: {}", done.2);
                }
            }
        }
    }
}

async fn upload(
    proxy: std::net::SocketAddr,
    ca: &Path,
    path: &str,
    file: &Path,
) -> (Option<i32>, String, String) {
    let data = format!("@{}", file.display());
    let mut curl = curl_command(proxy, ca);
    curl.args(["--http2", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:"]);
    curl.args(["--data-binary", &data, &format!("https://{HOST}{path}")]);
    let done = finish(&mut curl).await;
    (done.code, done.stdout, done.stderr)
}

/// What a reset cut off must not look whole, on either side of a tunnel.
#[tokio::test]
async fn a_reset_passes_through_a_tunnel_as_one() {
    use tokio::io::AsyncReadExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stage = Stage::valetkey_with(|v| v.reaching("raw.example:443", addr)).await;
    for (client_resets, code) in [(false, "upstream-unreachable"), (true, "client-gone")] {
        let (answer, mut client) = connect(stage.proxy_addr(), "raw.example:443").await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let (mut server, _) = soon("a connection", listener.accept()).await.unwrap();
        let (mut one, mut other) = match client_resets {
            true => (client.stream, server),
            false => {
                server.write_all(b"half of ").await.unwrap();
                client.stream.read_exact(&mut [0; 8]).await.unwrap();
                (server, client.stream)
            }
        };
        one.write_all(b"it").await.unwrap();
        other.read_exact(&mut [0; 2]).await.unwrap();
        rustix::net::sockopt::set_socket_linger(&one, Some(std::time::Duration::ZERO)).unwrap();
        drop(one);
        let end = soon("its end", other.read(&mut [0; 8])).await;
        let reset = std::io::ErrorKind::ConnectionReset;
        assert_eq!(end.map_err(|error| error.kind()), Err(reset), "client resets: {client_resets}");
        until("an outcome", || {
            let coded = |r: &serde_json::Value| r["event"] == "outcome" && r["code"] == code;
            stage.running().unwrap().audit().iter().any(coded)
        })
        .await;
    }
}
