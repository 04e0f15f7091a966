//! The API's own throw-away CA and certificate: what a real API has from a public CA.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::net;
use crate::cli::failure::Failure;

/// The name of the API.
pub(in crate::cli) const HOST: &str = "api.orders.example";

/// A CA and one leaf, in memory only.
pub(super) struct Pki {
    /// To be named in `upstream.extra_roots`.
    pub(super) ca_pem: String,
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Pki {
    pub(super) fn make() -> Result<Self, Failure> {
        let make = || -> Result<Self, rcgen::Error> {
            let ca_key = KeyPair::generate()?;
            let mut ca = CertificateParams::new(Vec::new())?;
            ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            ca.distinguished_name.push(DnType::CommonName, "The API's own CA, for one demo");
            let ca_pem = ca.self_signed(&ca_key)?.pem();
            let key = KeyPair::generate()?;
            let mut leaf = CertificateParams::new(vec![HOST.to_owned()])?;
            leaf.distinguished_name.push(DnType::CommonName, HOST);
            let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
            Ok(Self { ca_pem, leaf: leaf.der().clone(), key: key.serialize_der() })
        };
        make().map_err(|error| net::broken("make the API's certificate", &error))
    }

    /// TLS as the API speaks it.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, Failure> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![self.leaf.clone()], key)
            })
            .map_err(|error| net::broken("set up the API's TLS", &error))?;
        Ok(Arc::new(config))
    }
}

/// TLS as a client speaks it that trusts these PEM certificates alone.
pub(in crate::cli) fn client(roots_pem: &[u8]) -> Result<Arc<ClientConfig>, Failure> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(roots_pem).flatten());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| net::broken("set up TLS", &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
