//! [`Tls`]: how TLS is spoken to others, and the roots that a handshake waits for.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use tokio_rustls::TlsConnector;

use super::anchors::{Anchors, RootsUnread};

/// How TLS is spoken to others. Only [`Tls::ready`] gives what makes a handshake of it.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    anchors: Arc<Anchors>,
}

impl Tls {
    pub(super) fn new(config: ClientConfig, anchors: Arc<Anchors>) -> Self {
        Self { config: Arc::new(config), anchors }
    }

    /// What makes handshakes, as soon as the roots are read.
    pub async fn ready(&self) -> Result<TlsConnector, RootsUnread> {
        self.anchors.ready().await?;
        Ok(TlsConnector::from(Arc::clone(&self.config)))
    }

    /// Whether this protocol is among those that it offers (RFC 7301).
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.config.alpn_protocols.iter().any(|offered| offered == protocol)
    }

    /// The same, offering this protocol alone.
    pub fn offering(mut self, protocol: &[u8]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![protocol.to_vec()];
        self
    }

    /// The same, with a certificate of our own for servers that ask for one.
    pub(super) fn identified(&self, identity: Arc<dyn ResolvesClientCert>) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.client_auth_cert_resolver = identity;
        Self { config: Arc::new(config), anchors: Arc::clone(&self.anchors) }
    }

    pub(super) fn crypto_provider(&self) -> &Arc<CryptoProvider> {
        self.config.crypto_provider()
    }

    #[cfg(test)]
    pub(super) fn config(&self) -> &ClientConfig {
        &self.config
    }
}
