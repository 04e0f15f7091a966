//! What a start can find wrong with a trail, in words for whoever reads the log.

/// Something about the trail that a person should hear of. It never stops the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable kebab-case word, also the `code` of the record that notes it.
    pub code: &'static str,
    /// What was found, in lower case without a final stop.
    pub message: String,
    pub hint: &'static str,
}

impl Finding {
    /// Lines that are not what was written.
    pub(super) fn damaged() -> Self {
        Self {
            code: "audit-damaged",
            message: "the end of the audit holds lines that are not what was written".into(),
            hint: "`valetkey audit verify` names them; find out who can write to the state directory",
        }
    }

    /// Whatever says where the trail ends is gone, or is none of ours.
    pub(super) fn no_head(code: &'static str, message: &str) -> Self {
        Self {
            code,
            message: message.into(),
            hint: "records at its end may be missing without a trace; find out who removed or changed the head or its key",
        }
    }

    /// The file ends at `last`, and our key has signed `head`.
    pub(super) fn missing(last: u64, head: u64) -> Self {
        Self {
            code: "audit-tail-missing",
            message: format!(
                "records are missing at the end of the audit: the file ends at {last}, and there was a record {head}"
            ),
            hint: "the chain goes on behind the gap and `valetkey audit verify` will always show it; look for a backup of the file",
        }
    }

    /// Another record stands where one was signed.
    pub(super) fn rewritten(seq: u64) -> Self {
        Self {
            code: "audit-rewritten",
            message: format!(
                "the audit was rewritten: record {seq} is not the one that was signed"
            ),
            hint: "`valetkey audit verify` will always show it; look for a backup of the file",
        }
    }
}
