//! PEM out (RFC 7468, strict form) and certificates in. Only `CERTIFICATE` blocks are ever read
//! from foreign files, so a key that lies in someone's bundle is not carried on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// One block with this label, 64 columns, a newline at the end. Wiped when dropped, since it may
/// hold a key.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 80));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

pub(super) fn certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der).to_string()
}

/// Every certificate of a text, in order; `None` where a block is broken.
pub(super) fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()
}
