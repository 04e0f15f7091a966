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
/// else the default below `$HOME`, where that is: a relative one would be in whatever directory we
/// are.
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
/// Why a route's `env` cannot give a tool this variable: a placeholder there breaks the tool, or
/// what it runs.
pub fn reserved(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let is_one = |names: &[&str]| names.contains(&name.as_str());
    if name.ends_with("_PROXY") || is_one(OURS) {
        return Some("`run` sets it itself");
    }
    let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    (is_one(OBEYED) || begins(OBEYED_BEGIN))
        .then_some("loaders, shells, interpreters or tools obey it")
}

/// Proxy and trust, in capitals. A test holds it to what `run` sets.
const OURS: &[&str] = &[
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CODEX_CA_CERTIFICATE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_HTTP_PROXY_AUTHMETHOD",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "JAVA_TOOL_OPTIONS",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_USE_ENV_PROXY",
    "NPM_CONFIG_CAFILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TWINE_CERT",
    "WGETRC",
];

/// What decides which code runs, where files are, or how others are verified.
const OBEYED: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "BROWSER",
    "CDPATH",
    "CLASSPATH",
    "CURL_HOME",
    "EDITOR",
    "ENV",
    "GCONV_PATH",
    "GIT_ASKPASS",
    "GIT_DIR",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_NO_VERIFY",
    "GIT_TEMPLATE_DIR",
    "GLIBC_TUNABLES",
    "GRADLE_OPTS",
    "HOME",
    "IFS",
    "JAVA_OPTS",
    "JDK_JAVA_OPTIONS",
    "LANG",
    "LESSCLOSE",
    "LESSOPEN",
    "LOGNAME",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MAVEN_OPTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NPM_CONFIG_NODE_OPTIONS",
    "NPM_CONFIG_SCRIPT_SHELL",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PAGER",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "PWD",
    "PYTHONBREAKPOINT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTC_WRAPPER",
    "SHELL",
    "SHELLOPTS",
    "SSH_ASKPASS",
    "SSH_AUTH_SOCK",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "VISUAL",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

const OBEYED_BEGIN: &[&str] = &[
    "BASH_FUNC_",
    "CORECLR_",
    "COR_",
    "DBUS_",
    "DOTNET_STARTUP_HOOKS",
    "DYLD_",
    "GIT_CONFIG",
    "LC_",
    "LD_",
    "VALETKEY_",
    "XDG_",
];

#[cfg(test)]
mod tests {
    use super::reserved;

    #[test]
    fn what_others_obey_is_reserved_and_a_tools_key_is_not() {
        for name in [
            "PATH",
            "HTTPS_PROXY",
            "https_proxy",
            "LD_PRELOAD",
            "BASH_ENV",
            "NODE_OPTIONS",
            "DYLD_INSERT_LIBRARIES",
        ] {
            assert!(reserved(name).is_some(), "{name}");
        }
        for name in [
            "GH_TOKEN",
            "GITHUB_TOKEN",
            "OPENAI_API_KEY",
            "TWINE_PASSWORD",
            "NODE_AUTH_TOKEN",
            "HF_TOKEN",
            "GIT_TOKEN",
            "AWS_ACCESS_KEY_ID",
            "PYPI_TOKEN",
            "LDAP_TOKEN",
            "PATH_TOKEN",
            "KUBECONFIG_TOKEN",
            "GITLAB_TOKEN",
        ] {
            assert_eq!(reserved(name), None, "{name}");
        }
    }
}
