//! Settings of tools that win over the variables that `run` sets: which file has one, and in which
//! line. Never its value, which may hold a password.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::command_line::name_of;
use super::{Surroundings, beginning};

/// Of a file that is longer the rest is not looked at, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// A setting that wins.
pub(super) struct Winning {
    tool: &'static str,
    key: String,
    file: PathBuf,
    line: usize,
}

impl fmt::Display for Winning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tool, key, file, line } = self;
        write!(f, "`{key}` in {}, line {line}, wins with {tool} over HTTPS_PROXY", file.display())
    }
}

/// A tool whose files win.
struct ToolSettings {
    name: &'static str,
    programs: &'static [&'static str],
    keys: &'static [&'static str],
    /// What the head of a section begins with; empty: any, or none.
    sections: &'static [&'static str],
    files: fn(&Surroundings<'_>) -> Vec<PathBuf>,
}

const TOOLS: [ToolSettings; 7] = [
    ToolSettings {
        name: "git",
        programs: &["git"],
        keys: &["proxy"],
        sections: &["http", "remote"],
        files: of_git,
    },
    ToolSettings {
        name: "curl",
        programs: &["curl"],
        keys: &["proxy", "x", "noproxy", "preproxy", "socks5", "socks5-hostname"],
        sections: &[],
        files: of_curl,
    },
    ToolSettings {
        name: "pip",
        programs: &["pip", "pip3"],
        keys: &["proxy"],
        sections: &["global", "install", "download"],
        files: of_pip,
    },
    ToolSettings {
        name: "npm",
        programs: &["npm", "npx", "pnpm"],
        // Its proxy itself is a variable that `run` sets, which wins.
        keys: &["noproxy", "no-proxy"],
        sections: &[],
        files: |around| nearby(around, ".npmrc"),
    },
    ToolSettings {
        name: "yarn",
        programs: &["yarn", "yarnpkg"],
        keys: &["httpsproxy", "https-proxy"],
        sections: &[],
        files: of_yarn,
    },
    ToolSettings {
        name: "kubectl",
        programs: &["helm", "kubectl"],
        keys: &["proxy-url"],
        sections: &[],
        files: of_kubectl,
    },
    ToolSettings {
        name: "gcloud",
        programs: &["gcloud", "gsutil", "bq"],
        keys: &["address"],
        sections: &["proxy"],
        files: of_gcloud,
    },
];

/// The first setting of one of these programs that wins over the variables.
pub(super) fn winning(programs: &[String], around: &Surroundings<'_>) -> Option<Winning> {
    let runs = |tool: &&ToolSettings| programs.iter().any(|p| tool.programs.contains(&name_of(p)));
    TOOLS.iter().filter(runs).find_map(|tool| {
        (tool.files)(around).into_iter().find_map(|file| {
            let text = beginning(&file, MAX_FILE)?;
            let (key, line) = tool.find(&String::from_utf8_lossy(&text))?;
            Some(Winning { tool: tool.name, key, file, line })
        })
    })
}

impl ToolSettings {
    /// The key that wins, and its line. INI, rc files and YAML alike, as far as one key a line
    /// goes.
    fn find(&self, text: &str) -> Option<(String, usize)> {
        let mut within = self.sections.is_empty();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(head) = line.strip_prefix('[') {
                let name = head.split([']', ' ', '"']).next().unwrap_or_default();
                let is = |section: &&str| name.eq_ignore_ascii_case(section);
                within = self.sections.is_empty() || self.sections.iter().any(is);
                continue;
            }
            let key = line.split(|c: char| c == '=' || c == ':' || c.is_whitespace()).next();
            let key = key.unwrap_or_default().trim_matches(['-', '"', '\'']).to_ascii_lowercase();
            if within && self.keys.contains(&key.as_str()) {
                return Some((key, at + 1));
            }
        }
        None
    }
}

fn of_git(around: &Surroundings<'_>) -> Vec<PathBuf> {
    let repository =
        around.here.ancestors().map(|dir| dir.join(".git/config")).find(|p| p.is_file());
    let global = match around.path("GIT_CONFIG_GLOBAL") {
        Some(named) => vec![named],
        None => at_home(around, &[".gitconfig"], &["git/config"]),
    };
    let system = Some(around.root.join("etc/gitconfig"));
    repository.into_iter().chain(global).chain(system).collect()
}

fn of_curl(around: &Surroundings<'_>) -> Vec<PathBuf> {
    let named = around.path("CURL_HOME").map(|dir| dir.join(".curlrc"));
    let all = named.into_iter().chain(at_home(around, &[".curlrc"], &[".curlrc", "curlrc"]));
    // It reads the first that is there.
    all.filter(|path| path.is_file()).take(1).collect()
}

fn of_pip(around: &Surroundings<'_>) -> Vec<PathBuf> {
    let named = around.path("PIP_CONFIG_FILE");
    let environment = around.path("VIRTUAL_ENV").map(|dir| dir.join("pip.conf"));
    let own = at_home(around, &[".pip/pip.conf"], &["pip/pip.conf"]);
    let system = ["etc/pip.conf", "etc/xdg/pip/pip.conf"].map(|path| around.root.join(path));
    named.into_iter().chain(environment).chain(own).chain(system).collect()
}

fn of_yarn(around: &Surroundings<'_>) -> Vec<PathBuf> {
    [nearby(around, ".yarnrc.yml"), nearby(around, ".yarnrc")].concat()
}

fn of_kubectl(around: &Surroundings<'_>) -> Vec<PathBuf> {
    match (around.variable)("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => std::env::split_paths(&list).collect(),
        None => at_home(around, &[".kube/config"], &[]),
    }
}

fn of_gcloud(around: &Surroundings<'_>) -> Vec<PathBuf> {
    let named = around.path("CLOUDSDK_CONFIG").into_iter();
    let all = named.chain(at_home(around, &[], &["gcloud"])).take(1);
    all.flat_map(|dir| {
        let active = beginning(&dir.join("active_config"), 256);
        let active = active.map(|name| String::from_utf8_lossy(&name).trim().to_owned());
        let name = active.filter(|name| !name.contains('/')).unwrap_or_else(|| "default".into());
        [dir.join("configurations").join(format!("config_{name}")), dir.join("properties")]
    })
    .collect()
}

/// In the home directory, and in that of configurations.
fn at_home(around: &Surroundings<'_>, own: &[&str], below_config: &[&str]) -> Vec<PathBuf> {
    let config = around.path("XDG_CONFIG_HOME");
    let config = config.or_else(|| around.home.as_ref().map(|home| home.join(".config")));
    let below = |dir: Option<&Path>, names: &[&str]| -> Vec<PathBuf> {
        dir.into_iter().flat_map(|dir| names.iter().map(move |name| dir.join(name))).collect()
    };
    [below(around.home.as_deref(), own), below(config.as_deref(), below_config)].concat()
}

/// From the working directory upwards, then in the home directory.
fn nearby(around: &Surroundings<'_>, name: &str) -> Vec<PathBuf> {
    let above = around.here.ancestors().chain(around.home.as_deref());
    above.map(|dir| dir.join(name)).filter(|path| path.is_file()).collect()
}
