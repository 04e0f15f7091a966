//! The trust bundles of a state directory, written for child processes.
//!
//! Reading the platform's roots and making a Java trust store costs tens of milliseconds, so what
//! they are made of is fingerprinted, and nothing is written while that stays the same.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

use super::environment::{self, BundlePaths};
use super::failure::{Failure, chain};
use super::{platform, printer};
use crate::ca::trust::{self, TrustError};
use crate::local::place;
use crate::model::hex::hex;

/// The largest wgetrc that is copied, in bytes.
const MAX_WGETRC: u64 = 1024 * 1024;
/// Beside the bundles: what of the user's they were made of.
const SOURCES: &str = "sources";

pub(super) type UsersVariables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The bundles of this state directory, up to date with our CA, the platform's roots and the
/// files that the user's own variables name.
pub(super) fn write(
    state_dir: &Path,
    ca_pem: &str,
    users: UsersVariables<'_>,
) -> Result<BundlePaths, Failure> {
    let dir = state_dir.join(trust::DIRECTORY);
    let sources = Sources::of(users, &dir);
    let inputs = fingerprint(ca_pem, &sources);
    let dir = dir.join(sources.directory());
    let paths = BundlePaths {
        ca: dir.join("valetkey-ca.pem"),
        combined: dir.join("combined.pem"),
        java: dir.join("truststore.p12"),
        wgetrc: dir.join("wgetrc"),
    };
    if is_current(&dir, &inputs, &paths) {
        return Ok(paths);
    }
    let failed = |error: TrustError| Failure::failed(error.code(), chain(&error), error.hint());
    let _lock = trust::lock(&dir).map_err(failed)?;
    // Since the daemon said it, it may have renewed what we are about to write.
    let newer = crate::ca::show(&state_dir.join("ca"), SystemTime::now()).ok().flatten();
    let ca_pem = newer.as_ref().map_or(ca_pem, |(_, pem)| pem);
    let inputs = fingerprint(ca_pem, &sources);
    if is_current(&dir, &inputs, &paths) {
        return Ok(paths);
    }
    let made =
        trust::write_bundles(&dir, ca_pem, &platform_roots(), &sources.ca_files).map_err(failed)?;
    for (path, why) in &made.skipped {
        printer::warn(
            "ca-file-skipped",
            &format!(
                "a CA file that your environment names was left out: {}: {why}",
                path.display()
            ),
            "tools behind the proxy will not trust what it holds; check the file",
        );
    }
    let paths = BundlePaths { ca: made.ca, combined: made.combined, java: made.java, ..paths };
    write_wgetrc(&paths, sources.wgetrc.as_deref())
        .and_then(|()| replace(&dir.join(SOURCES), &sources.to_bytes()))
        .and_then(|()| replace(&dir.join("inputs"), inputs.as_bytes()))
        .map_err(|error| unwritable(&dir, &error))?;
    Ok(paths)
}

/// What the user's own environment names: CA files and directories, and wget's settings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sources {
    ca_files: Vec<PathBuf>,
    wgetrc: Option<PathBuf>,
}

impl Sources {
    /// Inside an outer `run` or `env` the variables name bundles of ours, below `ours`: what those
    /// were made of is what the user has.
    fn of(users: UsersVariables<'_>, ours: &Path) -> Self {
        let named = environment::ca_variables().filter_map(users).map(PathBuf::from);
        let dirs = users("SSL_CERT_DIR").unwrap_or_default();
        let mut sources = Self::default();
        for path in named.chain(std::env::split_paths(&dirs)) {
            if path.starts_with(ours) {
                sources.ca_files.extend(Self::read(&path).ca_files);
            } else if !path.as_os_str().is_empty() {
                sources.ca_files.push(path);
            }
        }
        sources.ca_files.sort();
        sources.ca_files.dedup();
        sources.wgetrc = match users("WGETRC").map(PathBuf::from) {
            Some(path) if path.starts_with(ours) => Self::read(&path).wgetrc,
            Some(path) => Some(path),
            None => users("HOME").map(|home| PathBuf::from(home).join(".wgetrc")),
        }
        .filter(|path| path.is_file());
        sources
    }

    /// What the bundle beside which `path` lies was made of.
    fn read(path: &Path) -> Self {
        let text = fs::read(path.with_file_name(SOURCES)).unwrap_or_default();
        let mut sources = Self::default();
        for entry in text.split(|byte| *byte == 0) {
            match entry.split_first() {
                Some((b'c', path)) => sources.ca_files.push(OsStr::from_bytes(path).into()),
                Some((b'w', path)) => sources.wgetrc = Some(OsStr::from_bytes(path).into()),
                _ => {}
            }
        }
        sources
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let files = self.ca_files.iter().map(|path| (b'c', path));
        for (kind, path) in files.chain(self.wgetrc.iter().map(|path| (b'w', path))) {
            text.push(kind);
            text.extend_from_slice(path.as_os_str().as_bytes());
            text.push(0);
        }
        text
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.ca_files.iter().chain(&self.wgetrc).map(PathBuf::as_path)
    }

    /// One environment's bundles must not change under another's running tools: each set of
    /// sources has a directory of its own.
    fn directory(&self) -> String {
        if self.paths().next().is_none() {
            return "plain".to_owned();
        }
        hex(&digest::digest(&digest::SHA256, &self.to_bytes()).as_ref()[..8])
    }
}

/// The roots of this machine, whatever `SSL_CERT_FILE` says: that file comes in as the user's.
fn platform_roots() -> Vec<CertificateDer<'static>> {
    let bundle = platform::ROOT_BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let roots = match bundle {
        Some(bundle) => rustls_native_certs::load_certs_from_paths(Some(bundle), None).certs,
        None => Vec::new(),
    };
    if roots.is_empty() { rustls_native_certs::load_native_certs().certs } else { roots }
}

/// What the bundles are made of, as text that changes with it. A store that we can't see the
/// files of is looked at anew each day.
fn fingerprint(ca_pem: &str, sources: &Sources) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(env!("CARGO_PKG_VERSION").as_bytes());
    context.update(ca_pem.as_bytes());
    let platform = platform::ROOT_BUNDLES.iter().map(Path::new);
    for path in platform.chain(sources.paths()) {
        context.update(path.as_os_str().as_encoded_bytes());
        if let Ok(meta) = fs::metadata(path) {
            let facts = [
                meta.mtime(),
                meta.mtime_nsec(),
                meta.size().cast_signed(),
                meta.ino().cast_signed(),
            ];
            facts.iter().for_each(|fact| context.update(&fact.to_le_bytes()));
        }
    }
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    context.update(&today.to_le_bytes());
    hex(context.finish().as_ref())
}

fn is_current(dir: &Path, inputs: &str, paths: &BundlePaths) -> bool {
    fs::read_to_string(dir.join("inputs")).is_ok_and(|known| known == inputs)
        && [&paths.ca, &paths.combined, &paths.java, &paths.wgetrc].iter().all(|p| p.is_file())
}

/// The user's settings, then ours: of two lines for one setting wget takes the last. A proxy set
/// there would win over the environment's, so it is left out.
fn write_wgetrc(paths: &BundlePaths, users: Option<&Path>) -> io::Result<()> {
    let mut text = Vec::new();
    if let Some(path) = users {
        let file = place::open(path)?.into_file();
        let mut theirs = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAX_WGETRC), &mut theirs)?;
        for line in theirs.split(|byte| *byte == b'\n').filter(|line| !sets_https_proxy(line)) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    text.extend_from_slice(b"ca_certificate=");
    text.extend_from_slice(paths.combined.as_os_str().as_encoded_bytes());
    text.push(b'\n');
    replace(&paths.wgetrc, &text)
}

/// wget ignores case, `-` and `_` in names.
fn sets_https_proxy(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b'=').next().unwrap_or_default();
    let plain: Vec<u8> = (name.iter())
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
        .collect();
    plain == b"httpsproxy"
}

/// Writes a file in one step, for our eyes only: a wgetrc may hold passwords.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

fn unwritable(dir: &Path, error: &io::Error) -> Failure {
    Failure::failed(
        "trust-io",
        format!("cannot write the trust bundles: {}: {error}", dir.display()),
        "check that the disk has room and that the state directory is yours",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wgetrc_keeps_the_users_settings_but_not_their_proxy() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        fs::write(&theirs, "tries = 3\nHttps-Proxy = http://corp:3128\nhttp_proxy=x\n").unwrap();
        let paths = BundlePaths {
            ca: "/ca".into(),
            combined: "/all.pem".into(),
            java: "/j".into(),
            wgetrc: dir.path().join("wgetrc"),
        };
        write_wgetrc(&paths, Some(&theirs)).unwrap();
        let text = fs::read_to_string(&paths.wgetrc).unwrap();
        assert_eq!(text, "tries = 3\nhttp_proxy=x\n\nca_certificate=/all.pem\n");
    }

    #[test]
    fn fingerprints_follow_their_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("corp.pem");
        fs::write(&file, "1").unwrap();
        let sources = Sources { ca_files: vec![file.clone()], wgetrc: None };
        let before = fingerprint("ca", &sources);
        assert_eq!(before, fingerprint("ca", &sources));
        assert_ne!(before, fingerprint("other", &sources));
        fs::write(&file, "22").unwrap();
        assert_ne!(before, fingerprint("ca", &sources));
    }

    #[test]
    fn an_inner_run_has_what_the_outer_had() {
        let state = tempfile::tempdir().unwrap();
        let ours = state.path().join("trust");
        let outer = |name: &str| match name {
            "CURL_CA_BUNDLE" => Some(OsString::from("/corp.pem")),
            "SSL_CERT_DIR" => Some(OsString::from("/a:/b")),
            _ => None,
        };
        let sources = Sources::of(&outer, &ours);
        assert_eq!(sources.ca_files, ["/a", "/b", "/corp.pem"].map(PathBuf::from));
        let dir = ours.join(sources.directory());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(SOURCES), sources.to_bytes()).unwrap();

        let combined = dir.join("combined.pem");
        let inner = |name: &str| match name {
            "CURL_CA_BUNDLE" | "SSL_CERT_FILE" => Some(combined.clone().into()),
            "SSL_CERT_DIR" => Some(OsString::from("/a:/b")),
            _ => None,
        };
        assert_eq!(Sources::of(&inner, &ours), sources);
    }
}
