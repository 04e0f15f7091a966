//! A record as the text of its line, made before the audit's lock is taken: all of it but its
//! version, number and time, which come before it, and its seal, which comes after.
//!
//! It is what `serde_json` would write, byte for byte (a test holds it to that), at a fifth of the
//! price: nearly every text here needs no escape, and one look at all of its bytes shows it.

use std::cell::Cell;
use std::io::Write as _;

use serde_json::Value;

use super::event::{ClientFacts, OutcomeFacts, Record, StaticKeyFacts, TargetFacts, TokenFacts};

thread_local! {
    /// Used again by each record of a thread: they are of one size.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Makes a record's text, what follows the time: `,"event":…}`, and lends it.
pub(crate) fn rest<T>(record: &Record<'_>, take: impl FnOnce(&[u8]) -> T) -> T {
    let mut line = LineWriter(LINE.take());
    line.0.clear();
    line.record(record);
    let taken = take(&line.0);
    LINE.set(line.0);
    taken
}

/// Keys are given with their quotes and colon.
struct LineWriter(Vec<u8>);

impl LineWriter {
    fn record(&mut self, record: &Record<'_>) {
        self.text(r#""event":"#, record.event.as_str());
        self.maybe(r#""request":"#, record.request.as_deref());
        if let Some(client) = &record.client {
            self.open(r#""client":{"#).client(client);
        }
        if let Some(target) = &record.target {
            self.open(r#""target":{"#).target(target);
        }
        self.maybe(r#""route":"#, record.route.as_deref());
        self.maybe(r#""credential":"#, record.credential.as_deref());
        self.maybe(r#""decision":"#, record.decision.map(|decision| decision.as_str()));
        self.maybe(r#""code":"#, record.code.as_deref());
        self.maybe(r#""policy":"#, record.policy.as_deref());
        if !record.policies.is_empty() {
            let policies = record.policies.iter().map(|policy| Value::from(&**policy));
            self.json(r#""policies":"#, &policies.collect());
        }
        self.maybe(r#""approval":"#, record.approval.as_deref());
        if !record.context.is_empty() {
            self.json(r#""context":"#, &Value::Object(record.context.clone()));
        }
        if let Some(token) = &record.token {
            self.open(r#""token":{"#).token(token);
        }
        if let Some(key) = &record.static_key {
            self.open(r#""static_key":{"#).static_key(key);
        }
        if record.client_credential {
            self.key(r#""client_credential":"#).extend_from_slice(b"true");
        }
        self.maybe(r#""method_override":"#, record.method_override.as_deref());
        if !record.dropped.is_empty() {
            let names = record.dropped.iter().map(|name| Value::from(&**name));
            self.json(r#""dropped":"#, &names.collect());
        }
        if let Some(outcome) = &record.outcome {
            self.open(r#""outcome":{"#).outcome(outcome);
        }
        self.0.push(b'}');
    }

    fn client(&mut self, client: &ClientFacts<'_>) {
        self.maybe(r#""session":"#, client.session.as_deref());
        self.maybe(r#""user":"#, client.user.as_deref());
        self.maybe_number(r#""uid":"#, client.uid.map(u64::from));
        self.maybe_number(r#""pid":"#, client.pid.map(u64::from));
        self.maybe(r#""exe":"#, client.exe.as_deref());
        self.0.push(b'}');
    }

    fn target(&mut self, target: &TargetFacts<'_>) {
        self.text(r#""method":"#, &target.method);
        self.text(r#""host":"#, &target.host);
        self.number(r#""port":"#, target.port.into());
        self.maybe(r#""path":"#, target.path.as_deref());
        self.0.push(b'}');
    }

    fn token(&mut self, token: &TokenFacts<'_>) {
        self.text(r#""fingerprint":"#, &token.fingerprint);
        self.text(r#""expires":"#, &token.expires);
        self.maybe(r#""scope":"#, token.scope.as_deref());
        if token.standing {
            self.key(r#""standing":"#).extend_from_slice(b"true");
        }
        self.0.push(b'}');
    }

    fn static_key(&mut self, key: &StaticKeyFacts<'_>) {
        self.text(r#""fingerprint":"#, &key.fingerprint);
        self.text(r#""kind":"#, &key.kind);
        self.0.push(b'}');
    }

    fn outcome(&mut self, outcome: &OutcomeFacts) {
        self.maybe_number(r#""status":"#, outcome.status.map(u64::from));
        self.number(r#""bytes_in":"#, outcome.bytes_in);
        self.number(r#""bytes_out":"#, outcome.bytes_out);
        self.number(r#""ms":"#, outcome.ms);
        self.0.push(b'}');
    }

    /// A comma where something stands before, and the key.
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.extend_from_slice(key.as_bytes());
        &mut self.0
    }

    fn open(&mut self, key: &str) -> &mut Self {
        self.key(key);
        self
    }

    fn maybe(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        if !is_plain(text) {
            return self.json(key, &Value::from(text));
        }
        let line = self.key(key);
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    }

    fn maybe_number(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        let mut digits = itoa::Buffer::new();
        self.key(key).extend_from_slice(digits.format(number).as_bytes());
    }

    fn json(&mut self, key: &str, value: &Value) {
        // To memory, which never refuses.
        write!(self.key(key), "{value}").ok();
    }
}

/// Whether it stands in quotes as it is. No branch in the loop: many bytes at a time.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
    text.bytes().fold(true, |all, byte| all & plain(byte))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::audit::event::EventKind;
    use crate::model::decision::Decision;

    fn text() -> impl Strategy<Value = Cow<'static, str>> {
        prop_oneof!["[ -~]{0,20}", ".{0,20}", "[\\x00-\\x7f]{0,20}"].prop_map(Cow::Owned)
    }

    fn maybe() -> impl Strategy<Value = Option<Cow<'static, str>>> {
        proptest::option::of(text())
    }

    const KINDS: [EventKind; 7] = [
        EventKind::Approval,
        EventKind::Ca,
        EventKind::Config,
        EventKind::Decision,
        EventKind::Mint,
        EventKind::Outcome,
        EventKind::Session,
    ];

    prop_compose! {
        fn facts()(
            client in proptest::option::of((maybe(), maybe(), any::<Option<u32>>(), any::<Option<u32>>(), maybe())),
            target in proptest::option::of((text(), text(), any::<u16>(), maybe())),
            token in proptest::option::of((text(), text(), maybe(), any::<bool>())),
            outcome in proptest::option::of((any::<Option<u16>>(), any::<u64>(), any::<u64>(), any::<u64>())),
            key in proptest::option::of((text(), text())),
        ) -> Record<'static> {
            Record {
                client: client.map(|(session, user, uid, pid, exe)| ClientFacts {
                    session, user, uid, pid, exe,
                }),
                target: target.map(|(method, host, port, path)| TargetFacts { method, host, port, path }),
                token: token.map(|(fingerprint, expires, scope, standing)| TokenFacts {
                    fingerprint, expires, scope, standing,
                }),
                outcome: outcome.map(|(status, bytes_in, bytes_out, ms)| OutcomeFacts {
                    status, bytes_in, bytes_out, ms,
                }),
                static_key: key.map(|(fingerprint, kind)| StaticKeyFacts { fingerprint, kind }),
                ..Record::empty(EventKind::Decision)
            }
        }
    }

    prop_compose! {
        fn record()(
            mut record in facts(),
            kind in 0..KINDS.len(),
            decision in proptest::option::of(0..Decision::ALL.len()),
            texts in [maybe(), maybe(), maybe(), maybe(), maybe(), maybe()],
            policies in proptest::collection::vec(text(), 0..3),
            client_credential: bool,
            method_override in maybe(),
            dropped in proptest::collection::vec(text(), 0..3),
            context in maybe(),
        ) -> Record<'static> {
            record.event = KINDS[kind];
            record.decision = decision.map(|at| Decision::ALL[at]);
            [record.request, record.route, record.credential, record.code, record.policy, record.approval] = texts;
            (record.policies, record.dropped) = (policies, dropped);
            record.client_credential = client_credential;
            record.method_override = method_override;
            if let Some(text) = context {
                record.context.insert(text.clone().into_owned(), json!({ "a": [text, 1, true] }));
            }
            record
        }
    }

    proptest! {
        #[test]
        fn it_writes_what_serde_json_writes(record in record()) {
            let ours = String::from_utf8(rest(&record, <[u8]>::to_vec)).unwrap();
            let theirs = serde_json::to_string(&record).unwrap();
            prop_assert_eq!(format!("{{\"v\":1,\"seq\":0,\"time\":\"\"{ours}"), theirs);
        }
    }
}
