//! The CA of all peers that have none of their own, made for one run.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::super::kit::{BLOBS, HOST};

/// Writes `peers-ca.pem`, `peers-ca.key`, both in one `mitmproxy-ca.pem`, and a leaf for those that sign none.
pub fn write(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "bench CA of the peers");
    let root = params.self_signed(&key).unwrap();
    let save = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    save("peers-ca.pem", &root.pem());
    save("peers-ca.key", &key.serialize_pem());
    save("mitmproxy-ca.pem", &format!("{}{}", key.serialize_pem(), root.pem()));
    let names = vec![HOST.to_owned(), format!("*.{HOST}"), BLOBS.to_owned()];
    let leaf_key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(names).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, HOST);
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(params, key)).unwrap();
    save("leaf.pem", &leaf.pem());
    save("leaf.key", &leaf_key.serialize_pem());
}

/// What clients of such a peer trust.
pub fn root(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("peers-ca.pem")).unwrap()
}

/// The CA, to sign with.
pub fn issuer(folder: &Path) -> Issuer<'static, KeyPair> {
    let key = std::fs::read_to_string(folder.join("peers-ca.key")).unwrap();
    let key = KeyPair::from_pem(&key).unwrap();
    Issuer::from_ca_cert_pem(&root(folder), key).unwrap()
}
