//! A command under `run` has failed, and nothing of it came to the daemon: one line that says the
//! likely reason.
//!
//! Whether anything came the daemon counts; why not is guessed from the command line and from
//! files, and no program is run to find out. Where anything is unclear nothing is said, and the
//! command's exit code is never touched.

mod node;
mod settings;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::command_line::{MAX_WORDS, name_of, programs, urls};
use super::session::ToolSession;
use super::{no_proxy, printer};
use crate::admin::wire::CountedSession;
use crate::config::env;
use crate::local::place;

/// How long the daemon may take to say what came; it answers in a millisecond.
const COUNT_PATIENCE: Duration = Duration::from_secs(1);
/// How long its proxy may take to be connected to, on this machine.
const CONNECT: Duration = Duration::from_millis(500);

/// What gives its command another environment than its own.
const FORGETFUL: [&str; 5] = ["doas", "pkexec", "runuser", "su", "sudo"];
/// What runs its command on another machine, or in a network of its own.
const ELSEWHERE: [&str; 12] = [
    "bwrap",
    "buildah",
    "docker",
    "firejail",
    "flatpak",
    "lxc",
    "nerdctl",
    "nsenter",
    "podman",
    "ssh",
    "systemd-run",
    "unshare",
];

/// Says so, where nothing of the command came.
pub(super) async fn say(open: &mut ToolSession, command: &[OsString]) {
    match timeout(COUNT_PATIENCE, open.came()).await {
        Ok(Ok(CountedSession { admitted: 0, unnamed: 0, .. })) => {}
        // Something came; or the daemon is gone, or of another version, and nobody knows.
        _ => return,
    }
    let reason = match address(&open.proxy).await {
        Err(error) => format!("{} cannot be connected to from here: {error}", open.proxy),
        Ok(()) => {
            // As the command had it.
            let set = &open.environment.set;
            let variable = |name: &str| set.get(name).cloned().or_else(|| std::env::var_os(name));
            likely(command, &Surroundings::of(&variable))
        }
    };
    printer::remark(
        "nothing-came",
        &format!("no request of this command came to Valetkey: {reason}"),
    );
}

/// Whether the proxy can be connected to from where the command ran.
async fn address(proxy: &str) -> io::Result<()> {
    let address = proxy.strip_prefix("http://").and_then(|rest| rest.parse::<SocketAddr>().ok());
    let Some(address) = address else { return Ok(()) };
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Where a command ran.
struct Surroundings<'a> {
    home: Option<PathBuf>,
    here: PathBuf,
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Directories from `/` are looked for below it.
    root: PathBuf,
}

impl<'a> Surroundings<'a> {
    /// Ours, with these variables.
    fn of(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self {
            home: env::path("HOME"),
            here: std::env::current_dir().unwrap_or_default(),
            variable,
            root: PathBuf::from("/"),
        }
    }

    /// A variable that names a path; empty is none.
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The file that a program's name stands for.
    fn program(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        if name.contains('/') {
            return Some(self.here.join(path));
        }
        let all = (self.variable)("PATH")?;
        std::env::split_paths(&all).map(|dir| self.here.join(dir).join(path)).find(|p| p.is_file())
    }
}

/// The first reason that fits.
fn likely(command: &[OsString], around: &Surroundings<'_>) -> String {
    let programs = programs(command);
    let is_one = |name: &&&str| programs.iter().any(|program| name_of(program) == **name);
    if let Some(name) = FORGETFUL.iter().find(is_one) {
        return format!(
            "`{name}` gives its command an environment of its own, without HTTPS_PROXY"
        );
    }
    if let Some(name) = ELSEWHERE.iter().find(is_one) {
        return format!(
            "what `{name}` runs may have another network or environment, where the proxy of this machine's loopback is not"
        );
    }
    if let Some(said) = past_us(command, around) {
        return said;
    }
    if let Some(found) = settings::winning(&programs, around) {
        return found.to_string();
    }
    if let Some(version) = programs.iter().find_map(|program| node::too_old(program, around)) {
        return format!("{version} ignores HTTPS_PROXY, which Node reads from 24 on");
    }
    "it asked nobody, or reads no HTTPS_PROXY, or a setting of its own wins (`valetkey run -vv` prints each variable that \
     it was given; config/tools.md says what each tool reads)"
        .to_owned()
}

/// A URL of the command line that the variables lead past us: in the clear, or to a host of
/// `NO_PROXY`.
fn past_us(command: &[OsString], around: &Surroundings<'_>) -> Option<String> {
    let words: Vec<_> = command.iter().take(MAX_WORDS).map(|word| word.to_string_lossy()).collect();
    let urls: Vec<(&str, &str)> = words.iter().flat_map(|word| urls(word)).collect();
    let no_proxy = ["NO_PROXY", "no_proxy"].iter().find_map(|name| (around.variable)(name));
    let no_proxy = no_proxy.unwrap_or_default().to_string_lossy().into_owned();
    let entries = || no_proxy.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    let covered = |host: &str| entries().find(|entry| no_proxy::covers(entry, host));
    if let Some((host, entry)) = urls.iter().find_map(|(_, host)| Some((host, covered(host)?))) {
        return Some(format!("`{entry}` in NO_PROXY leads past every proxy to {host}"));
    }
    let plain = !urls.is_empty() && urls.iter().all(|(scheme, _)| *scheme == "http");
    plain.then(|| "its URL is plain http, which goes past Valetkey: use https".to_owned())
}

/// The beginning of a plain file, at most `most` bytes; `None` where it cannot be read at once.
fn beginning(path: &Path, most: u64) -> Option<Vec<u8>> {
    place::open(path).ok()?.read_up_to(most).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn reason(command: &str, files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let bin = dir.path().join("bin");
        let variable = |name: &str| match name {
            "PATH" => Some(bin.clone().into_os_string()),
            "NO_PROXY" => Some("localhost,127.0.0.1,::1,.corp.example".into()),
            _ => None,
        };
        let around = Surroundings {
            home: Some(dir.path().join("home")),
            here: dir.path().join("repo/deep"),
            variable: &variable,
            root: dir.path().join("root"),
        };
        likely(&line(command), &around).replace(&*dir.path().to_string_lossy(), "")
    }

    #[test]
    fn a_setting_that_wins_is_named_by_file_and_line() {
        let git =
            ("home/.gitconfig", "[user]\n\tname = x\n[http]\n\tproxy = http://u:secret@p:1\n");
        let said = reason("git fetch", &[git]);
        assert!(said.contains("/home/.gitconfig, line 4") && !said.contains("secret"), "{said}");
        assert!(reason("curl x", &[git]).contains("reads no HTTPS_PROXY"), "another's setting");
        // In a script as well, by its path too, and for one remote or URL.
        let remote = ("repo/.git/config", "[remote \"origin\"]\nproxy=\n");
        let said = reason("sh -c /usr/bin/git\\ fetch||true", &[remote]);
        assert!(said.contains("reads no"), "{said}");
        let said = reason("sh -c x;git fetch", &[remote]);
        assert!(said.contains("/repo/.git/config, line 2"), "{said}");
        for (command, file, text) in [
            ("curl x", "home/.curlrc", "# proxy = a\n-x corp:1\n"),
            ("curl x", "home/.curlrc", "\nnoproxy=\"*\"\n"),
            ("pip install x", "home/.config/pip/pip.conf", "[global]\nproxy = http://corp:1\n"),
            ("npm view x", "home/.npmrc", "x=1\nnoproxy=example.com\n"),
            (
                "kubectl get x",
                "home/.kube/config",
                "clusters:\n- cluster:\n    proxy-url: socks5://x\n",
            ),
            ("yarn add", "home/.yarnrc.yml", "a: b\nhttpsProxy: \"http://corp:1\"\n"),
            ("pip3 install x", "root/etc/pip.conf", "[install]\nproxy: corp\n"),
        ] {
            let said = reason(command, &[(file, text)]);
            let line = format!("line {}", text.lines().count());
            assert!(said.contains(&line), "{command}: {said}");
        }
        let other = ("home/.gitconfig", "[core]\nproxy = x\n;[http]\n#proxy = x\n");
        assert!(reason("git fetch", &[other]).contains("reads no"));
    }

    #[test]
    fn an_old_node_is_told_by_what_lies_beside_it() {
        let script = ("bin/tool", "#!/usr/bin/env node\nx\n");
        let header = "#define NODE_MAJOR_VERSION 20\n#define NODE_MINOR_VERSION 3\n";
        let node = ("bin/node", "");
        for (command, major, ignores) in [
            ("tool", 20, true),
            ("node x.js", 18, true),
            ("sh -c tool\tx", 22, true),
            ("tool", 24, false),
            ("node", 25, false),
        ] {
            let header = header.replace("20", &major.to_string());
            let said = reason(command, &[script, node, ("include/node/node_version.h", &header)]);
            assert_eq!(said.contains(&format!("Node {major}.3 ignores")), ignores, "{said}");
        }
        assert!(reason("tool", &[script, node]).contains("a Node before 24 ignores"));
        assert!(reason("tool", &[("bin/tool", "#!/bin/sh\n")]).contains("reads no"));
    }

    #[test]
    fn what_loses_the_environment_is_named() {
        assert!(reason("sudo curl x", &[]).starts_with("`sudo` gives"));
        assert!(reason("docker run x", &[]).contains("`docker` runs"));
        assert!(reason("false", &[]).contains("reads no HTTPS_PROXY"));
        assert!(reason("curl https://api.corp.example/x", &[]).starts_with("`.corp.example` in"));
        let said = reason("sh -c curl\u{a0}-s\u{a0}'http://u:p@api.example:80/x'", &[]);
        assert!(said.starts_with("its URL is plain http"), "{said}");
        assert!(reason("echo sudo", &[]).contains("reads no"), "a word is no program");
    }

    #[tokio::test]
    async fn an_address_is_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        address(&proxy).await.unwrap();
        drop(listener);
        address(&proxy).await.unwrap_err();
    }
}
