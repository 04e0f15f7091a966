//! The tab key in a real bash: names that only the config or the daemon knows.

use crate::harness::client::finish;
use crate::harness::stage::Stage;
use crate::harness::valetkey::{Home, program};

/// What bash offers for the last of these words, one a line.
async fn tab(home: &Home, line: &str) -> Vec<String> {
    let valetkey = home.bare_command(&[]);
    let mut bash = tokio::process::Command::new("bash");
    bash.env_clear();
    bash.envs(valetkey.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let program = program();
    let bin = program.parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    bash.env("PATH", format!("{bin}:{path}")).env("VALETKEY_CONFIG", &home.config);
    bash.env("LINE", line).current_dir(home.path("")).args(["--norc", "--noprofile", "-c"]);
    // As readline splits it; the function is the one that `complete` was told.
    let script = r#"
        source <(valetkey completions bash)
        IFS=' ' read -r -a COMP_WORDS <<< "$LINE"
        [ "${LINE% }" = "$LINE" ] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$LINE COMP_POINT=${#LINE} COMPREPLY=()
        complete -p valetkey | grep -q -- '-F _valetkey_names' || exit 9
        _valetkey_names valetkey "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}""#;
    let done = finish(bash.arg(script)).await;
    assert!(done.code == Some(0) && done.stderr.is_empty(), "{line}: {done:?}");
    done.stdout.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn names_of_routes_credentials_and_sessions() {
    let stage = Stage::valetkey().await;
    let home = &stage.running().unwrap().home;
    let opened = home.run(&["session", "open", "--json"]).await;
    let opened: serde_json::Value = serde_json::from_str(&opened.stdout).unwrap();
    let session = opened["name"].as_str().unwrap();
    for (line, wanted) in [
        ("valetkey run --only ", &["billing", "orders"][..]),
        ("valetkey run --only o", &["orders"]),
        ("valetkey env --only orders --only b", &["billing"]),
        ("valetkey revoke --credential ", &["billing", "orders"]),
        ("valetkey session end o", &[session]),
        ("valetkey revoke --session ", &[session]),
        ("valetkey audit tail --route zzz", &[]),
        ("valetkey login ", &[]),
        // What clap knows.
        ("valetkey session l", &["list"]),
        ("valetkey placeholder gith", &["github"]),
    ] {
        assert_eq!(tab(home, line).await, wanted, "{line}");
    }
    // A config that is broken has no names, and says nothing; nor does one that is not trusted.
    home.rewrite(|text| text + "what = 1\n");
    for line in ["valetkey run --only ", "valetkey session end ", "valetkey revoke --credential o"]
    {
        assert_eq!(tab(home, line).await, [""; 0], "{line}");
    }
}
