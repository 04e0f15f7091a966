//! [`Roots`]: whose certificates we believe, and TLS as we speak it to others.
//!
//! The platform's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` win over the platform's own place)
//! and those of `upstream.extra_roots`. Our own CA is never among them, even where a combined
//! bundle of ours is what `SSL_CERT_FILE` names: it vouches for us towards clients, for nobody
//! towards us.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::anchors::Anchors;
use super::itself::Verifier;
use super::tls::Tls;
use crate::config::env;
use crate::local::place;

/// The trusted roots, and a TLS client config built on them.
#[derive(Debug)]
pub struct Roots {
    template: ClientConfig,
    anchors: Arc<Anchors>,
}

/// Why roots could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file of `extra_roots` has no certificate in it.
    #[error("no PEM certificate in `{}`", .0.display())]
    Empty(PathBuf),
    /// A certificate of `extra_roots` that cannot be a trust anchor.
    #[error("a certificate in `{}` cannot be a root", .0.display())]
    NotARoot(PathBuf, #[source] rustls::Error),
    /// A file of `extra_roots` holds our own CA.
    #[error("`{}` holds Valetkey's own CA, which is never an upstream root", .0.display())]
    OwnCa(PathBuf),
    /// A file of `extra_roots` is not PEM.
    #[error("`{}` is not PEM", .0.display())]
    Pem(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// The crypto library has no common ground with TLS 1.2 and 1.3.
    #[error("no usable TLS version")]
    Tls(#[source] rustls::Error),
    /// A file of `extra_roots` cannot be read, or is larger than 4 MiB.
    #[error("cannot read `{}`", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
}

impl RootsError {
    /// The stable word for `check` and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty(_) | Self::NotARoot(..) | Self::Pem(..) => "extra-root-invalid",
            Self::OwnCa(_) => "extra-root-own-ca",
            Self::Tls(_) => "tls-unavailable",
            Self::Unreadable(..) => "extra-root-unreadable",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty(_) | Self::NotARoot(..) | Self::Pem(..) => {
                "upstream.extra_roots takes PEM files of CA certificates"
            }
            Self::OwnCa(_) => "take it out of upstream.extra_roots",
            Self::Tls(_) => "this is a fault of the build; please report it",
            Self::Unreadable(..) => "check the path and its permissions",
        }
    }
}

impl Roots {
    /// Reads the PEM files of `extra_roots`, and begins to read the platform's roots, which takes
    /// a third of a start: handshakes wait for them ([`Tls::ready`]). `is_own` says of a DER certificate
    /// whether it is a CA of Valetkey's: such a one is skipped in the platform's roots and an error
    /// in `extra_roots`.
    pub fn load(extra_roots: &[PathBuf], is_own: IsOwn) -> Result<Self, RootsError> {
        let named = named(extra_roots, is_own)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let anchors = Arc::new(Anchors::of(places()));
        let roots = Self::build(Arc::clone(&anchors), named.clone(), Arc::clone(&provider))?;
        let read = move || {
            let store = Arc::new(store(platform(), named.clone(), is_own));
            // It takes no empty store, and says so of nothing else.
            let built = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(&provider));
            anchors.set(built.build().ok());
        };
        if std::thread::Builder::new().name("roots".into()).spawn(read.clone()).is_err() {
            read();
        }
        Ok(roots)
    }

    /// Whether one file of `extra_roots` can be used.
    pub fn check(path: &Path, is_own: IsOwn) -> Result<(), RootsError> {
        named(&[path.to_owned()], is_own).map(drop)
    }

    fn build(
        anchors: Arc<Anchors>,
        named: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, RootsError> {
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(Verifier::new(Arc::clone(&anchors), named, algorithms));
        let template = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(RootsError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { template, anchors })
    }

    /// TLS 1.2 and 1.3 towards upstreams, offering `alpn` (`[b"h2", b"http/1.1"]`). Each call
    /// makes a session cache of its own over the same roots: one config per client identity, or
    /// one client would resume another's session (I7). No early data, no client certificate.
    pub fn tls(&self, alpn: &[&[u8]]) -> Tls {
        let mut config = self.template.clone();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Tls::new(config, Arc::clone(&self.anchors))
    }

    /// The same without resumption, for connections that are made once.
    pub fn single_use_tls(&self) -> Tls {
        let mut config = self.template.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Tls::new(config, Arc::clone(&self.anchors))
    }
}

/// Says of a DER certificate whether it is a CA of Valetkey's.
pub type IsOwn = fn(&[u8]) -> bool;

/// Where the platform's roots are read from, for people.
fn places() -> String {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter();
    let named =
        named.filter_map(|name| env::path(name).map(|path| format!("{name}={}", path.display())));
    let named: Vec<String> = named.collect();
    if named.is_empty() { "the system's certificate store".into() } else { named.join(", ") }
}

fn platform() -> Vec<CertificateDer<'static>> {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a part of the platform's roots cannot be read");
    }
    native.certs
}

/// All that vouches for servers.
fn store(
    platform: Vec<CertificateDer<'static>>,
    named: Vec<CertificateDer<'static>>,
    is_own: IsOwn,
) -> RootCertStore {
    let mut store = RootCertStore::empty();
    // Platforms ship the odd certificate that webpki does not take; the others still count.
    store.add_parsable_certificates(platform.into_iter().filter(|root| !is_own(root)).chain(named));
    if store.is_empty() {
        tracing::warn!("this machine trusts no roots: every upstream will be refused");
    }
    store
}

/// The certificates of `extra_roots`, each of which can be a root.
fn named(
    extra_roots: &[PathBuf],
    is_own: IsOwn,
) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let mut named = Vec::new();
    for path in extra_roots {
        for certificate in read_pem(path)? {
            if is_own(&certificate) {
                return Err(RootsError::OwnCa(path.clone()));
            }
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|e| RootsError::NotARoot(path.clone(), e))?;
            named.push(certificate);
        }
    }
    Ok(named)
}

fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let unreadable = |error| RootsError::Unreadable(path.to_owned(), error);
    let read = place::open(path).and_then(|opened| opened.read(MAX_PEM));
    let pem = read.map_err(|error| unreadable(error.into()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| RootsError::Pem(path.to_owned(), e))?;
    if certificates.is_empty() { Err(RootsError::Empty(path.to_owned())) } else { Ok(certificates) }
}

/// Sessions kept for resumption, per client identity.
const SESSIONS: usize = 64;
/// A whole platform bundle is about 230 KiB.
const MAX_PEM: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn root(name: &str) -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn is_own(der: &[u8]) -> bool {
        der.windows(3).any(|bytes| bytes == b"OWN")
    }

    #[test]
    fn platform_and_extra_roots_count_and_ours_does_not() {
        let (a, b, own) = (root("a"), root("b"), root("OWN"));
        let extra = file(&b.pem());
        let platform = vec![a.der().clone(), own.der().clone()];
        let named = named(&[extra.path().to_owned()], is_own).unwrap();
        assert_eq!(named, [b.der().clone()]);
        assert_eq!(store(platform, named, is_own).len(), 2);

        let extra = file(&own.pem());
        let result = super::named(&[extra.path().to_owned()], is_own);
        assert!(matches!(result, Err(RootsError::OwnCa(_))));
    }

    #[test]
    fn bad_files_are_named() {
        for (content, code) in [
            ("", "extra-root-invalid"),
            ("hello", "extra-root-invalid"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "extra-root-invalid",
            ),
            ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "extra-root-invalid"),
        ] {
            let file = file(content);
            let error = named(&[file.path().to_owned()], |_| false).unwrap_err();
            assert_eq!(error.code(), code, "{content:?}");
            assert!(error.to_string().contains(&file.path().display().to_string()));
        }
        let error = named(&["/nonexistent/root.pem".into()], |_| false);
        assert_eq!(error.unwrap_err().code(), "extra-root-unreadable");
    }

    #[test]
    fn configs_do_not_share_sessions() {
        let roots = Roots::load(&[], |_| false).unwrap();
        let tls = roots.tls(&[b"h2", b"http/1.1"]);
        let config = tls.config();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(!config.enable_early_data);
        assert!(!config.key_log.will_log("CLIENT_RANDOM"));
    }
}
