//! Towards an HTTP/2 upstream the token's field is never indexed (RFC 7541 section 6.2.3): no table on the
//! way keeps it. Checked on the wire.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::harness::http1::Reader;
use crate::harness::stage::Stage;
use crate::harness::{Log, accept_loop};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Literal never indexed, name by the static table's entry 23 (`authorization`).
const NEVER_INDEXED: &[u8] = &[0x1f, 23 - 15];

#[tokio::test]
async fn the_token_is_never_indexed() {
    let fakes = Stage::naive().await;
    let host = "hpack.example";
    let tls = fakes.pki.server(&[host]).server_config(&["h2"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let blocks: Arc<Log<Vec<u8>>> = Log::new();
    let inner = Arc::clone(&blocks);
    let _task = accept_loop(listener, move |stream| {
        let (acceptor, blocks) = (acceptor.clone(), Arc::clone(&inner));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut reader = Reader::new(stream);
            if reader.exactly(PREFACE.len()).await.as_deref() != Some(PREFACE) {
                return;
            }
            // Empty SETTINGS, so that the client goes on.
            let _ = reader.stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
            let _ = reader.stream.flush().await;
            while let Some(head) = reader.exactly(9).await {
                let length =
                    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                let Some(payload) = reader.exactly(length).await else { return };
                if head[3] == 1 {
                    blocks.push(payload);
                    // A bare `:status 200` with the end of the stream.
                    let answer = [0, 0, 1, 1, 5, head[5], head[6], head[7], head[8], 0x88];
                    let _ = reader.stream.write_all(&answer).await;
                    let _ = reader.stream.flush().await;
                }
            }
        }
    });
    let pem = fakes.pki.pem().to_owned();
    let stage = Stage::valetkey_with(|v| {
        v.file("hpack.pem", &pem)
            .also_trusting("hpack.pem")
            .reaching("hpack.example:443", addr)
            .route("name = \"hpack\"\nhost = \"hpack.example\"\ncredential = \"orders\"")
    })
    .await;
    for _ in 0..2 {
        let answer = stage.get(host, "/v1/x", "").await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
    for block in blocks.all() {
        let marks = block.windows(2).filter(|w| *w == NEVER_INDEXED).count();
        assert_eq!(marks, 1, "authorization, never indexed, in {block:02x?}");
    }
    assert_eq!(blocks.len(), 2);
    stage.control().await.unwrap();
}
