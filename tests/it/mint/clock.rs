//! Clocks that jump, by libfaketime under the built program: no token is sent after its end by either clock.
//!
//! The wall clock is moved by hand, the monotonic one goes on as it does. That is also what a suspend looks
//! like from inside: the wall jumps ahead, and the monotonic clock knows nothing of it. Certificates are judged
//! by the wall clock as well, so the one tunnel that all requests take is opened before it moves.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::token_of;
use crate::harness::client::exchange;
use crate::harness::figure;
use crate::harness::http1::Message;
use crate::harness::issuer::{Issuer, Reply};
use crate::harness::soon;
use crate::harness::stage::{EVIL, Stage, Tunnel};

const HOUR: i64 = 3600;

/// Debian keeps it in a directory of the processor's kind.
pub fn library() -> PathBuf {
    let kinds = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = kinds.map(|kind| kind.path().join("faketime/libfaketime.so.1"));
    found.find(|path| path.exists()).expect("libfaketime: run tests/run")
}

/// Valetkey under a wall clock that is moved by hand.
struct Moved {
    stage: Stage,
    issuer: Issuer,
    clock: PathBuf,
    tunnel: Tunnel,
}

impl Moved {
    async fn start() -> Self {
        let issuer = Issuer::start().await;
        let mut clock = PathBuf::new();
        let stage = Stage::valetkey_with(|builder| {
            clock = builder.home().join("clock");
            std::fs::write(&clock, "+0\n").unwrap();
            builder
                .env("LD_PRELOAD", library().to_str().unwrap())
                .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .minting("mine", &issuer)
                .route(&format!(
                    "name = \"mine\"\nhost = {EVIL:?}\npath = [\"/x\"]\ncredential = \"mine\""
                ))
        })
        .await;
        let tunnel = stage.tunnel(EVIL).await.unwrap();
        let mut moved = Self { stage, issuer, clock, tunnel };
        // The API's certificate is judged by the wall clock too: this connection is kept.
        assert_eq!(moved.get("/pass").await.status(), 200);
        moved
    }

    async fn get(&mut self, path: &str) -> Message {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {EVIL}\r\n\r\n");
        exchange(&mut self.tunnel, request.as_bytes()).await.expect("an answer")
    }

    /// Sets the wall clock so many seconds off the real one, and waits until the program's records say so.
    async fn jump(&mut self, seconds: i64) {
        let next = self.clock.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.clock).unwrap();
        soon("a record of another time", async {
            loop {
                // By a path without a token.
                assert_eq!(self.get("/pass").await.status(), 200);
                let audit = self.stage.running().unwrap().audit();
                let time =
                    humantime::parse_rfc3339(audit.last().unwrap()["time"].as_str().unwrap());
                let (time, real) = (time.unwrap(), SystemTime::now());
                let off = match time.duration_since(real) {
                    Ok(ahead) => ahead.as_secs_f64(),
                    Err(behind) => -behind.duration().as_secs_f64(),
                };
                if (off - seconds as f64).abs() < 30.0 {
                    return;
                }
            }
        })
        .await;
    }

    /// The token that the API gets now.
    async fn bearer(&mut self) -> String {
        let before = self.stage.evil.requests().len();
        let answer = self.get("/x").await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        token_of(&self.stage.evil.request(before).await)
    }

    /// Asks until it is refused: how long after `since` the last request began that was served. Its answer
    /// may have been longer on its way.
    async fn served_until(&mut self, since: Instant) -> Duration {
        let mut last = Duration::ZERO;
        loop {
            let asked = since.elapsed();
            let answer = self.get("/x").await;
            if answer.status() == 503 {
                return last;
            }
            assert_eq!(answer.status(), 200, "{}", answer.everything());
            last = asked;
        }
    }
}

/// Two hours ahead with the monotonic clock where it was, and as after a suspend of two hours.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_wall_clock_that_jumps_ahead_ends_a_token() {
    let mut it = Moved::start().await;
    let token = it.bearer().await;
    assert_eq!(it.bearer().await, token, "good for five minutes");
    it.jump(2 * HOUR).await;
    assert_eq!(it.issuer.minted().len(), 1, "nobody asked for one meanwhile");
    let second = it.bearer().await;
    assert_eq!((it.issuer.minted().len(), second == token), (2, false));
    assert_eq!(it.bearer().await, second, "the new one lives");
    // And by its new end again.
    it.jump(4 * HOUR).await;
    assert_ne!(it.bearer().await, second);
    figure("clock", "+2 h, twice: minted anew at once, 0 ended tokens sent");
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_wall_clock_that_is_set_back_lengthens_no_life() {
    // Long enough that a busy machine is through with the jump before half of it is over.
    let life = Duration::from_secs(12);
    for seconds in [-HOUR, -24 * HOUR] {
        let mut it = Moved::start().await;
        it.issuer.reply(Reply::Token { life: Some(life.as_secs()) });
        it.bearer().await;
        // Its end was reckoned before this.
        let minted = Instant::now();
        it.issuer.reply(Reply::json(503, "{}"));
        it.jump(seconds).await;
        let last = soon("its end", it.served_until(minted)).await;
        figure("clock", format!("{seconds:+} s: a token of {life:?} served for {last:.1?}"));
        assert!(last < life, "{last:?}");
        assert!(last > life / 2, "it served while it lived: {last:?}");
    }
}

/// Minted while the wall was half an hour behind, it is over when that is put right: nobody can say how long it has.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_token_of_a_wrong_clock_goes_when_the_clock_is_put_right() {
    let mut it = Moved::start().await;
    it.jump(-HOUR / 2).await;
    let token = it.bearer().await;
    it.jump(0).await;
    assert_ne!(it.bearer().await, token);
}
