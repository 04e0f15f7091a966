//! Merging the user's `NO_PROXY` with ours: loopback is added, entries that would lead a tool
//! past the proxy to a routed host are dropped. Pure.

/// What every tool reaches without the proxy.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The merged list and what had to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// Entries in the user's order, then loopback.
    pub(super) entries: Vec<String>,
    /// Entries of the user that cover a routed host.
    pub(super) dropped: Vec<String>,
}

impl Merged {
    pub(super) fn value(&self) -> String {
        self.entries.join(",")
    }
}

/// Merges the user's lists (`NO_PROXY` and `no_proxy` may both be set and differ). `routed` are
/// host patterns of routes: exact names or with a leading `*.` label.
pub(super) fn merge<'a>(users: impl IntoIterator<Item = &'a str>, routed: &[String]) -> Merged {
    let mut merged = Merged { entries: Vec::new(), dropped: Vec::new() };
    for list in users {
        // curl and git split at commas and blanks, the rest at commas.
        for entry in list.split([',', ' ', '\t']).filter(|e| !e.is_empty()) {
            let covers = routed.iter().any(|host| covers(entry, host));
            let to = if covers { &mut merged.dropped } else { &mut merged.entries };
            if !to.iter().any(|e| e == entry) {
                to.push(entry.to_owned());
            }
        }
    }
    for ours in LOOPBACK {
        if !merged.entries.iter().any(|e| e == ours) {
            merged.entries.push(ours.to_owned());
        }
    }
    merged
}

/// Whether some tool would take `entry` to mean `routed`, or a name that the wildcard `routed`
/// holds. Tools disagree (a bare `example.com` means its subdomains too for most, for a few it
/// doesn't), so the widest reading counts.
pub(super) fn covers(entry: &str, routed: &str) -> bool {
    if entry == "*" {
        return true;
    }
    let entry = entry.to_ascii_lowercase();
    // A port narrows the entry; `[::1]` and other literals are never routed.
    let entry = entry.rsplit_once(':').map_or(entry.as_str(), |(host, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) { host } else { &entry }
    });
    let suffix = entry.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
    if suffix.is_empty() {
        return false;
    }
    let below = |name: &str, parent: &str| {
        name == parent || name.strip_suffix(parent).is_some_and(|head| head.ends_with('.'))
    };
    match routed.strip_prefix("*.") {
        // `a.x.example` in the list leads one name of `*.x.example` past us.
        Some(parent) => below(parent, suffix) || below(suffix, parent),
        None => below(routed, suffix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(users: &str) -> (String, String) {
        let routed = ["api.orders.example".to_owned(), "*.git.example".to_owned()];
        let merged = merge([users], &routed);
        (merged.value(), merged.dropped.join(","))
    }

    #[test]
    fn keeps_the_users_and_adds_loopback() {
        let (kept, dropped) = merged("10.0.0.0/8, .corp.example,localhost");
        assert_eq!(kept, "10.0.0.0/8,.corp.example,localhost,127.0.0.1,::1");
        assert_eq!(dropped, "");
        assert_eq!(merged("").0, "localhost,127.0.0.1,::1");
    }

    #[test]
    fn drops_what_covers_a_routed_host() {
        for entry in [
            "*",
            "api.orders.example",
            "API.orders.example",
            "orders.example",
            ".orders.example",
            "*.orders.example",
            "example",
            "api.orders.example:443",
            "git.example",
            "one.git.example",
            ".git.example",
            "*.example",
        ] {
            assert_eq!(merged(entry).1, entry, "{entry}");
        }
    }

    #[test]
    fn leaves_what_does_not() {
        for entry in ["ders.example", "my.api.orders.example", "rders.example", "a.example", "::1"]
        {
            assert_eq!(merged(entry).1, "", "{entry}");
        }
    }

    #[test]
    fn both_spellings_are_joined() {
        let merged = merge(["a.test,b.test", "b.test,c.test"], &[]);
        assert_eq!(merged.value(), "a.test,b.test,c.test,localhost,127.0.0.1,::1");
    }
}
