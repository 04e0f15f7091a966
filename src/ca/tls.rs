//! The TLS server side of an intercepted tunnel: what every host's `ServerConfig` has in common.

use std::sync::Arc;

use rcgen::PublicKeyData as _;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use super::error::CaError;
use super::key::CaKey;

/// The protocols that are offered inside a tunnel. A client that offers none gets HTTP/1.1 either
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2` first, then `http/1.1`.
    Both,
    /// `http/1.1` alone.
    Http1,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

/// One leaf key, one ticket key and one provider for all hosts of this process.
#[derive(Debug)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    leaf_key: Arc<dyn SigningKey>,
    /// The public half, as SubjectPublicKeyInfo in DER.
    pub(super) public_key: Arc<[u8]>,
}

impl Tls {
    /// Draws the leaf key and the ticket key; they live in this process's memory only.
    pub(super) fn new() -> Result<Self, CaError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = CaKey::generate()?;
        let public_key = key.subject_public_key_info().into();
        let der = PrivatePkcs8KeyDer::from(key.to_pkcs8()?.to_vec());
        let leaf_key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(der))?;
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Self { provider, tickets, leaf_key, public_key })
    }

    /// The chain with the key that belongs to it.
    pub(super) fn certified(&self, chain: Vec<CertificateDer<'static>>) -> CertifiedKey {
        CertifiedKey::new(chain, Arc::clone(&self.leaf_key))
    }

    /// TLS 1.2 and 1.3, no client certificates, no early data (RFC 8446 section 8: it can be
    /// replayed). Tickets are good across hosts' configs, but rustls resumes only where the SNI is
    /// the same.
    pub(super) fn server_config(
        &self,
        leaf: &Arc<CertifiedKey>,
        alpn: Alpn,
    ) -> Result<ServerConfig, CaError> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(leaf)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = alpn.protocols();
        config.ticketer = Arc::clone(&self.tickets);
        // Tickets hold the state; 1,024 stores of 256 sessions each would be memory for nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }
}
