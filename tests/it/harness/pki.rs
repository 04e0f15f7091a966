//! A throw-away PKI: one CA per test and the server certificates, good and bad, that it signs.
//!
//! Keys are made at test time and live in memory only.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The crypto of every TLS end in the tests.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A CA that Valetkey is told to trust (or not).
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate chain with its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Ended in 2001.
    Expired,
    /// Begins in 2090.
    NotYetValid,
    /// Names another host.
    WrongHost,
    /// Signed by its own key.
    SelfSigned,
    /// Signed by a CA that nobody knows.
    UnknownCa,
    /// A subject common name and no subject alternative name.
    CommonNameOnly,
    /// For clients, not servers.
    ClientPurpose,
}

impl Flaw {
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WrongHost,
        Self::SelfSigned,
        Self::UnknownCa,
        Self::CommonNameOnly,
        Self::ClientPurpose,
    ];
}

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, super::canary("Test CA"));
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A good certificate for these names.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.sign(leaf(names))
    }

    /// A certificate for `host` that a careful client refuses.
    pub fn flawed(&self, host: &str, flaw: Flaw) -> Identity {
        let mut params = leaf(&[host]);
        match flaw {
            Flaw::Expired => {
                params.not_before = rcgen::date_time_ymd(2000, 1, 1);
                params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            }
            Flaw::NotYetValid => {
                params.not_before = rcgen::date_time_ymd(2090, 1, 1);
                params.not_after = rcgen::date_time_ymd(2091, 1, 1);
            }
            Flaw::WrongHost => params = leaf(&["wrong.example"]),
            Flaw::SelfSigned => {
                let key = KeyPair::generate().unwrap();
                let chain = vec![params.self_signed(&key).unwrap().der().clone()];
                return Identity { chain, key };
            }
            Flaw::UnknownCa => return Self::new().sign(params),
            Flaw::CommonNameOnly => {
                params = leaf(&[]);
                params.distinguished_name.push(DnType::CommonName, host);
            }
            Flaw::ClientPurpose => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.der().clone(), self.der.clone()], key }
    }
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Identity {
    /// The server side of TLS with this certificate, offering `alpn` in order.
    pub fn server_config(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
