//! The side towards clients, for those that do not do as they should: that read little, or have
//! their answer and do not send the rest of their body.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::buffered::Buffered;
use super::connection::{Half, Inbound as _, Shared};
use super::watchdog::Watchdog;
use super::writer::{Outgoing, write};
use super::*;

const CRUMB: usize = 1024;

/// An answer of no known length, in so many small pieces that are all there.
struct Crumbs(usize);

impl http_body::Body for Crumbs {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; CRUMB])))))
    }
}

impl AnswerBody for Crumbs {
    fn drive(&mut self, _: &mut Context<'_>) -> bool {
        true
    }

    fn patience(&self) -> AnswerPatience {
        AnswerPatience { stall: Duration::from_secs(120), stream: Duration::from_secs(3600) }
    }

    fn spelling(&mut self) -> Spelling {
        Spelling::default()
    }

    fn cut(&mut self, _: Unsent) {}
}

/// Answers each request on its head alone, until it is told to stop.
#[derive(Default)]
struct Early(Notify);

impl Service for Early {
    type Body = Crumbs;
    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(100),
        drain: Duration::from_secs(30),
    };

    async fn answer(&self, _: Arrived) -> Response<Crumbs> {
        Response::new(Crumbs(1))
    }

    fn refuse(&self, _: HeadError) -> Response<Crumbs> {
        Response::new(Crumbs(1))
    }

    fn failed(&self) -> Response<Crumbs> {
        Response::new(Crumbs(1))
    }

    fn taken(&self) -> u64 {
        0
    }

    async fn stopping(&self) {
        self.0.notified().await;
    }
}

/// A connection on which a client still sends `framing`; `window` bytes fit in before it reads.
fn answering(framing: Framing, window: usize) -> (Shared<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(window);
    let io = Buffered::new(near, BytesMut::new());
    let body = Decoder::new(framing);
    (Shared::new(Half { io, body, http11: true, waits: false, writer: None }), far)
}

fn crumbs(count: usize) -> Outgoing<'static, Crumbs> {
    Outgoing { answer: Response::new(Crumbs(count)), method: &Method::GET, close: false }
}

/// What is held for a reader that is slower than its answer does not grow: neither by what it is to
/// take, however small the pieces, nor by what it took.
#[tokio::test(start_paused = true)]
async fn small_pieces_are_bounded_where_a_client_takes_little() {
    const MOST: usize = 128 * 1024;
    let (shared, mut far) = answering(Framing::Length(0), CRUMB);
    let (mut watchdog, service) = (Watchdog::default(), Early::default());
    let writing = write(&shared, &mut watchdog, &service, crumbs(8 * MOST / CRUMB));
    let reading = async {
        let mut taken = 0;
        while taken < 4 * MOST {
            taken += far.read(&mut [0; CRUMB]).await.unwrap();
            let held = shared.lock().io.output().len();
            assert!(held <= MOST, "{held} bytes are held after {taken} were taken");
        }
    };
    tokio::select! {
        _ = writing => panic!("not all was taken"),
        () = reading => {}
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// The task that reads an upload flushes the answer, too, and is then whom the stream wakes.
#[tokio::test(start_paused = true)]
async fn whoever_writes_is_woken_where_an_upload_flushed() {
    let (shared, mut far) = answering(Framing::Length(100), CRUMB);
    let (mut watchdog, service) = (Watchdog::default(), Early::default());
    let mut writing = pin!(write(&shared, &mut watchdog, &service, crumbs(4)));
    let (writer, upload) = (Arc::<Woken>::default(), Waker::from(Arc::<Woken>::default()));
    let waker = Waker::from(Arc::clone(&writer));
    assert!(writing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(shared.poll_frame(&mut Context::from_waker(&upload)).is_pending());
    far.read_exact(&mut [0; CRUMB]).await.unwrap();
    assert!(writer.0.load(Relaxed));
}

/// After how many seconds a client sees the end of its connection that has sent its head and five
/// bytes of its body, and then sends so many more, one every four seconds. `stops`: when the proxy
/// does.
async fn closed_after(version: &str, length: usize, drips: usize, stops: Option<u64>) -> u64 {
    let service = Early::default();
    let (near, far) = duplex(4096);
    let (mut read, mut write) = tokio::io::split(far);
    let head = format!("POST / HTTP/{version}\r\nhost: a\r\ncontent-length: {length}\r\n\r\nfirst");
    write.write_all(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let client = async {
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        assert!(answer.windows(CRUMB).any(|part| part == [b'x'; CRUMB]), "the answer is whole");
        begun.elapsed().as_secs()
    };
    let drips = async {
        for _ in 0..drips {
            sleep(Duration::from_secs(4)).await;
            let _ = write.write_all(b".").await;
        }
    };
    let stop = async {
        match stops {
            None => return,
            Some(0) => {}
            Some(after) => sleep(Duration::from_secs(after)).await,
        }
        service.0.notify_one();
    };
    let serving = serve(Buffered::new(near, BytesMut::new()), &service);
    let ((), closed, (), _) = tokio::join!(stop, client, drips, serving);
    closed
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_has_its_answer_is_not_read_for_long() {
    for (drips, stops, closed, what) in [
        (0, None, 5, "silent"),
        (3, None, 17, "silent after 12 s"),
        (50, None, 30, "never silent"),
        (50, Some(2), 2, "stopped"),
        (50, Some(0), 0, "stopped before the answer"),
    ] {
        for length in [100, 100_000] {
            let after = closed_after("1.1", length, drips, stops).await;
            assert_eq!(after, closed, "{what}, {length} bytes");
        }
    }
}

/// Who knows its answer's end by that of the connection waits for nothing else.
#[tokio::test(start_paused = true)]
async fn an_end_that_is_the_connections_is_said_before_the_rest_is_read() {
    assert_eq!(closed_after("1.0", 100, 50, None).await, 0);
}
