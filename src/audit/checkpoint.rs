//! [`Checkpoint`]: a line that names one record, to be kept where nobody who can write the audit
//! can write. It answers for that record and all before it, the key and the head notwithstanding.

use std::fmt;
use std::str::FromStr;

use super::chain::{Hash, Link};

/// One record, by its number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint(pub(crate) Link);

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD} {} {}", self.0.seq, self.0.hash.hex())
    }
}

/// The text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint")]
pub struct NoCheckpoint;

impl FromStr for Checkpoint {
    type Err = NoCheckpoint;

    fn from_str(text: &str) -> Result<Self, NoCheckpoint> {
        let mut words = text.split_ascii_whitespace();
        let (Some(WORD), Some(seq), Some(hash), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NoCheckpoint);
        };
        let seq = seq.parse().map_err(|_| NoCheckpoint)?;
        let hash = Hash::parse(hash.as_bytes()).ok_or(NoCheckpoint)?;
        Ok(Self(Link { seq, hash }))
    }
}

const WORD: &str = "valetkey-audit-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let line = format!("{WORD} 12 {}", "0f".repeat(32));
        let checkpoint: Checkpoint = line.parse().unwrap();
        assert_eq!(checkpoint.to_string(), line);
        for bad in ["", "12", &line[1..], &line[..line.len() - 1], &format!("{line} more")] {
            assert_eq!(bad.parse::<Checkpoint>(), Err(NoCheckpoint), "{bad}");
        }
    }
}
