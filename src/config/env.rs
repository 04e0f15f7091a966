//! Environment variables that we read, in one place.

use std::path::PathBuf;

/// The config file, where `--config` is absent.
pub const CONFIG: &str = "VALETKEY_CONFIG";
/// The state directory, in place of the one derived from the config's path.
pub const STATE_DIR: &str = "VALETKEY_STATE_DIR";

/// `$NAME`, unless unset or empty.
pub fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// `$NAME` as text, unless unset, empty or not UTF-8.
pub fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// An XDG base directory (XDG Base Directory Specification): the variable where it is absolute,
/// else the default below `$HOME`, where that is: a relative one would be in whatever directory we are.
pub fn xdg(name: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
    absolute(name).or_else(|| Some(absolute("HOME")?.join(below_home)))
}

/// `$XDG_CONFIG_HOME/valetkey`.
pub fn config_home() -> Option<PathBuf> {
    Some(xdg("XDG_CONFIG_HOME", ".config")?.join("valetkey"))
}

/// `$XDG_STATE_HOME/valetkey`.
pub fn state_home() -> Option<PathBuf> {
    Some(xdg("XDG_STATE_HOME", ".local/state")?.join("valetkey"))
}
