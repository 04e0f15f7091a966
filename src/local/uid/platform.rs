//! Linux: uids that stand for nobody, and groups in which somebody else is.

use std::fs;

/// All uids there are but the one that is none (uid_t is 32 bits wide).
const ALL: u64 = u32::MAX as u64;
/// Where the kernel does not say otherwise.
const USUAL: u32 = 65_534;

/// The overflow uid, unless this user namespace knows every user. Where that cannot be read: on
/// doubt, yes.
pub(super) fn overflow_uid() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if knows_all(&map) {
        return None;
    }
    let said = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    Some(said.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL))
}

/// `uid_map` has lines of three numbers: first uid here, first uid outside, how many.
fn knows_all(map: &str) -> bool {
    let length = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(length).sum::<u64>() >= ALL
}

/// Whether anybody but `owner` and root may be in a group. A directory service can put people into
/// any group and the files do not say so, so only two are not shared: root's, and the one that was
/// made for the owner alone.
pub(super) fn is_shared(gid: u32, owner: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    shared_in(&read("/etc/group"), &read("/etc/passwd"), gid, owner)
}

fn shared_in(groups: &str, users: &str, gid: u32, owner: u32) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    // passwd(5): name, password, uid, gid, …
    let users: Vec<(&str, Option<u32>, Option<u32>)> = users
        .lines()
        .map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            (name, number(fields.nth(1)), number(fields.next()))
        })
        .collect();
    let harmless = |uid: Option<u32>| uid == Some(owner) || uid == Some(0);
    let uid_of = |name: &str| users.iter().find(|(known, ..)| *known == name).and_then(|u| u.1);
    // group(5): name, password, gid, members.
    let Some(group) = groups.lines().find(|line| number(line.split(':').nth(2)) == Some(gid))
    else {
        return true;
    };
    let name = group.split(':').next().unwrap_or_default();
    let private = |(user, uid, primary): &(&str, Option<u32>, Option<u32>)| {
        *uid == Some(owner) && *primary == Some(gid) && (*user == name || gid == owner)
    };
    let mut members = group.split(':').nth(3).unwrap_or_default().split(',');
    (gid != 0 && !users.iter().any(private))
        || members.any(|name| !name.is_empty() && !harmless(uid_of(name)))
        || users.iter().any(|(_, uid, primary)| *primary == Some(gid) && !harmless(*uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_knows_some_users_has_a_nobody() {
        assert!(knows_all("         0          0 4294967295\n"));
        assert!(knows_all("0 0 65536\n65536 65536 4294901759\n"));
        for partial in ["         0       1000          1\n", "0 100000 65536\n", ""] {
            assert!(!knows_all(partial), "{partial}");
        }
    }

    #[test]
    fn a_group_of_ones_own_is_not_shared() {
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/h:/b\nbob:x:1001:1001::/h:/b\neve:x:1002:100::/h:/b\nkim:x:1003:700::/h:/b\n";
        let groups = "root:x:0:\nusers:x:100:\nstaff:x:50:\nann:x:1000:\ndev:x:2000:ann\nall:x:2001:ann,bob\nbob:x:1001:gone\nkim:x:700:kim\n";
        let shared = |gid| shared_in(groups, users, gid, 1000);
        assert!(!shared(0) && !shared(1000));
        assert!(!shared_in(groups, users, 700, 1003), "of his name");
        assert!(shared(50) && shared(2000), "a directory service may know more members");
        assert!(shared_in(groups, users, 100, 1002), "primary, and not his own");
        assert!(shared_in(groups, users, 50, 0), "root owns it, and others may be in it");
        assert!(shared(2001), "bob is in it");
        assert!(shared(1001), "bob's own, and of one whom nobody knows");
        assert!(shared(4242), "the files do not know it");
    }
}
