//! What the words of a command line tell of what it does. Pure, and a guess: it decides what is
//! said and asked, never what is allowed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What begins another command, so that its own words say more.
const WRAPPERS: [&str; 16] = [
    "bash", "command", "dash", "env", "exec", "fish", "ksh", "nice", "nohup", "sh", "stdbuf",
    "time", "timeout", "uv", "xargs", "zsh",
];
/// What a command line runs, as far as its words tell: the program, and what a shell or a wrapper
/// is given.
pub(super) fn programs(command: &[OsString]) -> Vec<String> {
    let mut words = command.iter().map(|word| word.to_string_lossy().into_owned());
    let Some(first) = words.next() else { return Vec::new() };
    let wraps = WRAPPERS.contains(&name_of(&first));
    let mut all = vec![first];
    if wraps {
        let breaks = |c: char| c.is_whitespace() || ";|&()$`\"'<>{}".contains(c);
        let mut seen = BTreeSet::new();
        for word in words.take(MAX_WORDS) {
            let inner =
                word.split(breaks).filter(|word| !word.is_empty() && !word.starts_with('-'));
            let new = inner.filter(|word| seen.insert((*word).to_owned())).map(str::to_owned);
            all.extend(new.take(MAX_WORDS));
        }
    }
    all
}

/// Of a command line that is longer the rest is not looked at.
pub(super) const MAX_WORDS: usize = 256;

/// Without its directory.
pub(super) fn name_of(program: &str) -> &str {
    Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or(program)
}

/// Scheme and host of each http(s) URL in a word.
pub(super) fn urls(word: &str) -> Vec<(&str, &str)> {
    let found = word.match_indices("://").filter_map(|(at, _)| {
        let scheme = ["https", "http"].into_iter().find(|scheme| word[..at].ends_with(scheme))?;
        let end = |c: char| "/?#\"'`;|&)>,".contains(c) || c.is_whitespace();
        let authority = word[at + 3..].split(end).next()?;
        let host = authority.rsplit('@').next()?;
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        (!host.is_empty()).then_some((scheme, host))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_and_wrappers_are_looked_into() {
        let of = |line: &[&str]| programs(&line.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["/usr/bin/gh", "pr", "list"]), ["/usr/bin/gh"]);
        assert_eq!(of(&["sh", "-c", "gh pr|/bin/jq ."]), ["sh", "gh", "pr", "/bin/jq", "."]);
        assert_eq!(of(&["env", "A=1", "gh"]), ["env", "A=1", "gh"]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn finds_urls() {
        let text = "curl 'https://u:p@a.example:8443/x' http://b.example; ftp://c";
        assert_eq!(urls(text), [("https", "a.example"), ("http", "b.example")]);
        assert!(urls("://x https://").is_empty());
    }
}
