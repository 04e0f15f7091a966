//! The files as clients read them: mode, atomicity, and Java's own tools.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;

use super::super::root::Generation;
use super::super::scope::Scope;
use super::super::tests::run;
use super::*;
use crate::model::not_run::not_run;

pub(super) fn root() -> CertificateDer<'static> {
    let life = std::time::Duration::from_secs(3600);
    Generation::mint(&Scope::Any, life, std::time::SystemTime::now()).unwrap().root.der
}

#[test]
fn three_files_that_change_only_when_roots_do() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("bundles");
    let (ours, platform, corporate) = (root(), root(), root());
    let user = dir.path().join("user.pem");
    let key = concat!("-----BEGIN PRIV", "ATE KEY-----\nAAAA\n-----END PRIV", "ATE KEY-----\n");
    let text = [&pem::certificate(&corporate), key, &pem::certificate(&platform)].concat();
    fs::write(&user, text).unwrap();
    let files = [user, dir.path().join("missing.pem")];
    let write =
        |ours: &str| write_bundles(&out, ours, std::slice::from_ref(&platform), &files).unwrap();

    let bundles = write(&pem::certificate(&ours));
    assert_eq!(fs::read_to_string(&bundles.ca).unwrap(), pem::certificate(&ours));
    let combined = fs::read(&bundles.combined).unwrap();
    let all = [ours.clone(), corporate, platform.clone()];
    assert_eq!(pem::certificates(&combined).unwrap(), all);
    assert!(!String::from_utf8(combined).unwrap().contains("PRIVATE"));
    assert_eq!(bundles.skipped.len(), 1);
    assert_eq!(bundles.skipped[0].0, files[1]);

    let inodes = || {
        [&bundles.ca, &bundles.combined, &bundles.java].map(|path| {
            let found = fs::metadata(path).unwrap();
            assert_eq!(found.mode() & 0o777, 0o644);
            found.ino()
        })
    };
    let before = inodes();
    write(&pem::certificate(&ours));
    assert_eq!(inodes(), before);
    write(&[pem::certificate(&ours), pem::certificate(&root())].concat());
    assert!(inodes().iter().zip(&before).all(|(now, before)| now != before));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "no leftovers");

    assert_eq!(write_bundles(&out, "", &[], &[]).unwrap_err().code(), "trust-roots");
}

#[test]
fn renewed_in_place_with_what_else_they_had() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new, corporate, platform) = (root(), root(), root(), root());
    let user = dir.path().join("user.pem");
    fs::write(&user, pem::certificate(&corporate)).unwrap();
    let all = dir.path().join("trust");
    let (plain, other) = (all.join("plain"), all.join("0011"));
    let platform = [platform];
    write_bundles(&plain, &pem::certificate(&old), &platform, &[]).unwrap();
    let bundles =
        write_bundles(&other, &pem::certificate(&old), &platform, std::slice::from_ref(&user))
            .unwrap();
    // The tool's shell made it for itself.
    fs::remove_file(user).unwrap();
    fs::create_dir(all.join("begun")).unwrap();
    let held = |path: &Path| pem::certificates(&fs::read(path).unwrap()).unwrap();

    renew(&all, &[pem::certificate(&old), pem::certificate(&new)].concat()).unwrap();
    assert_eq!(held(&bundles.ca), [old.clone(), new.clone()]);
    let [platform] = platform;
    assert_eq!(held(&bundles.combined), [old, new.clone(), corporate.clone(), platform.clone()]);
    // What is trusted no more is cut, and a directory that cannot be written holds up no other.
    fs::write(plain.join(COMBINED), "gone").unwrap();
    fs::remove_file(plain.join(COMBINED)).unwrap();
    let failed = renew(&all, &pem::certificate(&new)).unwrap_err();
    assert_eq!(failed.code(), "trust-io");
    assert_eq!(held(&bundles.ca), std::slice::from_ref(&new));
    assert_eq!(held(&bundles.combined), [new, corporate, platform]);
    renew(&dir.path().join("nothing"), "").unwrap();
}

#[test]
fn keytool_finds_trusted_certificates() {
    if std::process::Command::new("keytool").arg("-help").output().is_err() {
        return not_run("this machine has no Java");
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, platform) = (root(), root());
    let bundles = write_bundles(dir.path(), &pem::certificate(&ours), &[platform], &[]).unwrap();
    let arguments = [
        OsStr::new("-list"),
        OsStr::new("-keystore"),
        bundles.java.as_os_str(),
        OsStr::new("-storepass"),
        OsStr::new(JAVA_PASSWORD),
    ];
    let (success, words) = run("keytool", &arguments);
    assert!(success, "{words}");
    assert_eq!(words.matches("trustedCertEntry").count(), 2, "{words}");
    assert!(words.contains("PKCS12"), "{words}");
}
