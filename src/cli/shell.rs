//! Statements that a shell evaluates: every value quoted so that nothing in it is code. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::args::Shell;

impl Shell {
    /// By the `SHELL` variable; POSIX where it names none we know.
    pub(super) fn of_user(shell: Option<&OsStr>) -> Self {
        match shell.and_then(|s| Path::new(s).file_name()).and_then(OsStr::to_str) {
            Some("bash") => Self::Bash,
            Some("fish") => Self::Fish,
            Some("zsh") => Self::Zsh,
            _ => Self::Posix,
        }
    }

    /// A statement that exports `name`.
    pub(super) fn export(self, name: &str, value: &OsStr) -> Vec<u8> {
        let mut out = match self {
            Self::Fish => format!("set -gx {name} "),
            Self::Bash | Self::Posix | Self::Zsh => format!("export {name}="),
        }
        .into_bytes();
        self.quote(value.as_bytes(), &mut out);
        out.extend_from_slice(b";\n");
        out
    }

    /// A statement that removes `name`.
    pub(super) fn unset(self, name: &str) -> Vec<u8> {
        match self {
            // fish's `set -e` fails for a name that isn't set; that is no error here.
            Self::Fish => format!("set -e {name}; or true;\n"),
            Self::Bash | Self::Posix | Self::Zsh => format!("unset {name};\n"),
        }
        .into_bytes()
    }

    fn quote(self, value: &[u8], out: &mut Vec<u8>) {
        out.push(b'\'');
        for &byte in value {
            match (self, byte) {
                (Self::Fish, b'\'' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
                (_, b'\'') => out.extend_from_slice(br"'\''"),
                _ => out.push(byte),
            }
        }
        out.push(b'\'');
    }
}

/// Whether a shell takes it for a variable's name.
pub(super) fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(shell: Shell, value: &str) -> String {
        String::from_utf8(shell.export("V", OsStr::new(value))).unwrap()
    }

    #[test]
    fn quotes_for_posix() {
        assert_eq!(export(Shell::Bash, "a b"), "export V='a b';\n");
        assert_eq!(export(Shell::Zsh, "$(id)`id`\\"), "export V='$(id)`id`\\';\n");
        assert_eq!(export(Shell::Posix, "it's"), "export V='it'\\''s';\n");
    }

    #[test]
    fn quotes_for_fish() {
        assert_eq!(export(Shell::Fish, "it's \\ $x"), "set -gx V 'it\\'s \\\\ $x';\n");
    }

    #[test]
    fn a_real_shell_reads_back_what_was_quoted() {
        let value = "it's \"a\" $HOME `id` \\ \n *";
        let mut script = Shell::Posix.export("V", OsStr::new(value));
        script.extend_from_slice(b"printf %s \"$V\"");
        let script = String::from_utf8(script).unwrap();
        let out = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), value);
    }

    #[test]
    fn knows_shells_and_names() {
        assert_eq!(Shell::of_user(Some(OsStr::new("/usr/bin/fish"))), Shell::Fish);
        assert_eq!(Shell::of_user(Some(OsStr::new("/bin/dash"))), Shell::Posix);
        assert_eq!(Shell::of_user(None), Shell::Posix);
        assert!(is_name("A_1") && !is_name("1A") && !is_name("") && !is_name("a-b;id"));
    }
}
