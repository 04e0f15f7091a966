//! The trail as a whole: written, killed, filled up, tampered with, rotated, read.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::read::Records;
use super::tail::Tail;
use super::*;
use crate::model::client::Client;
use crate::model::clock::{Deadline, Moment};
use crate::model::host::Host;
use crate::model::id::{CredentialName, PolicyHash, RequestId, RouteName, SessionName};
use crate::model::reason::Reason;
use crate::model::token::Token;

/// A clock that stands until it is moved.
struct HandClock(Mutex<Moment>);

impl HandClock {
    fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = Moment { wall: now.wall + by, mono: now.mono + by };
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

struct Bench {
    dir: tempfile::TempDir,
    config: config::Audit,
    clock: Arc<HandClock>,
}

impl Bench {
    fn new() -> Self {
        Self::with(1 << 30, 4)
    }

    fn with(max_size: u64, keep: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
        Self {
            config: config::Audit { path, continue_on_failure: false, max_size, keep },
            clock: Arc::new(HandClock(Mutex::new(Moment { wall, mono: Instant::now() }))),
            dir,
        }
    }

    fn open(&self) -> (Arc<Audit>, Vec<&'static str>) {
        // Another test that starts a program holds our lock between its fork and its exec.
        let (audit, findings) = loop {
            let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
            match Audit::open(&self.config, self.dir.path(), clock) {
                Err(AuditError::Locked { .. }) => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        (Arc::new(audit), findings.iter().map(|f| f.code).collect())
    }

    /// A trail of `n` decisions, closed.
    fn filled(n: usize) -> Self {
        let bench = Self::new();
        let (audit, _) = bench.open();
        (0..n).for_each(|_| deny(&audit));
        bench
    }

    fn verify(&self) -> VerifyReport {
        let key = Key::read(self.dir.path()).unwrap();
        verify_against(&self.config.path, key.as_ref(), self.dir.path(), None).unwrap()
    }

    fn against(&self, checkpoint: &str) -> Vec<String> {
        let key = Key::read(self.dir.path()).unwrap();
        let checkpoint = Some(checkpoint.parse().unwrap());
        let report =
            verify_against(&self.config.path, key.as_ref(), self.dir.path(), checkpoint).unwrap();
        report.problems.into_iter().map(|p| p.code).collect()
    }

    /// Writes the trail anew as somebody would who knows how: another user, each line sealed.
    fn rewrite(&self) {
        let (mut lines, mut prev) = (Vec::new(), chain::GENESIS);
        for line in self.text().lines() {
            let (body, _) = line.rsplit_once(",\"prev\":").unwrap();
            let start = lines.len();
            lines.extend_from_slice(body.replace("\"ada\"", "\"eve\"").as_bytes());
            lines.push(b'}');
            prev = chain::seal(&mut lines, start, &prev);
        }
        fs::write(&self.config.path, lines).unwrap();
    }

    fn problems(&self) -> Vec<String> {
        self.verify().problems.into_iter().map(|p| p.code).collect()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.config.path).unwrap()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn facts(path: Option<&str>) -> RequestFacts {
    let client = Client {
        session: Some(SessionName::new("ci")),
        uid: Some(1000),
        user: Some("ada".into()),
        ..Client::default()
    };
    let host = Host::parse("api.orders.example").unwrap();
    RequestFacts::new(RequestId::new(), Arc::new(client), http::Method::GET, host, 443, path)
}

fn recorder(audit: &Arc<Audit>) -> Recorder {
    Recorder::start(audit, facts(Some("/v1/orders?api_key=CANARY#x")), PolicyHash::new("sha256:00"))
}

fn deny(audit: &Arc<Audit>) {
    let mut recorder = recorder(audit);
    recorder.code(Reason::NoRoute);
    drop(recorder.decide(Decision::Deny, None).unwrap());
    recorder.finish(Outcome { status: Some(403), ..Outcome::default() });
}

fn token(clock: &HandClock) -> Token {
    let now = clock.now();
    let end = Deadline::after(now, Duration::from_secs(300));
    Token::new(Secret::new("CANARY-TOKEN"), now, end, Some("orders:read".into())).unwrap()
}

#[test]
fn golden_lines() {
    let bench = Bench::new();
    let (audit, findings) = bench.open();
    assert!(findings.is_empty());
    let mut recorder = recorder(&audit);
    let id = recorder.request().to_string();
    recorder.route(RouteName::new("orders-read"));
    recorder.credential(CredentialName::new("orders"));
    recorder.static_key(audit.keyed_fingerprint(&Secret::new("CANARY-KEY")), "opaque");
    let token = token(&bench.clock);
    assert!(recorder.decide(Decision::Inject, Some(&token)).unwrap().covers(&token));
    bench.clock.advance(Duration::from_millis(42));
    recorder.finish(Outcome { status: Some(200), bytes_in: 0, bytes_out: 512, code: None });
    audit.event(Event::minted(&CredentialName::new("orders"), &token)).unwrap();
    audit.event(Event::config("refused", None).code("unknown-key").with("file", "a\n\"b")).unwrap();
    let text = bench.text();
    assert!(!text.contains("CANARY"), "{text}");
    let text = text.replace(&id, "ULID");
    let text: String = text.lines().map(|line| hide_digests(line) + "\n").collect();
    insta::assert_snapshot!(text, @r#"
    {"v":1,"seq":1,"time":"2026-09-21T14:13:20.123Z","event":"decision","request":"ULID","client":{"session":"ci","user":"ada","uid":1000},"target":{"method":"GET","host":"api.orders.example","port":443,"path":"/v1/orders"},"route":"orders-read","credential":"orders","decision":"inject","policy":"sha256:00","token":{"fingerprint":"sha256:f2ba80f7c0fb0bf30fa29b7beaf963ed","expires":"2026-09-21T14:18:20.123Z","scope":"orders:read"},"static_key":{"fingerprint":"hmac-sha256:…","kind":"opaque"},"prev":"…","hash":"…"}
    {"v":1,"seq":2,"time":"2026-09-21T14:13:20.165Z","event":"outcome","request":"ULID","outcome":{"status":200,"bytes_in":0,"bytes_out":512,"ms":42},"prev":"…","hash":"…"}
    {"v":1,"seq":3,"time":"2026-09-21T14:13:20.165Z","event":"mint","credential":"orders","context":{"action":"minted"},"token":{"fingerprint":"sha256:f2ba80f7c0fb0bf30fa29b7beaf963ed","expires":"2026-09-21T14:18:20.123Z","scope":"orders:read"},"prev":"…","hash":"…"}
    {"v":1,"seq":4,"time":"2026-09-21T14:13:20.165Z","event":"config","code":"unknown-key","context":{"action":"refused","file":"a\n\"b"},"prev":"…","hash":"…"}
    "#);
}

/// Hashes and keyed fingerprints change with the request's name and the key.
fn hide_digests(line: &str) -> String {
    let mut line = line.to_owned();
    for (key, digits) in [("\"prev\":\"", 64), ("\"hash\":\"", 64), ("hmac-sha256:", 32)] {
        if let Some(at) = line.find(key) {
            let at = at + key.len();
            line.replace_range(at..at + digits, "…");
        }
    }
    line
}

#[test]
fn a_decision_is_in_the_file_when_decide_returns_and_an_outcome_by_the_next() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    deny(&audit);
    assert_eq!(bench.text().lines().count(), 1);
    deny(&audit);
    assert_eq!(bench.text().lines().count(), 3);
    audit.flush().unwrap();
    assert_eq!(bench.text().lines().count(), 4);
    let report = bench.verify();
    assert!(report.is_intact() && report.remarks.is_empty(), "{report:?}");
    assert_eq!((report.records, report.first, report.last), (4, 1, 4));
}

#[test]
fn the_chain_carries_over_a_restart() {
    let bench = Bench::filled(3);
    let (audit, findings) = bench.open();
    assert!(findings.is_empty());
    deny(&audit);
    drop(audit);
    let report = bench.verify();
    assert!(report.is_intact());
    assert_eq!(report.last, 8);
}

#[test]
fn a_second_writer_is_refused() {
    let bench = Bench::new();
    let (_audit, _) = bench.open();
    let clock: Arc<dyn Clock> = Arc::clone(&bench.clock) as _;
    let error = Audit::open(&bench.config, bench.dir.path(), clock).unwrap_err();
    assert_eq!(error.code(), "audit-locked");
}

#[test]
fn what_is_dropped_is_recorded() {
    let bench = Bench::new();
    let (audit, _) = bench.open();

    drop(recorder(&audit));
    let mut gone = recorder(&audit);
    gone.code(Reason::ClientGone);
    drop(gone);
    let mut streaming = recorder(&audit);
    drop(streaming.decide(Decision::Pass, None).unwrap());
    drop(streaming);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut recorder = recorder(&audit);
        drop(recorder.decide(Decision::Tunnel, None).unwrap());
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    audit.flush().unwrap();

    let seen: Vec<_> = Records::open(&bench.config.path)
        .unwrap()
        .map(|r| r.unwrap().1)
        .map(|r| {
            (
                r.decision,
                r.code.map(|c| c.into_owned()).unwrap_or_default(),
                r.outcome.map(|o| o.bytes_out),
            )
        })
        .collect();
    let line = |decision, code: &str, bytes| (decision, code.to_owned(), bytes);
    assert_eq!(
        seen,
        [
            line(Some(Decision::Deny), "internal-error", None),
            line(None, "", Some(0)),
            line(Some(Decision::Deny), "client-gone", None),
            line(None, "", Some(0)),
            line(Some(Decision::Pass), "", None),
            line(None, "client-gone", Some(0)),
            line(Some(Decision::Tunnel), "", None),
            line(None, "internal-error", Some(0)),
        ]
    );
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    deny(&audit);
    let before = bench.text();
    for space in [0, 1, 300] {
        lock(&audit.writer).sink.space = Some(space);
        let mut recorder = recorder(&audit);
        let error = recorder.decide(Decision::Inject, None).unwrap_err();
        assert_eq!(error.code(), "audit-unavailable");
        assert_eq!(recorder.waive(error).unwrap_err().code(), "audit-unavailable");
        assert_eq!(bench.text(), before, "nothing of it is left");
    }
    // Three decisions, and the deny that each dropped recorder tried.
    let health = audit.health();
    assert_eq!((health.lost, health.failing.is_some()), (6, true));

    lock(&audit.writer).sink.space = None;
    deny(&audit);
    assert_eq!(audit.health().failing, None);
    drop(audit);
    let report = bench.verify();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.remarks[0].code, "audit-resumed");
    assert!(report.remarks[0].message.contains("\"lost\":6"), "{:?}", report.remarks);
}

#[test]
fn on_failure_continue_waives_and_counts() {
    let mut bench = Bench::new();
    bench.config.continue_on_failure = true;
    let (audit, _) = bench.open();
    lock(&audit.writer).sink.space = Some(0);
    let mut recorder = recorder(&audit);
    let error = recorder.decide(Decision::Inject, None).unwrap_err();
    assert!(!recorder.waive(error).unwrap().covers(&token(&bench.clock)));
    let error = recorder.decide(Decision::Inject, Some(&token(&bench.clock))).unwrap_err();
    assert!(recorder.waive(error).unwrap().covers(&token(&bench.clock)));
    recorder.finish(Outcome::default());
    assert_eq!(audit.health().lost, 2);
}

#[test]
fn only_an_inject_decision_covers_a_token() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Audit>();
    is_shared::<Recorder>();
    let bench = Bench::new();
    let (audit, _) = bench.open();
    let token = token(&bench.clock);
    let mut recorder = recorder(&audit);
    assert!(!recorder.decide(Decision::Deny, Some(&token)).unwrap().covers(&token));
    recorder.finish(Outcome::default());
}

#[test]
fn a_head_that_cannot_be_written_shows_in_health_and_costs_no_record() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    fs::create_dir(bench.place("audit.head.new")).unwrap();
    deny(&audit);
    assert_eq!(audit.flush().unwrap_err().code(), "audit-unavailable");
    assert!(audit.health().unflushed.is_some() && audit.health().failing.is_none());
    fs::remove_dir(bench.place("audit.head.new")).unwrap();
    audit.flush().unwrap();
    assert_eq!(audit.health().unflushed, None);
    assert!(bench.verify().is_intact());
}

#[test]
fn rotation_that_fails_costs_no_record() {
    let bench = Bench::with(2048, 4);
    let (audit, _) = bench.open();
    let taken = TrailPaths::of(&bench.config.path).rotated(1);
    fs::create_dir(&taken).unwrap();
    (0..10).for_each(|_| deny(&audit));
    assert!(fs::metadata(&bench.config.path).unwrap().len() > 2048);
    fs::remove_dir(&taken).unwrap();
    bench.clock.advance(Duration::from_secs(1));
    deny(&audit);
    assert!(taken.is_file());
    audit.flush().unwrap();
    assert!(bench.verify().is_intact());
}

#[test]
fn pending_outcomes_are_bounded_while_the_disk_is_full() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    let mut open: Vec<_> = (0..6000).map(|_| recorder(&audit)).collect();
    open.iter_mut().for_each(|r| drop(r.decide(Decision::Pass, None).unwrap()));
    lock(&audit.writer).sink.space = Some(0);
    open.into_iter().for_each(|r| r.finish(Outcome::default()));
    let lost = audit.health().lost;
    assert!(lost > 0 && lost < 6000, "{lost}");
    lock(&audit.writer).sink.space = None;
    audit.flush().unwrap();
    assert!(bench.verify().is_intact());
}

#[test]
fn a_kill_at_any_byte_costs_only_torn_bytes() {
    let bench = Bench::filled(3);
    let whole = fs::read(&bench.config.path).unwrap();
    let beside = ["audit.head", "audit.index"].map(|name| bench.place(name));
    let before = beside.clone().map(|path| fs::read(path).unwrap());
    {
        let (audit, _) = bench.open();
        deny(&audit);
    }
    let text = fs::read(&bench.config.path).unwrap();
    for cut in whole.len()..text.len() {
        fs::write(&bench.config.path, &text[..cut]).unwrap();
        for (path, content) in beside.iter().zip(&before) {
            fs::write(path, content).unwrap();
        }
        fs::remove_file(bench.place("audit.torn")).ok();
        assert!(bench.verify().is_intact(), "before the restart, cut at {cut}");
        let torn = cut - text[..cut].iter().rposition(|b| *b == b'\n').unwrap() - 1;
        let (audit, findings) = bench.open();
        assert!(findings.is_empty(), "{findings:?}");
        deny(&audit);
        drop(audit);
        let report = bench.verify();
        assert!(report.is_intact(), "cut at {cut}: {report:?}");
        assert_eq!(report.remarks.len(), usize::from(torn > 0));
        let kept = fs::read(bench.place("audit.torn")).unwrap_or_default();
        assert_eq!(kept.strip_suffix(b"\n").unwrap_or_default(), &text[cut - torn..cut]);
    }
}

#[test]
fn a_missing_tail_is_said_and_shows_for_ever() {
    let bench = Bench::filled(3);
    let text = bench.text();
    let kept: String = text.lines().take(4).map(|l| format!("{l}\n")).collect();
    fs::write(&bench.config.path, kept).unwrap();
    assert_eq!(bench.problems(), ["audit-record-missing"]);
    let (audit, findings) = bench.open();
    assert_eq!(findings, ["audit-tail-missing"]);
    deny(&audit);
    drop(audit);
    let report = bench.verify();
    assert_eq!(report.problems[0].code, "audit-record-missing");
    assert_eq!(report.problems[0].line, 5);
    assert_eq!(report.problems[0].message, "records 5 to 6 are missing before this line");
    assert_eq!(report.problems[1].code, "audit-tail-missing");
    // The next start finds nothing new.
    assert!(bench.open().1.is_empty());
}

#[test]
fn a_deleted_trail_and_a_deleted_head_show() {
    let bench = Bench::filled(2);
    fs::remove_file(&bench.config.path).unwrap();
    assert_eq!(bench.open().1, ["audit-tail-missing"]);
    assert_eq!(bench.problems(), ["audit-record-missing", "audit-tail-missing"]);

    let bench = Bench::filled(2);
    fs::remove_file(bench.place("audit.head")).unwrap();
    assert_eq!(bench.problems(), ["audit-head-missing"]);
    assert_eq!(bench.open().1, ["audit-head-missing"]);
    assert_eq!(bench.problems(), ["audit-head-missing"], "still after a restart");

    // Both at once, which leaves nothing but the index.
    let bench = Bench::filled(2);
    fs::remove_file(bench.place("audit.head")).unwrap();
    fs::remove_file(&bench.config.path).unwrap();
    assert_eq!(bench.open().1, ["audit-head-missing", "audit-tail-missing"]);
    assert!(bench.problems().contains(&"audit-head-missing".to_owned()));

    let bench = Bench::filled(2);
    fs::remove_file(bench.place("audit.key")).unwrap();
    assert_eq!(bench.problems(), ["audit-key-missing"]);
    assert_eq!(bench.open().1, ["audit-index-invalid", "audit-head-invalid"]);
    assert_eq!(bench.problems(), ["audit-index-invalid", "audit-head-invalid"]);
}

#[test]
fn a_trail_written_anew_without_the_key_shows() {
    let bench = Bench::filled(3);
    let other = Bench::filled(4);
    fs::copy(&other.config.path, &bench.config.path).unwrap();
    assert!(bench.problems().contains(&"audit-rewritten".to_owned()));
    assert_eq!(bench.open().1, ["audit-rewritten"]);
    assert!(!bench.verify().is_intact(), "still after a restart");
}

/// Whoever cannot read the key, and removes what it has signed.
#[test]
fn a_trail_written_anew_without_its_head_shows_for_ever() {
    for gone in [&["audit.head"][..], &["audit.head", "audit.index"], &["audit.index"]] {
        let bench = Bench::filled(3);
        let checkpoint = bench.verify().checkpoint.unwrap().to_string();
        bench.rewrite();
        gone.iter().for_each(|name| fs::remove_file(bench.place(name)).unwrap());
        for start in 0..3 {
            let (audit, _) = bench.open();
            deny(&audit);
            drop(audit);
            let report = bench.verify();
            assert!(!report.is_intact(), "{gone:?}, start {start}: {report:?}");
            assert_eq!(report.checkpoint, None);
            assert!(bench.against(&checkpoint).contains(&"audit-rewritten".to_owned()));
        }
    }
}

/// The note in the trail goes with rotation; the index keeps it.
#[test]
fn what_a_start_found_outlives_the_trail() {
    let bench = Bench::with(4096, 1);
    drop(bench.open());
    fs::remove_file(bench.place("audit.head")).unwrap();
    let (audit, _) = bench.open();
    for _ in 0..40 {
        deny(&audit);
        audit.flush().unwrap();
    }
    let report = bench.verify();
    assert!(report.first > 1, "{report:?}");
    assert_eq!(bench.problems(), ["audit-head-missing"]);
    assert_eq!(report.problems[0].file, bench.place("audit.index"));
}

#[test]
fn a_checkpoint_holds_for_its_record_and_all_before() {
    let bench = Bench::filled(1);
    let early = bench.verify().checkpoint.unwrap().to_string();
    let (audit, _) = bench.open();
    (0..5).for_each(|_| deny(&audit));
    drop(audit);
    assert_eq!(bench.against(&early), [""; 0], "it has grown since");

    // Whoever holds the key can do all this, but not undo what the line says.
    let late = bench.verify().checkpoint.unwrap().to_string();
    let whole = bench.text();
    for name in ["audit.head", "audit.index", "audit.key"] {
        fs::remove_file(bench.place(name)).unwrap();
    }
    let shortened: String = whole.lines().take(4).map(|line| format!("{line}\n")).collect();
    for (text, code) in [(&shortened, "audit-record-missing"), (&whole, "audit-rewritten")] {
        fs::write(&bench.config.path, text).unwrap();
        bench.rewrite();
        assert!(bench.against(&late).contains(&code.to_owned()), "{code}");
    }
}

#[test]
fn a_checkpoint_that_rotation_has_overtaken_is_no_proof() {
    let bench = Bench::with(4096, 1);
    let (audit, _) = bench.open();
    deny(&audit);
    audit.flush().unwrap();
    let early = bench.verify().checkpoint.unwrap().to_string();
    for _ in 0..60 {
        deny(&audit);
        audit.flush().unwrap();
    }
    assert_eq!(bench.against(&early), ["audit-checkpoint-too-old"]);
}

/// Restored from a backup, with all that was signed then: that is what the index is for.
#[test]
fn a_trail_that_was_put_back_is_known_by_the_index() {
    let bench = Bench::filled(1);
    let old =
        ["audit.jsonl", "audit.head"].map(|name| (name, fs::read(bench.place(name)).unwrap()));
    drop((0..3).fold(bench.open().0, |audit, _| {
        deny(&audit);
        audit
    }));
    for (name, content) in old {
        fs::write(bench.place(name), content).unwrap();
    }
    assert_eq!(bench.problems(), ["audit-record-missing"]);
    assert_eq!(bench.open().1, ["audit-tail-missing"]);
    assert!(!bench.verify().is_intact());
}

/// A state directory of the release before has no index, and nothing is wrong with it.
#[test]
fn an_upgrade_begins_an_index() {
    let bench = Bench::filled(2);
    fs::remove_file(bench.place("audit.index")).unwrap();
    assert!(bench.verify().is_intact());
    assert!(bench.open().1.is_empty());
    assert!(bench.place("audit.index").exists() && bench.verify().is_intact());
}

#[test]
fn rotates_keeps_and_verifies() {
    let bench = Bench::with(4096, 3);
    let (audit, _) = bench.open();
    for _ in 0..40 {
        deny(&audit);
        audit.flush().unwrap();
        let report = bench.verify();
        assert!(report.is_intact(), "{report:?}");
    }
    let files = read::files(&bench.config.path).unwrap();
    assert_eq!(files.len(), 4);
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 4096);
    }
    let report = bench.verify();
    assert!(report.first > 1 && report.last == 80);
    drop(audit);
    assert!(bench.open().1.is_empty());

    // A kill between the steps of rotation: no current file.
    let last = files.last().unwrap();
    fs::rename(last, TrailPaths::of(last).rotated(bench.first_of(last))).unwrap();
    let (audit, findings) = bench.open();
    assert!(findings.is_empty(), "{findings:?}");
    deny(&audit);
    drop(audit);
    assert!(bench.verify().is_intact());

    // The oldest record that was kept is removed.
    let oldest = read::files(&bench.config.path).unwrap().remove(0);
    let text = fs::read_to_string(&oldest).unwrap();
    fs::write(&oldest, text.split_once('\n').unwrap().1).unwrap();
    assert_eq!(bench.problems(), ["audit-record-missing"]);
    fs::remove_file(&oldest).unwrap();
    assert_eq!(bench.problems(), ["audit-record-missing"]);
}

impl Bench {
    fn first_of(&self, file: &Path) -> u64 {
        let text = fs::read_to_string(file).unwrap();
        chain::unseal(text.lines().next().unwrap().as_bytes()).unwrap().seq
    }
}

#[test]
fn a_file_taken_away_is_noticed() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    deny(&audit);
    fs::remove_file(&bench.config.path).unwrap();
    deny(&audit);
    assert!(bench.text().contains("audit-file-replaced"), "at once, where it was deleted");

    fs::rename(&bench.config.path, bench.place("away")).unwrap();
    bench.clock.advance(Duration::from_secs(1));
    deny(&audit);
    assert!(bench.text().contains("audit-file-replaced"), "within a second, where it was renamed");

    fs::write(&bench.config.path, "half a li").unwrap();
    deny(&audit);
    assert!(bench.text().contains("audit-file-changed"));
    assert_eq!(fs::read_to_string(bench.place("audit.torn")).unwrap(), "half a li\n");
    audit.flush().unwrap();
    assert_eq!(bench.problems(), ["audit-record-missing"], "what was in the file is gone");
}

#[test]
fn eight_threads_make_one_chain() {
    let bench = Bench::with(2 << 20, 64);
    let (audit, _) = bench.open();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5_000).for_each(|_| deny(&audit)));
        }
    });
    audit.flush().unwrap();
    let report = bench.verify();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.records, 80_000);
}

#[test]
fn verify_beside_a_live_writer_raises_no_false_alarm() {
    let bench = Bench::with(16 << 10, 2);
    let (audit, _) = bench.open();
    let busy = std::sync::atomic::AtomicUsize::new(2);
    let still = || busy.load(std::sync::atomic::Ordering::Relaxed) > 0;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..1_500).for_each(|_| deny(&audit));
                busy.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while still() {
                audit.flush().unwrap();
            }
        });
        while still() {
            let report = bench.verify();
            assert!(report.is_intact(), "{report:?}");
        }
    });
}

#[test]
fn tail_shows_the_last_lines_and_follows_rotation() {
    let bench = Bench::with(4096, 8);
    let (audit, _) = bench.open();
    (0..10).for_each(|_| deny(&audit));
    audit.flush().unwrap();
    let seqs = |lines: Vec<String>| -> Vec<u64> {
        lines.iter().map(|l| chain::unseal(l.as_bytes()).unwrap().seq).collect()
    };
    let mut tail = Tail::open(&bench.config.path, 15).unwrap();
    assert_eq!(seqs(tail.poll().unwrap()), (6..=20).collect::<Vec<_>>());
    assert!(tail.poll().unwrap().is_empty());
    (0..20).for_each(|_| deny(&audit));
    audit.flush().unwrap();
    assert_eq!(seqs(tail.poll().unwrap()), (21..=60).collect::<Vec<_>>());

    let empty = Bench::new();
    let mut tail = Tail::open(&empty.config.path, 5).unwrap();
    assert!(tail.poll().unwrap().is_empty());
    let (audit, _) = empty.open();
    deny(&audit);
    assert_eq!(seqs(tail.poll().unwrap()), [1]);
}

#[test]
fn odd_places_are_refused() {
    let bench = Bench::new();
    fs::create_dir(&bench.config.path).unwrap();
    let clock: Arc<dyn Clock> = Arc::clone(&bench.clock) as _;
    let open = || Audit::open(&bench.config, bench.dir.path(), Arc::clone(&clock)).unwrap_err();
    assert_eq!(open().code(), "audit-unreadable");
    fs::remove_dir(&bench.config.path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &bench.config.path).unwrap();
    assert_eq!(open().code(), "audit-unreadable");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn tampering_is_found(at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), bit in 0..8u32) {
        let bench = Bench::filled(4);
        let text = fs::read(&bench.config.path).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        prop_assert!(bench.verify().is_intact());

        let mut flipped = text.clone();
        flipped[at.index(text.len())] ^= 1 << bit;
        fs::write(&bench.config.path, &flipped).unwrap();
        prop_assert!(!bench.verify().is_intact(), "flipped");

        let mut removed = lines.clone();
        removed.remove(at.index(lines.len()));
        fs::write(&bench.config.path, removed.concat()).unwrap();
        prop_assert!(!bench.verify().is_intact(), "removed");

        let (a, b) = (at.index(lines.len()), other.index(lines.len()));
        let mut swapped = lines.clone();
        swapped.swap(a, b);
        fs::write(&bench.config.path, swapped.concat()).unwrap();
        prop_assert_eq!(bench.verify().is_intact(), a == b, "swapped");

        let mut doubled = lines.clone();
        doubled.insert(b, lines[a]);
        fs::write(&bench.config.path, doubled.concat()).unwrap();
        prop_assert!(!bench.verify().is_intact(), "doubled");
    }
}

#[test]
fn a_recorder_takes_the_time_of_its_request_apart() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    let ms = Duration::from_millis;
    let mut recorder = recorder(&audit);
    bench.clock.advance(ms(2));
    recorder.minted(ms(2));
    bench.clock.advance(ms(7));
    recorder.sent();
    bench.clock.advance(ms(30));
    recorder.sent();
    recorder.answered();
    // The body's own time is nobody's latency.
    bench.clock.advance(ms(4000));
    let written = recorder.decide(Decision::Pass, None).unwrap();
    drop(written);
    recorder.finish(Outcome { status: Some(200), ..Outcome::default() });
    let text = audit.metrics().text(None);
    for (part, sum) in [("proxy", "0.007"), ("mint", "0.002"), ("upstream", "0.03")] {
        let line = format!("valetkey_request_seconds_sum{{part=\"{part}\"}} {sum}");
        assert!(text.lines().any(|l| l == line), "no `{line}` in {text}");
    }
    assert!(text.contains("{route=\"(none)\",decision=\"pass\",code=\"ok\"} 1"), "{text}");
}

/// One count for a request, however it ends, and a tunnel is open until its end.
#[test]
fn each_request_is_counted_once() {
    let bench = Bench::new();
    let (audit, _) = bench.open();
    deny(&audit);
    drop(recorder(&audit));
    recorder(&audit).refuse(Reason::UriTooLong, Some(414));
    let mut tunnel = Recorder::start(&audit, facts(None), PolicyHash::new("sha256:00"));
    drop(tunnel.decide(Decision::Tunnel, None).unwrap());
    assert_eq!(audit.metrics().tunnels.read(), 1);
    drop(tunnel);
    assert_eq!(audit.metrics().tunnels.read(), 0);
    audit
        .event(Event::malformed(RequestId::new(), &Client::default(), Reason::MalformedRequest))
        .unwrap();
    let text = audit.metrics().text(None);
    let counts: Vec<_> = text
        .lines()
        .filter_map(|l| l.strip_prefix("valetkey_requests_total{route=\"(none)\","))
        .collect();
    assert_eq!(
        counts,
        [
            "decision=\"deny\",code=\"internal-error\"} 1",
            "decision=\"deny\",code=\"malformed-request\"} 1",
            "decision=\"deny\",code=\"no-route\"} 1",
            "decision=\"deny\",code=\"uri-too-long\"} 1",
            "decision=\"tunnel\",code=\"client-gone\"} 1",
        ]
    );
    assert!(text.contains("valetkey_request_seconds_count{part=\"proxy\"} 3"), "{text}");
}
