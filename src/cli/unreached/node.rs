//! Whether a program is run by a Node that ignores proxy variables, as far as that shows without
//! running it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::super::command_line::name_of;
use super::{Surroundings, beginning};

/// What reads `NODE_USE_ENV_PROXY`, which `run` sets: from 24 on, and of the 22 line from 22.21 on.
fn reads_proxies(major: u32, minor: u32) -> bool {
    major >= 24 || (major == 22 && minor >= 21)
}

/// For people: the Node that runs this program, where it is too old or of an age that cannot be
/// told.
pub(super) fn too_old(program: &str, around: &Surroundings<'_>) -> Option<String> {
    let file = around.program(program)?;
    let node = if name_of(program) == "node" { file } else { interpreter(&file, around)? };
    match version(&node) {
        Some((major, minor)) if reads_proxies(major, minor) => None,
        Some((major, minor)) => Some(format!("Node {major}.{minor}")),
        None => Some("this is a program of Node, and a Node before 24".to_owned()),
    }
}

/// The Node of a script's first line.
fn interpreter(script: &Path, around: &Surroundings<'_>) -> Option<PathBuf> {
    let first = beginning(script, 256)?;
    let line = first.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace().filter(|word| !word.starts_with('-'));
    let found = words.next()?;
    let found = if name_of(found) == "env" { words.next()? } else { found };
    if name_of(found) == "node" { around.program(found) } else { None }
}

/// By the header that lies beside it, else by the name of a directory above, as version managers
/// have it.
fn version(node: &Path) -> Option<(u32, u32)> {
    let real = std::fs::canonicalize(node).ok()?;
    let header = real.parent()?.parent()?.join("include/node/node_version.h");
    let of_header = || {
        let text = beginning(&header, 64 * 1024)?;
        let text = String::from_utf8_lossy(&text);
        let number = |name: &str| {
            text.lines().find_map(|line| {
                line.strip_prefix("#define ")?.trim_start().strip_prefix(name)?.trim().parse().ok()
            })
        };
        Some((number("NODE_MAJOR_VERSION")?, number("NODE_MINOR_VERSION")?))
    };
    of_header().or_else(|| real.iter().filter_map(OsStr::to_str).find_map(of_directory))
}

/// `v20.11.1`, `node-v20.11.1-linux-x64`, `20.11.1`
fn of_directory(name: &str) -> Option<(u32, u32)> {
    let name = name.strip_prefix("node-").unwrap_or(name);
    let mut numbers = name.strip_prefix('v').unwrap_or(name).splitn(3, '.');
    let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    numbers.next().map(|_| (major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_from_names() {
        for name in ["v20.11.1", "node-v20.11.1-linux-x64", "20.11.1"] {
            assert_eq!(of_directory(name), Some((20, 11)), "{name}");
        }
        for name in ["bin", "v20", "node-20", "versions", "2.x.1"] {
            assert_eq!(of_directory(name), None, "{name}");
        }
        assert!(reads_proxies(24, 0) && reads_proxies(22, 21));
        assert!(!reads_proxies(22, 20) && !reads_proxies(23, 9) && !reads_proxies(20, 20));
    }
}
