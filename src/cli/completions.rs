//! `completions SHELL`: a completion script on stdout. Beside what clap knows, it asks this program
//! for names of routes, credentials and sessions, and for codes: `complete_names`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::{Cli, Completions};
use super::failure::Failure;
use super::printer;

pub(super) fn run(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "valetkey", &mut script);
    let script = String::from_utf8_lossy(&script);
    printer::bytes(with_names(args.shell, &script).as_bytes())
}

/// The script, with a question for names before its own answer. Shells that have no such question
/// keep their own.
fn with_names(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => format!("{script}{BASH}"),
        Shell::Fish => format!("{script}{FISH}"),
        // Loaded as a file of `fpath` it calls itself, evaluated it only says what it is for.
        Shell::Zsh => {
            let names = script
                .replace("    _valetkey \"$@\"\nelse", "    _valetkey_names \"$@\"\nelse")
                .replace("compdef _valetkey valetkey", "compdef _valetkey_names valetkey");
            match names.rfind("if [ \"$funcstack[1]\"") {
                Some(last) => format!("{}{ZSH}{}", &names[..last], &names[last..]),
                None => script.to_owned(),
            }
        }
        _ => script.to_owned(),
    }
}

const BASH: &str = r#"
_valetkey_names() {
    local names IFS=$'\n'
    local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    if names=$("$1" complete-names -- "${words[@]}" 2>/dev/null); then
        COMPREPLY=($names)
        # A file is none of these names.
        compopt +o bashdefault +o default 2>/dev/null
    else
        IFS=$' \t\n'
        _valetkey "$@"
    fi
}

complete -F _valetkey_names -o bashdefault -o default valetkey
"#;

const ZSH: &str = r#"_valetkey_names() {
    local found
    local -a names
    if found=$(valetkey complete-names -- "${(@)words[2,CURRENT]}" 2>/dev/null); then
        names=(${(f)found})
        (( ${#names} )) && compadd -a names
    else
        _valetkey "$@"
    fi
}

"#;

const FISH: &str = r#"
function __fish_valetkey_names
    set -l words (commandline -opc) (commandline -ct)
    valetkey complete-names -- $words[2..-1] 2>/dev/null
end
complete -c valetkey -f -a '(__fish_valetkey_names)'
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts that are put in are found in what the crate writes.
    #[test]
    fn each_script_asks_for_names() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "valetkey", &mut script);
            let script = with_names(shell, std::str::from_utf8(&script).unwrap());
            assert!(script.contains("complete-names --"), "{shell}");
        }
        let mut script = Vec::new();
        clap_complete::generate(Shell::Zsh, &mut Cli::command(), "valetkey", &mut script);
        let script = with_names(Shell::Zsh, std::str::from_utf8(&script).unwrap());
        let end = &script[script.rfind("if [").unwrap()..];
        assert!(
            !end.contains("_valetkey \"$@\"") && end.matches("_valetkey_names").count() == 2,
            "{end}"
        );
    }
}
