//! A trust store that Java reads: PKCS#12 whose entries carry Oracle's trusted-certificate
//! attribute, without which `keytool` and TLS see an empty store.

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry};
use rustls::pki_types::CertificateDer;

use super::{JAVA_PASSWORD, TrustError};

/// The roots as a trust store. One that p12-keystore cannot parse is left out: it is one of the
/// platform's hundred, and Java could not use it either.
pub(super) fn trust_store(roots: &[CertificateDer<'_>]) -> Result<Vec<u8>, TrustError> {
    let mut store = KeyStore::new();
    for (number, root) in roots.iter().enumerate() {
        if let Ok(certificate) = Certificate::from_der(root) {
            let alias = format!("root-{number:04}");
            store.add_entry(&alias, KeyStoreEntry::Certificate(certificate));
        }
    }
    // The password is public: rounds would cost every `run` milliseconds and protect nothing.
    store
        .writer(JAVA_PASSWORD)
        .encryption_iterations(ROUNDS)
        .mac_iterations(ROUNDS)
        .write()
        .map_err(TrustError::Java)
}

const ROUNDS: u32 = 1;
