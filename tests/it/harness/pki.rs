//! A throw-away PKI: a root and an intermediate per test, and the server certificates, good and bad, by the
//! profiles of `certs/`.
//!
//! Keys are made at test time and live in memory only.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use valetkey::ca::Scope;
use valetkey::ca::profile::{Blanks, Profile, SignedBy};

/// The crypto of every TLS end in the tests.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A CA that Valetkey is told to trust (or not).
pub struct Pki {
    intermediate: Issuer<'static, KeyPair>,
    intermediate_der: CertificateDer<'static>,
    pem: String,
    scope: Scope,
}

/// A certificate chain with its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

/// Reads one profile of `certs/`.
fn profile(name: &str) -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(format!("{name}.toml"));
    Profile::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The names of all profiles that a verifier must refuse.
pub fn flaws() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned)
        })
        .filter(|name| profile(name).refused.is_some())
        .collect();
    names.sort();
    assert!(names.len() >= 8, "the bad profiles are there: {names:?}");
    names
}

impl Pki {
    /// Signs any name.
    pub fn new() -> Self {
        Self::within(Scope::Any)
    }

    fn within(scope: Scope) -> Self {
        let root_key = KeyPair::generate().unwrap();
        // By the same profiles, under other names: Valetkey refuses roots that look like its own.
        let named =
            |name: &str, subject: &str| Profile { subject: subject.into(), ..profile(name) };
        let root_params = params(&named("root", "Test root {label}"), "", &scope);
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().unwrap();
        let own = params(&named("intermediate", "Test intermediate {label}"), "", &scope);
        let certificate = own.signed_by(&key, &root_issuer).unwrap();
        Self {
            pem: root.pem(),
            intermediate_der: certificate.der().clone(),
            intermediate: Issuer::new(own, key),
            scope,
        }
    }

    /// The root, for whoever shall trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A good certificate for these names.
    pub fn server(&self, names: &[&str]) -> Identity {
        let mut params = params(&profile("leaf"), names[0], &self.scope);
        let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
        params.subject_alt_names = names.collect();
        self.sign(&params)
    }

    /// A certificate for `host` with something changed.
    pub fn server_with(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = params(&profile("leaf"), host, &self.scope);
        change(&mut params);
        self.sign(&params)
    }

    /// A certificate for `host` by a profile that a careful client refuses, below a root that is constrained
    /// to `host`: the second value is that root, to be trusted.
    pub fn flawed(host: &str, name: &str) -> (Identity, String) {
        let pki = Self::within(Scope::of_names(&[host.into()]).unwrap());
        let profile = profile(name);
        let params = params(&profile, host, &pki.scope);
        let identity = match profile.issuer {
            SignedBy::Intermediate | SignedBy::Root => pki.sign(&params),
            SignedBy::Stranger => Self::within(pki.scope.clone()).sign(&params),
            SignedBy::Itself => {
                let key = KeyPair::generate().unwrap();
                Identity { chain: vec![params.self_signed(&key).unwrap().der().clone()], key }
            }
        };
        (identity, pki.pem)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.intermediate).unwrap();
        Identity { chain: vec![certificate.der().clone(), self.intermediate_der.clone()], key }
    }
}

fn params(profile: &Profile, host: &str, scope: &Scope) -> CertificateParams {
    let life = profile.life(SystemTime::now(), profile.lifetime);
    let label = &super::canary("ca")[3..11];
    profile.params(Blanks { host, label, scope, life }).unwrap()
}

impl Identity {
    /// A certificate for `host` that this one signs, though it is no CA.
    pub fn signs(self, host: &str) -> Self {
        let own = params(&profile("leaf"), host, &Scope::Any);
        let issuer = Issuer::from_ca_cert_der(&self.chain[0], self.key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = own.signed_by(&key, &issuer).unwrap();
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.chain);
        Self { chain, key }
    }

    /// The server side of TLS with this certificate, offering `alpn` in order.
    pub fn server_config(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = provider().key_provider.load_private_key(key).unwrap();
        // Whatever is wrong with the certificate: nobody looks at it on this side.
        let certified = SingleCertAndKey::from(CertifiedKey::new(self.chain.clone(), key));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certified));
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
