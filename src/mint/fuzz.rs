//! What `tests/fuzz` feeds with foreign bytes: answers of issuers and what helpers print, with what
//! must hold of what is taken. Compiled for tests and fuzzing alone; the seeds are tests as well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::answer::{self, Expect};
use super::json::Document;
use super::{beside, exec, retry_after};
use crate::config::{ExecFormat, Pointer};

/// A token endpoint's body, and a discovery document's. Whoever else reads an answer that is taken
/// finds the same token in it.
pub fn answer(body: &[u8]) {
    let jwt = Expect::Exchanged { requested: Some("urn:ietf:params:oauth:token-type:jwt") };
    for expect in [Expect::Bearer, Expect::Exchanged { requested: None }, jwt] {
        for bound in [false, true] {
            let Ok(granted) = answer::granted(body, expect, bound) else { continue };
            assert!(granted.expires_in.is_none_or(|life| !life.is_zero()));
            if let Ok(other) = serde_json::from_slice::<Value>(body) {
                let token = other.get("access_token").and_then(Value::as_str).unwrap_or_default();
                assert!(granted.value.matches(token.as_bytes()), "two readings");
            }
        }
    }
    let _ = answer::refusal(body);
    let _ = answer::metadata(body);
    let _ = beside::beside(body);
    let _ = beside::device(body);
    if let Ok(value) = HeaderValue::from_bytes(body) {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, value)]);
        let wait = retry_after::parse(&headers, now());
        assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(3600)));
    }
}

/// What a program prints, read in each of the forms that config may name; and what an issuer
/// answers that config describes.
pub fn output(printed: &[u8]) {
    let (token, expires) = (Pointer::known("/a/0"), Pointer::known("/e"));
    if let Ok(document) = Document::read(printed) {
        let _ = document.says(&expires);
        let found = (document.token(&token), document.life(&expires, now()));
        if let (Ok(token), Ok(life)) = found {
            assert!(!token.is_empty() && life.is_none_or(|life| !life.is_zero()));
        }
    }
    let git = ExecFormat::Git { protocol: "https".into(), host: "a".into(), path: "".into() };
    let json = ExecFormat::Json { token, expires };
    for format in [ExecFormat::Aws, git, json, ExecFormat::Kubectl, ExecFormat::Plain] {
        let read = exec::read(&format, printed.to_vec().into(), now());
        let Ok((_, life)) = read else { continue };
        assert!(life.is_none_or(|life| !life.is_zero()), "a token that has ended");
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::seeds;

    #[test]
    fn seeds_hold() {
        seeds::each("issuer", answer);
        seeds::each("output", output);
    }
}
