//! A git server: `git http-backend` behind the harness's API, open to whoever holds a good token.
//!
//! It wants Basic with `x-access-token` as the user and the minted token as the password, as the
//! large hosts do, and asks for it (401) otherwise.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::provider::{Claims, Verifier};
use crate::harness::api::{Answer, Seen};

/// What its tokens are for.
pub const AUDIENCE: &str = "https://git.example";

/// A folder of bare repositories.
pub struct GitPeer {
    pub root: PathBuf,
    pub verifier: Verifier,
}

impl GitPeer {
    /// Makes `NAME` under the root, bare, with one commit on `main`, open for pushes.
    pub fn repository(&self, name: &str) {
        let bare = self.root.join(name);
        let bare = bare.to_str().unwrap();
        git(&self.root, &["init", "--quiet", "--bare", "--initial-branch=main", bare]);
        git(&self.root, &["-C", bare, "config", "http.receivepack", "true"]);
        let tree = git(&self.root, &["-C", bare, "mktree"]);
        let commit = git(&self.root, &["-C", bare, "commit-tree", "-m", "first", tree.trim()]);
        git(&self.root, &["-C", bare, "update-ref", "refs/heads/main", commit.trim()]);
    }

    /// Answers one request.
    pub fn answer(&self, seen: &Seen) -> Answer {
        match password(seen).and_then(|token| self.verifier.verify(&token, AUDIENCE)) {
            Ok(claims) => self.backend(seen, &claims),
            Err(why) => Answer::ok(why)
                .status(401)
                .header("www-authenticate", "Basic realm=\"git\", charset=\"UTF-8\""),
        }
    }

    /// CGI (RFC 3875): the request in variables and on stdin, the answer's head and body on stdout.
    fn backend(&self, seen: &Seen, claims: &Claims) -> Answer {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let mut child = Command::new("git")
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", &seen.method)
            .env("REMOTE_USER", &claims.sub)
            .env("CONTENT_TYPE", seen.all("content-type").join(""))
            .env("CONTENT_LENGTH", seen.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", seen.all("content-encoding").join(""))
            .env("GIT_PROTOCOL", seen.all("git-protocol").join(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let body = seen.body.clone();
        // Beside the reading: both pipes may fill.
        let feed = std::thread::spawn(move || stdin.write_all(&body));
        let output = child.wait_with_output().unwrap().stdout;
        let _ = feed.join();
        cgi_answer(&output)
    }
}

fn cgi_answer(output: &[u8]) -> Answer {
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").expect("a head from the backend");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut answer = Answer::ok(&output[end + 4..]);
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("status") {
            answer.status = value[..3].parse().unwrap();
        } else {
            answer = answer.header(&name.to_ascii_lowercase(), value);
        }
    }
    answer
}

/// The password of the only `Authorization` field, where its user is the right one.
pub fn password(seen: &Seen) -> Result<String, String> {
    let all = seen.all("authorization");
    let [value] = &all[..] else { return Err(format!("{} credentials", all.len())) };
    let encoded = value.strip_prefix("Basic ").ok_or("not Basic")?;
    let decoded = STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    let decoded = String::from_utf8(decoded).map_err(|e| e.to_string())?;
    decoded
        .strip_prefix("x-access-token:")
        .map(str::to_owned)
        .ok_or_else(|| "another user".to_owned())
}

/// Runs git in `dir` with no configuration but its own, and gives what it printed.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .envs(AUTHOR)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Who commits.
const AUTHOR: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "a"),
    ("GIT_AUTHOR_EMAIL", "a@example.com"),
    ("GIT_COMMITTER_NAME", "a"),
    ("GIT_COMMITTER_EMAIL", "a@example.com"),
];
