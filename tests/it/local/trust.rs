//! `trust` governs a name, and what was judged is what is loaded and run.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::process::Command;

use crate::harness::client::{Finished, finish};
use crate::harness::valetkey::{Home, Running, Valetkey, program};
use crate::harness::{not_run, until};

/// A project, and a program outside of it that leaves a mark when it is run.
struct Project {
    home: Home,
    dir: PathBuf,
}

impl Project {
    fn new() -> Self {
        let home = Valetkey::new().written();
        let dir = home.path("project");
        std::fs::create_dir(&dir).unwrap();
        script(&home.path("mark.sh"), &format!("touch {}", home.path("mark").display()));
        let project = Self { home, dir };
        std::fs::write(project.config(), project.good()).unwrap();
        project
    }

    fn config(&self) -> PathBuf {
        self.dir.join("valetkey.toml")
    }

    fn good(&self) -> String {
        "config_version = 1\n[proxy]\nlisten = \"127.0.0.1:0\"\n".to_owned()
    }

    /// A session whose secret a program prints: it is run at once where this is loaded.
    fn running(&self, program: &Path) -> String {
        format!(
            "{}[[sessions]]\nname = \"x\"\nsecret = {{ exec = {{ command = [{:?}] }} }}\n",
            self.good(),
            program.display().to_string()
        )
    }

    fn evil(&self) -> String {
        self.running(&self.home.path("mark.sh"))
    }

    fn was_run(&self) -> bool {
        self.home.path("mark").exists()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.bare_command(arguments);
        command.current_dir(&self.dir);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments)).await
    }

    async fn trust(&self) {
        // By the name that it is served by, wherever that leads.
        let config = self.config().display().to_string();
        let done = self.run(&["trust", &config]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }

    async fn serving(&self) -> Running {
        let mut running = self.home.spawn(self.command(&["serve"]));
        running.listening().await;
        running
    }

    fn refusals(&self) -> usize {
        let refused = |record: &&serde_json::Value| {
            record["event"] == "config" && record["context"]["action"] == "refused"
        };
        let audit = self.home.audit();
        let codes: Vec<_> = audit.iter().filter(refused).map(|record| &record["code"]).collect();
        assert!(codes.iter().all(|code| *code == "config-untrusted"), "{codes:?}");
        codes.len()
    }

    async fn refused_more_than(&self, before: usize) {
        until("a config that is refused", || self.refusals() > before).await;
    }

    async fn runs(&self) {
        until("the program to be run", || self.was_run()).await;
    }
}

fn script(path: &Path, line: &str) {
    std::fs::write(path, lines(line)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn lines(line: &str) -> String {
    format!("#!/bin/sh\n{line}\necho 0123456789abcdef0123456789\n")
}

type Way<'a> = (&'a str, &'a dyn Fn(&Project));

/// Whatever the name leads to after a pull: the running daemon does not take it up.
#[tokio::test]
async fn a_name_that_leads_elsewhere_is_not_trusted() {
    let elsewhere = |project: &Project| {
        let dir = project.home.path("elsewhere");
        let _ = std::fs::create_dir(&dir);
        std::fs::write(dir.join("valetkey.toml"), project.evil()).unwrap();
        dir
    };
    let ways: [Way<'_>; 5] = [
        ("edited", &|project| std::fs::write(project.config(), project.evil()).unwrap()),
        ("a link", &|project| {
            let dir = elsewhere(project);
            std::fs::remove_file(project.config()).unwrap();
            symlink(dir.join("valetkey.toml"), project.config()).unwrap();
        }),
        ("another name for a file outside", &|project| {
            let dir = elsewhere(project);
            std::fs::remove_file(project.config()).unwrap();
            std::fs::hard_link(dir.join("valetkey.toml"), project.config()).unwrap();
        }),
        ("its directory is a link", &|project| {
            let dir = elsewhere(project);
            std::fs::rename(&project.dir, project.home.path("moved")).unwrap();
            symlink(dir, &project.dir).unwrap();
        }),
        ("the same text elsewhere", &|project| {
            // Relative paths would count from there.
            let dir = elsewhere(project);
            std::fs::copy(project.config(), dir.join("valetkey.toml")).unwrap();
            std::fs::remove_file(project.config()).unwrap();
            symlink(dir.join("valetkey.toml"), project.config()).unwrap();
        }),
    ];
    for (way, change) in ways {
        let project = Project::new();
        project.trust().await;
        let running = project.serving().await;
        change(&project);
        running.sighup();
        project.refused_more_than(0).await;
        assert!(!project.was_run(), "{way}");
        // Nor is it used by a new command, or a new daemon.
        for command in ["check", "serve"] {
            let done = project.run(&[command]).await;
            assert!(
                done.code == Some(2) && done.stderr.contains("config-untrusted"),
                "{way}: {done:?}"
            );
        }
        assert!(!project.was_run(), "{way}");
        // Control: once trusted, it is taken up by itself.
        if way != "the same text elsewhere" {
            project.trust().await;
            project.runs().await;
        }
    }
}

/// What lies in the project and is run or believed is held as it was trusted.
#[tokio::test]
async fn what_a_trusted_config_refers_to_is_held() {
    let project = Project::new();
    std::fs::create_dir(project.dir.join(".git")).unwrap();
    let helper = project.dir.join("tools/mint.sh");
    std::fs::create_dir(project.dir.join("tools")).unwrap();
    script(&helper, "true");
    std::fs::write(project.config(), project.running(&helper)).unwrap();
    let shown = project.run(&["trust"]).await;
    let named = helper.display().to_string();
    assert!(shown.stderr.contains(&format!("runs {named}")), "{shown:?}");
    let running = project.serving().await;

    // A pull brings another helper: neither the running daemon nor the next one runs it.
    script(&helper, &format!("touch {}", project.home.path("mark").display()));
    project.refused_more_than(0).await;
    let done = project.run(&["check"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("mint.sh changed"), "{done:?}");
    // What runs goes on with what was trusted, also where it runs the helper once more.
    let copied = std::fs::read_dir(project.home.state.join("held")).unwrap().count();
    assert_eq!(copied, 1);
    assert!(!project.was_run());
    drop(running);
    let done = project.run(&["serve"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("config-untrusted"), "{done:?}");
    assert!(!project.was_run());

    let shown = project.run(&["trust"]).await;
    assert!(shown.stderr.contains(&format!("! {named}")), "{shown:?}");
    let _running = project.serving().await;
    project.runs().await;
    // Of what was trusted before, nothing is kept.
    assert_eq!(std::fs::read_dir(project.home.state.join("held")).unwrap().count(), 1);
}

/// A helper beside a trusted config is held, but not where others can put another there before it is.
#[tokio::test]
async fn a_helper_that_others_may_replace_is_not_trusted() {
    let project = Project::new();
    let helper = project.dir.join("mint.sh");
    script(&helper, "true");
    std::fs::write(project.config(), project.running(&helper)).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&project.dir, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o755);
    project.trust().await;
    assert_eq!(project.run(&["check"]).await.code, Some(0), "control");
    mode(0o777);
    for arguments in [&["trust"][..], &["run", "--", "true"], &["serve"]] {
        let done = project.run(arguments).await;
        assert!(done.code != Some(0), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("place-exposed"), "{arguments:?}: {done:?}");
    }
}

/// A key that the project holds is sent as it was trusted, whatever is put in its place: that is said.
#[tokio::test]
async fn a_rotated_key_of_a_project_is_to_be_trusted() {
    let project = Project::new();
    std::fs::write(project.dir.join("c.key"), "sk-0123456789abcdef").unwrap();
    let credential = "[credentials.c]\ngrant = \"static-key\"\nsecret = { file = \"c.key\" }\n\
                      [[routes]]\nname = \"r\"\nhost = \"a.example\"\ncredential = \"c\"\n";
    std::fs::write(project.config(), format!("{}{credential}", project.good())).unwrap();
    project.trust().await;
    let rotate = project.command(&["credential", "rotate", "c"]);
    let mut sh = Command::new("sh");
    sh.args(["-c", "printf sk-fedcba9876543210 | \"$0\" credential rotate c"]).arg(program());
    sh.env_clear().current_dir(&project.dir);
    sh.envs(rotate.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = finish(&mut sh).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("valetkey trust"), "{done:?}");
}

/// What a person cannot read is not trusted, and costs him no time.
#[tokio::test]
async fn a_config_of_any_size_is_not_trusted() {
    let project = Project::new();
    let many: String = (0..100_000).map(|n| format!("# {n}\nk{n} = 1\n")).collect();
    std::fs::write(project.config(), many).unwrap();
    let done = project.run(&["trust"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("larger than 1048576"), "{done:?}");
}

/// What no word of a config tells: a helper that finds its way into the project reads and runs nothing there.
#[tokio::test]
async fn a_helper_is_kept_out_of_the_project() {
    if !valetkey::local::fence::is_kept() {
        return not_run("this kernel has no Landlock");
    }
    let ways: [&[&str]; 9] = [
        &["/usr/bin/env", "-C", "HOME", "project/mint.sh"],
        &["/usr/bin/env", "-C", "HOME", "sh", "project/mint.sh"],
        &["/usr/bin/env", "-SHOME/./project/mint.sh"],
        &["/usr/bin/env", "-C", "HOME", "-S", "sh project/mint.sh"],
        &["/usr/bin/find", "HOME", "-name", "mint.sh", "-exec", "{}", ";"],
        &["/usr/bin/awk", "BEGIN{system(\"HOME/\" \"project/mint.sh\")}"],
        &["/usr/bin/flock", "HOME/lock", "-c", "cd HOME; project/mint.sh"],
        &["/usr/bin/sed", "1e cd HOME; project/mint.sh", "/etc/passwd"],
        &["HOME/outer.sh"],
    ];
    let (mut reached, mut refused) = (0, 0);
    for way in ways {
        let project = Project::new();
        let home = project.home.path("").canonicalize().unwrap();
        let home = home.display().to_string();
        let home = home.trim_end_matches('/');
        let words: Vec<_> = way.iter().map(|word| word.replace("HOME", home)).collect();
        script(&project.home.path("outer.sh"), &format!(". {home}/project/mint.sh"));
        let mint = project.dir.join("mint.sh");
        let evil = format!("touch {}", project.home.path("mark").display());
        let exec = format!("secret = {{ exec = {{ command = {words:?} }} }}");
        let text = format!("{}[[sessions]]\nname = \"x\"\n{exec}\n", project.good());
        std::fs::write(project.config(), text).unwrap();
        // Control: on the word of whoever names it, and never trusted, it is a way in.
        script(&mint, &evil);
        let state = project.home.path("state-control");
        let config = project.config().display().to_string();
        let mut control = project.command(&["run", "--config", &config, "--", "true"]);
        finish(control.env("VALETKEY_STATE_DIR", &state)).await;
        end_daemons(&state).await;
        reached += usize::from(project.was_run());
        let _ = std::fs::remove_file(project.home.path("mark"));
        // What was trusted, and a pull.
        script(&mint, "true");
        let done = project.run(&["trust"]).await;
        if done.code == Some(2) && done.stderr.contains("helper-unheld") {
            refused += 1;
            continue;
        }
        assert_eq!(done.code, Some(0), "{way:?}: {done:?}");
        script(&mint, &evil);
        let done = project.run(&["run", "--", "true"]).await;
        end_daemons(&project.home.state).await;
        assert!(!project.was_run(), "{way:?}: {done:?}");
    }
    println!("{reached} ways in, {refused} of them refused");
    assert!(reached >= 5 && refused <= 2, "{reached} {refused}");
}

/// Neither does a `PATH` lead there, nor the first line of what is held.
#[tokio::test]
async fn no_interpreter_is_found_in_the_project() {
    let project = Project::new();
    let (bin, tool) = (project.dir.join("bin"), project.dir.join("tool.sh"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(&tool, "#!/usr/bin/env sh\necho 0123456789abcdef0123456789\n").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(project.config(), project.running(&tool)).unwrap();
    project.trust().await;
    script(&bin.join("sh"), &format!("touch {}", project.home.path("mark").display()));
    let mut run = project.command(&["run", "--", "true"]);
    let path = std::env::var("PATH").unwrap();
    let done = finish(run.env("PATH", format!("{}:{path}", bin.display()))).await;
    end_daemons(&project.home.state).await;
    assert!(done.code == Some(0) && !project.was_run(), "{done:?}");
    for line in ["/bin/sh", "/usr/bin/env -S sh"] {
        let lib = project.dir.join("lib.sh");
        std::fs::write(&tool, format!("#!{line} {}\n", lib.display())).unwrap();
        let done = project.run(&["trust"]).await;
        assert!(done.code == Some(2) && done.stderr.contains("helper-unheld"), "{line}: {done:?}");
    }
}

/// What is new is marked and comes last, and what would not load is not trusted.
#[tokio::test]
async fn what_is_new_is_the_last_that_is_shown() {
    let project = Project::new();
    let credential = "[credentials.a]\ngrant = \"client-credentials\"\ntoken_url = \"https://token.example/t\"\nclient_id = \"x\"\nclient_secret = { env = \"K\" }\n";
    let text = format!("{}{credential}", project.good());
    std::fs::write(project.config(), &text).unwrap();
    let shown = project.run(&["trust"]).await;
    let top = project.dir.canonicalize().unwrap();
    assert!(shown.stderr.contains(&format!("project: {}", top.display())), "{shown:?}");
    let many: String = (0..200).map(|n| format!("# {n}\n")).collect();
    let evil = "revocation_url = \"https://evil.example/r\"\n";
    std::fs::write(project.config(), format!("{many}{text}{evil}")).unwrap();
    let shown = project.run(&["trust"]).await;
    let at = shown.stderr.find("\n  NEW  ").expect("marked");
    assert!(shown.stderr[at..].contains("https://evil.example/r"), "{shown:?}");
    assert!(shown.stderr[at..].lines().count() <= 4, "{shown:?}");
    let route = "[[routes]]\nname = \"r\"\nhost = \"\u{430}pi.example\"\ncredential = \"a\"\n";
    std::fs::write(project.config(), format!("{text}{route}")).unwrap();
    let shown = project.run(&["trust"]).await;
    assert!(shown.code == Some(2) && !shown.stderr.contains("sends tokens"), "{shown:?}");
}

/// An argument that cannot be held is no way round.
#[tokio::test]
async fn a_helper_that_reaches_into_the_project_is_refused() {
    let project = Project::new();
    let inner = project.dir.join("x.sh");
    script(&inner, "true");
    let with = |arguments: &str| {
        let exec = format!("secret = {{ exec = {{ command = [\"/bin/sh\", {arguments}] }} }}");
        format!("{}[[sessions]]\nname = \"x\"\n{exec}\n", project.good())
    };
    std::fs::write(project.config(), with(&format!("\"-c\", \". {}\"", inner.display()))).unwrap();
    let done = project.run(&["trust"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("helper-unheld"), "{done:?}");
    // Control: the same file by an argument of its own is held, and a change of it is seen.
    std::fs::write(project.config(), with(&format!("{:?}", inner.display().to_string()))).unwrap();
    project.trust().await;
    assert_eq!(project.run(&["check"]).await.code, Some(0));
    script(&inner, &format!("touch {}", project.home.path("mark").display()));
    let done = project.run(&["check"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("x.sh changed"), "{done:?}");
}

/// A project's own config keeps what it writes to itself: no file of the user's, and no other config's.
#[tokio::test]
async fn a_project_writes_nothing_elsewhere() {
    let project = Project::new();
    for line in [
        "[audit]\npath = \"../../../.bash_login\"",
        "[audit]\npath = \"/tmp/audit.jsonl\"",
        "[logins]\ndir = \"../0123456789abcdef/logins\"",
        "[admin]\nsocket = \"/tmp/vk-admin.sock\"",
        "[ca]\npublish = \"out\"",
        "unix:out.sock",
    ] {
        let text = match line.starts_with("unix:") {
            true => project
                .good()
                .replace("127.0.0.1:0", &format!("unix:{}/out.sock", project.dir.display())),
            false => format!("{}{line}\n", project.good()),
        };
        std::fs::write(project.config(), text).unwrap();
        let done = project.run(&["trust"]).await;
        assert!(
            done.code == Some(2) && done.stderr.contains("output-elsewhere"),
            "{line}: {done:?}"
        );
    }
    std::fs::write(project.config(), format!("{}[audit]\npath = \"a/b.jsonl\"\n", project.good()))
        .unwrap();
    project.trust().await;
}

/// A secret in the project is the one that was trusted, and no other that its name leads to later.
#[tokio::test]
async fn a_secret_of_the_project_is_the_one_that_was_trusted() {
    let project = Project::new();
    let (key, other) = (project.dir.join("ci.key"), project.home.path("other.key"));
    std::fs::write(&key, "0123456789abcdef-in-the-project").unwrap();
    std::fs::write(&other, "0123456789abcdef-of-somebody-else").unwrap();
    let text =
        format!("{}[[sessions]]\nname = \"x\"\nsecret = {{ file = \"ci.key\" }}\n", project.good());
    std::fs::write(project.config(), text).unwrap();
    project.trust().await;
    assert_eq!(project.run(&["check"]).await.code, Some(0), "control");
    std::fs::remove_file(&key).unwrap();
    symlink(&other, &key).unwrap();
    let done = project.run(&["check"]).await;
    assert!(done.code == Some(2) && done.stderr.contains("ci.key changed"), "{done:?}");
}

/// How often a race is run: all of it where streams have their full size, too.
fn rounds() -> usize {
    if std::env::var_os("VALETKEY_TEST_LARGE").is_some() { 200 } else { 20 }
}

/// Puts the one and the other text in turns under the name, as fast as it goes, while `work` is done. One stays.
async fn while_swapping<T>(name: PathBuf, texts: [String; 2], work: impl Future<Output = T>) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let next = name.with_extension("next");
    let mode = std::fs::metadata(&name).unwrap().permissions();
    let swapper = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                for text in &texts {
                    std::fs::write(&next, text).unwrap();
                    std::fs::set_permissions(&next, mode.clone()).unwrap();
                    std::fs::rename(&next, &name).unwrap();
                }
            }
        }
    });
    let result = work.await;
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    result
}

/// Time of check, at the start: `run` judges one text, and the daemon that it starts loads that or none.
#[tokio::test]
async fn what_run_judged_is_what_the_daemon_loads() {
    let project = Project::new();
    project.trust().await;
    let mut started = 0;
    for round in 0..rounds() {
        let state = project.home.path(&format!("state-{round}"));
        let done = while_swapping(project.config(), [project.good(), project.evil()], async {
            let mut run = project.command(&["run", "--", "true"]);
            finish(run.env("VALETKEY_STATE_DIR", &state)).await
        })
        .await;
        assert!(!project.was_run(), "round {round}: {done:?}");
        let refused =
            ["config-untrusted", "config-changed"].iter().any(|c| done.stderr.contains(c));
        assert!(done.code == Some(0) || (done.code == Some(125) && refused), "{done:?}");
        started += usize::from(done.code == Some(0));
        end_daemons(&state).await;
    }
    println!("{started} of {} got a daemon", rounds());
    // Control: the same with the evil one trusted.
    std::fs::write(project.config(), project.evil()).unwrap();
    project.trust().await;
    let done = project.run(&["run", "--", "true"]).await;
    assert!(done.code == Some(0) && project.was_run(), "{done:?}");
    end_daemons(&project.home.state).await;
}

/// The same at a reload, however often it is asked for.
#[tokio::test]
async fn what_a_reload_judged_is_what_it_loads() {
    let project = Project::new();
    project.trust().await;
    let running = project.serving().await;
    while_swapping(project.config(), [project.good(), project.evil()], async {
        for _ in 0..rounds() {
            let before = running.stderr_text().len();
            running.sighup();
            running.says_more_than(before).await;
        }
    })
    .await;
    assert!(!project.was_run());
    std::fs::write(project.config(), project.evil()).unwrap();
    project.trust().await;
    running.sighup();
    project.runs().await;
}

/// The same of a helper, between the look at it and its use: what is run is what was trusted, or nothing.
#[tokio::test]
async fn what_was_held_is_what_is_run() {
    let project = Project::new();
    let helper = project.dir.join("mint.sh");
    let (good, mark) = (project.home.path("good"), project.home.path("mark"));
    let texts = [&good, &mark].map(|file| lines(&format!("touch {}", file.display())));
    script(&helper, &format!("touch {}", good.display()));
    std::fs::write(project.config(), project.running(&helper)).unwrap();
    project.trust().await;
    let mut started = 0;
    for round in 0..rounds() {
        let state = project.home.path(&format!("state-{round}"));
        let done = while_swapping(helper.clone(), texts.clone(), async {
            let mut run = project.command(&["run", "--", "true"]);
            finish(run.env("VALETKEY_STATE_DIR", &state)).await
        })
        .await;
        assert!(!project.was_run(), "round {round}: {done:?}");
        assert!(
            done.code == Some(0) || (done.code == Some(125) && done.stderr.contains("config-")),
            "{done:?}"
        );
        started += usize::from(done.code == Some(0));
        end_daemons(&state).await;
    }
    println!("{started} of {} got a daemon", rounds());
    assert!(started == 0 || good.exists());
    // Control: the other one is run once it is trusted.
    std::fs::write(&helper, &texts[1]).unwrap();
    project.trust().await;
    let done = project.run(&["run", "--", "true"]).await;
    assert!(done.code == Some(0) && project.was_run(), "{done:?}");
    end_daemons(&project.home.state).await;
}

/// A daemon that `run` started and left: ended by the socket's owner, as `ss` would name it.
async fn end_daemons(state: &Path) {
    let wanted = format!("VALETKEY_STATE_DIR={}", state.display());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|b| *b == 0).any(|variable| variable == wanted.as_bytes()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A mount over the project changes what its names lead to without touching a file.
#[tokio::test]
async fn a_mount_over_the_project_is_a_change_like_any_other() {
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can mount");
    }
    let project = Project::new();
    project.trust().await;
    let other = project.home.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("valetkey.toml"), project.evil()).unwrap();
    let line = format!(
        "mount --bind {} {dir}; (cd {dir}; \"$0\" check; echo $?); umount {dir}; cd {dir}; \"$0\" check; echo $?",
        other.display(),
        dir = project.dir.display()
    );
    let check = project.command(&["check"]);
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "--", "sh", "-c", &line]).arg(program()).env_clear();
    apart.envs(check.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = finish(apart.current_dir("/")).await;
    assert!(done.stderr.contains("config-untrusted"), "{done:?}");
    assert!(done.stdout.starts_with("2\n") && done.stdout.ends_with("\n0\n"), "{done:?}");
    assert!(!project.was_run());
}
