//! The CA as others see it: openssl as the verifier, a hand-moved clock, a directory that
//! someone has tampered with or a process was killed in.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use proptest::prelude::*;
use rcgen::PublicKeyData as _;
use rustls::pki_types::CertificateDer;

use super::key::CaKey;
use super::profile::{Blanks, Profile};
use super::root::Generation;
use super::*;
use crate::model::clock::{Moment, SystemClock};
use crate::model::not_run::not_run;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct HandClock(Mutex<Moment>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(SystemClock.now())))
    }

    fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = Moment { wall: now.wall + by, mono: now.mono + by };
    }

    fn back(&self, by: Duration) {
        self.0.lock().unwrap().wall -= by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

/// A state directory and a clock.
struct Bench {
    state: tempfile::TempDir,
    clock: Arc<HandClock>,
}

impl Bench {
    fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap(), clock: HandClock::new() }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.state.path().join("ca")
    }

    fn try_open(
        &self,
        unconstrained: bool,
        names: &[&str],
    ) -> Result<(Authority, Opened), CaError> {
        let config = config::Ca {
            unconstrained,
            permit: Vec::new(),
            lifetime: 30 * DAY,
            leaf_lifetime: DAY,
            publish: None,
        };
        let names: Vec<Arc<str>> = names.iter().map(|&name| name.into()).collect();
        let clock: Arc<HandClock> = Arc::clone(&self.clock);
        Authority::open(&self.dir(), &config, &names, clock)
    }

    fn open(&self, names: &[&str]) -> (Authority, Opened) {
        self.try_open(false, names).unwrap()
    }

    fn refused(&self) -> &'static str {
        self.try_open(false, &[HOST]).unwrap_err().code()
    }

    /// What someone who can read our disk has.
    fn stolen(&self) -> Generation {
        let disk = Disk::open(&self.dir()).unwrap();
        let lock = disk.lock().unwrap();
        disk.read(disk.recover(&lock).unwrap().unwrap().live[0]).unwrap()
    }

    fn generation_dir(&self) -> std::path::PathBuf {
        self.dir().join(self.stolen().id.to_string())
    }
}

const HOST: &str = "api.orders.example";

/// Signs by a profile of `certs/` with a stolen intermediate key.
fn forge(stolen: &Generation, profile: &str, host: &str) -> Vec<CertificateDer<'static>> {
    let path = format!("{}/certs/{profile}.toml", env!("CARGO_MANIFEST_DIR"));
    let profile = Profile::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let life = profile.life(SystemTime::now(), profile.lifetime);
    let blanks = Blanks { host, label: "", scope: &stolen.scope, life };
    let key = CaKey::generate().unwrap();
    let leaf = profile.params(blanks).unwrap().signed_by(&key, &stolen.issuer).unwrap();
    vec![leaf.into(), stolen.intermediate.clone()]
}

/// `openssl verify` as a TLS client would ask, without this machine's own trust; its words on
/// refusal.
fn openssl(roots: &str, chain: &[CertificateDer<'_>], name: &[&str]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = |file: &str, text: &str| {
        let path = dir.path().join(file);
        fs::write(&path, text).unwrap();
        path
    };
    let roots = file("roots.pem", roots);
    let intermediate = file("intermediate.pem", &pem::certificate(&chain[1]));
    let leaf = file("leaf.pem", &pem::certificate(&chain[0]));
    let mut arguments: Vec<&OsStr> = Vec::new();
    let fixed = "verify -x509_strict -purpose sslserver -no-CAfile -no-CApath -CAfile";
    arguments.extend(fixed.split(' ').map(OsStr::new));
    arguments.extend([roots.as_os_str(), OsStr::new("-untrusted"), intermediate.as_os_str()]);
    arguments.extend(name.iter().map(OsStr::new));
    arguments.push(leaf.as_os_str());
    let (accepted, words) = run("openssl", &arguments);
    accepted.then_some(()).ok_or(words)
}

#[test]
fn openssl_accepts_ours_and_refuses_what_a_thief_signs() {
    let bench = Bench::new();
    let (authority, opened) = bench.open(&[HOST]);
    assert_eq!(opened, Opened::Created);
    let roots = authority.roots_pem();
    let leaf = authority.leaf(HOST).unwrap();
    assert_eq!(leaf.cert.len(), 2);
    openssl(&roots, &leaf.cert, &["-verify_hostname", HOST]).unwrap();

    let stolen = bench.stolen();
    openssl(&roots, &forge(&stolen, "leaf", HOST), &["-verify_hostname", HOST]).unwrap();
    let other = forge(&stolen, "leaf", "bank.example");
    let said = openssl(&roots, &other, &["-verify_hostname", "bank.example"]).unwrap_err();
    assert!(said.contains("permitted subtree violation"), "{said}");
    let said = openssl(&roots, &forge(&stolen, "constraint-violating", HOST), &[]).unwrap_err();
    assert!(said.contains("permitted subtree violation"), "{said}");
    let said = openssl(&roots, &forge(&stolen, "ip-san", HOST), &[]).unwrap_err();
    assert!(said.contains("excluded subtree violation"), "{said}");
    // A common name is a name where there is no SAN.
    let said = openssl(&roots, &forge(&stolen, "cn-only", "bank.example"), &[]).unwrap_err();
    assert!(said.contains("subtree violation"), "{said}");
    for profile in ["expired", "not-yet-valid", "wrong-host", "client-auth-only"] {
        let chain = forge(&stolen, profile, HOST);
        openssl(&roots, &chain, &["-verify_hostname", HOST]).unwrap_err();
    }
}

#[test]
fn openssl_refuses_mail_and_a_ca_below_the_intermediate() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let stolen = bench.stolen();
    let key = CaKey::generate().unwrap();
    let leaf = &profile::own().unwrap().leaf;
    let now = SystemTime::now();
    let life = leaf.life(now, DAY);
    let blanks = Blanks { host: HOST, label: "", scope: &stolen.scope, life };
    let mut params = leaf.params(blanks).unwrap();
    let mail = "root@bank.example".try_into().unwrap();
    params.subject_alt_names = vec![rcgen::SanType::Rfc822Name(mail)];
    let signed = params.signed_by(&key, &stolen.issuer).unwrap();
    let chain = [signed.into(), stolen.intermediate.clone()];
    let said = openssl(&authority.roots_pem(), &chain, &[]).unwrap_err();
    assert!(said.contains("subtree violation"), "{said}");

    // A sub-CA without constraints, by the root's profile; pathLen 0 forbids it.
    let profile = &profile::own().unwrap().intermediate;
    let blanks = Blanks { scope: &Scope::Any, ..blanks };
    let sub = profile.params(blanks).unwrap();
    let sub_der: CertificateDer<'_> = sub.signed_by(&key, &stolen.issuer).unwrap().into();
    let issuer = rcgen::Issuer::from_params(&sub, &key);
    let blanks = Blanks { host: "bank.example", ..blanks };
    let leaf_key = CaKey::generate().unwrap();
    let below = leaf.params(blanks).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let roots = authority.roots_pem();
    let untrusted = pem::certificate(&stolen.intermediate);
    // Everything but the root goes in as untrusted; the helper takes one, so the sub-CA is that one
    // and the intermediate stands with the roots, without being trusted as an anchor of its own.
    let said = openssl(&format!("{roots}{untrusted}"), &[below.into(), sub_der], &[]).unwrap_err();
    assert!(said.contains("path length") || said.contains("subtree"), "{said}");
}

#[test]
fn certificates_say_what_they_should() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&["*.orders.example", "api.orders.example"]);
    let leaf = authority.leaf(HOST).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
    assert_eq!(parsed.raw_serial().len(), 16);
    assert!(parsed.raw_serial()[0] < 0x80);
    assert!(parsed.validity().time_to_expiration().unwrap() <= DAY);
    let san = parsed.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(san.general_names, [x509_parser::extensions::GeneralName::DNSName(HOST)]);
    let names: Vec<_> = parsed.extensions().iter().map(|e| e.oid.to_id_string()).collect();
    // AKI, SAN, keyUsage, EKU, SKI, basicConstraints.
    let all = ["2.5.29.35", "2.5.29.17", "2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.19"];
    assert_eq!(names, all);

    let (_, intermediate) = x509_parser::parse_x509_certificate(&leaf.cert[1]).unwrap();
    assert!(intermediate.name_constraints().unwrap().unwrap().critical);
    let basic = intermediate.basic_constraints().unwrap().unwrap().value;
    assert_eq!((basic.ca, basic.path_len_constraint), (true, Some(0)));
    let root = pem::certificates(authority.roots_pem().as_bytes()).unwrap().remove(0);
    let (_, root) = x509_parser::parse_x509_certificate(&root).unwrap();
    assert!(root.name_constraints().unwrap().unwrap().critical);
    assert_eq!(root.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(1));
    assert_ne!(root.public_key(), intermediate.public_key());
    let permitted = authority.describe().permitted.unwrap();
    assert_eq!(permitted, [Arc::from("orders.example")]);
}

#[test]
fn a_long_host_has_no_common_name_and_a_critical_san() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&["example"]);
    let host = format!("{0}.{0}.example", "a".repeat(40));
    let leaf = authority.leaf(&host).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
    assert_eq!(parsed.subject().iter().count(), 0);
    assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
    openssl(&authority.roots_pem(), &leaf.cert, &["-verify_hostname", &host]).unwrap();
}

#[test]
fn without_names_it_signs_for_nobody_and_any_signs_for_all() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[]);
    assert_eq!(authority.leaf(HOST).unwrap_err().code(), "ca-out-of-scope");
    let forged = forge(&bench.stolen(), "leaf", "bank.example");
    openssl(&authority.roots_pem(), &forged, &[]).unwrap_err();

    let (authority, opened) = bench.try_open(true, &[]).unwrap();
    assert_eq!(opened, Opened::Rescoped);
    let leaf = authority.leaf("bank.example").unwrap();
    openssl(&authority.roots_pem(), &leaf.cert, &["-verify_hostname", "bank.example"]).unwrap();
    assert_eq!(authority.describe().permitted, None);

    let (authority, opened) = bench.open(&[HOST]);
    assert_eq!(opened, Opened::Rescoped);
    let roots = authority.describe().roots;
    assert!(
        roots.iter().all(|root| root.permitted.is_some()),
        "none that could sign for all: {roots:?}"
    );
}

#[test]
fn reopened_it_is_the_same_until_routes_outgrow_it() {
    let bench = Bench::new();
    let roots = bench.open(&["b.example", "c.example"]).0.roots_pem();
    let (authority, opened) = bench.open(&["*.b.example"]);
    assert_eq!((authority.roots_pem(), opened), (roots.clone(), Opened::Existing));

    let (authority, opened) = bench.open(&["b.example", "d.example"]);
    assert_eq!(opened, Opened::Outgrown { missing: vec!["d.example".into()] });
    authority.leaf("d.example").unwrap();
    assert_eq!(authority.leaf("c.example").unwrap_err().code(), "ca-out-of-scope");
    let text = authority.roots_pem();
    assert!(text.starts_with(&roots), "the old root stays trusted, before the new one");
    assert_eq!(count_keys(&bench.dir()), 2, "it signs for what it always did");
}

#[test]
fn whoever_read_the_roots_keeps_what_it_had() {
    let bench = Bench::new();
    let mut hosts = vec!["h0.example".to_owned()];
    let mut readers = Vec::new();
    for n in 1..=20 {
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let (authority, _) = bench.open(&names);
        let versions = [&rustls::version::TLS13];
        readers.push((n, rustls_client(&authority.roots_pem(), &versions, &[])));
        let roots = authority.describe().roots;
        assert!(roots.len() <= 16, "bounded");
        assert!(roots.iter().all(|root| root.role == Role::Current), "{roots:?}");
        // Beyond sixteen the second oldest goes: its own host is signed for by another one, which
        // not everybody knows.
        let gone = usize::saturating_sub(n, 16);
        for (read_at, client) in &readers {
            for (age, host) in hosts.iter().take(*read_at).enumerate() {
                let server = authority.server_config(host, Alpn::Http1).unwrap();
                let kept = handshake(client, server, host);
                let lost = (1..=gone).contains(&age) && *read_at < gone + 2;
                assert_eq!(kept.is_ok(), !lost, "read at {read_at}, {host}, at {n}: {kept:?}");
            }
        }
        hosts.push(format!("h{n}.example"));
    }
}

#[test]
fn a_route_that_comes_back_is_signed_for_by_who_did() {
    let bench = Bench::new();
    bench.open(&[HOST]);
    let first = bench.open(&[HOST, "b.example"]).0.leaf("b.example").unwrap();
    let (without, opened) = bench.open(&[HOST]);
    assert_eq!(opened, Opened::Existing);
    assert_eq!(without.leaf("b.example").unwrap_err().code(), "ca-out-of-scope");
    assert_eq!(without.describe().roots.len(), 2);
    let (again, opened) = bench.open(&["b.example", HOST]);
    assert_eq!(opened, Opened::Existing);
    assert_eq!(again.leaf("b.example").unwrap().cert[1], first.cert[1]);
}

#[test]
fn a_successor_is_made_early_and_signs_late() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let first = authority.leaf(HOST).unwrap();
    bench.clock.forward(19 * DAY);
    assert_eq!(authority.maintain().unwrap(), Opened::Existing);
    bench.clock.forward(2 * DAY);
    assert_eq!(authority.maintain().unwrap(), Opened::Prepared);
    assert_eq!(authority.maintain().unwrap(), Opened::Existing, "one is enough");
    assert_eq!(authority.describe().roots[1].role, Role::Successor);
    let second = authority.leaf(HOST).unwrap();
    assert_ne!(first.cert[0], second.cert[0]);
    assert_eq!(first.cert[1], second.cert[1], "the older one still signs");
    bench.clock.forward(8 * DAY);
    assert_eq!(authority.leaf(HOST).unwrap().cert[1], first.cert[1], "to its last hour");

    // Even where nobody maintains it.
    let end = bench.stolen().root.not_after;
    let last_hour = end.duration_since(bench.clock.now().wall).unwrap() - DAY / 48;
    bench.clock.forward(last_hour);
    let third = authority.leaf(HOST).unwrap();
    assert_ne!(second.cert[1], third.cert[1]);
    assert_eq!(authority.describe().roots[0].role, Role::Retired);
    assert_eq!(authority.describe().roots[1].role, Role::Current);
    bench.clock.forward(DAY / 24);
    assert_eq!(authority.maintain().unwrap(), Opened::Succeeded);
    assert_eq!(authority.leaf(HOST).unwrap().cert, third.cert);
    assert_eq!((authority.describe().roots.len(), count_keys(&bench.dir())), (1, 1));

    assert_eq!(bench.open(&[HOST]).1, Opened::Existing);
    bench.clock.forward(60 * DAY);
    assert_eq!(authority.leaf(HOST).unwrap_err().code(), "ca-expired");
    let (authority, opened) = bench.open(&[HOST]);
    assert_eq!((opened, authority.describe().roots.len()), (Opened::Expired, 1));
}

#[test]
fn what_the_first_release_wrote_is_read() {
    let bench = Bench::new();
    let first = bench.open(&[HOST]).0.leaf(HOST).unwrap();
    let (authority, _) = bench.open(&[HOST, "b.example"]);
    let ids: Vec<String> = {
        let disk = Disk::open(&bench.dir()).unwrap();
        let lock = disk.lock().unwrap();
        disk.recover(&lock).unwrap().unwrap().live.iter().map(ToString::to_string).collect()
    };
    // As it had them: one that signed once, without its key, and one that signs.
    let [retired, current] = &ids[..] else { panic!("{ids:?}") };
    fs::remove_file(bench.dir().join(retired).join("intermediate.key")).unwrap();
    let manifest = format!(
        "{{\"version\": 1, \"current\": \"{current}\", \"next\": null, \"retired\": [\"{retired}\"]}}"
    );
    fs::write(bench.dir().join("manifest.json"), manifest).unwrap();
    let second = authority.leaf("b.example").unwrap();

    let (authority, opened) = bench.open(&[HOST, "b.example"]);
    assert_eq!(opened, Opened::Existing);
    assert_eq!(authority.leaf("b.example").unwrap().cert[1], second.cert[1]);
    assert_ne!(authority.leaf(HOST).unwrap().cert[1], first.cert[1]);
    assert!(bench.dir().join(retired).exists(), "a daemon of that version may still read it");
    authority.rotate(Rotation::Planned).unwrap();
    assert!(!bench.dir().join(retired).exists());
    assert_eq!(authority.leaf(HOST).unwrap().cert[1], second.cert[1]);
    let text = fs::read_to_string(bench.dir().join("manifest.json")).unwrap();
    assert!(text.contains("\"version\": 2") && !text.contains("retired"), "{text}");
    let newer = text.replace("\"version\": 2", "\"version\": 3, \"more\": 1");
    fs::write(bench.dir().join("manifest.json"), newer).unwrap();
    let said = bench.try_open(false, &[HOST]).unwrap_err().to_string();
    assert!(said.contains("newer version"), "{said}");
}

#[test]
fn a_leaf_is_renewed_at_half_of_its_life_and_never_outlives_its_issuer() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let first = authority.leaf(HOST).unwrap();
    bench.clock.forward(DAY / 2 - Duration::from_secs(2));
    assert!(Arc::ptr_eq(&first, &authority.leaf(HOST).unwrap()));
    bench.clock.forward(Duration::from_secs(3));
    assert!(!Arc::ptr_eq(&first, &authority.leaf(HOST).unwrap()));

    bench.clock.forward(29 * DAY);
    let public_key = CaKey::generate().unwrap().subject_public_key_info().into();
    let signed = authority.sign(&LeafRequest { host: HOST.into(), public_key }).unwrap();
    assert_eq!(signed.not_after, bench.stolen().root.not_after, "with nobody else to sign");
    bench.clock.back(60 * DAY);
    assert_eq!(authority.leaf(HOST).unwrap_err().code(), "ca-not-yet-valid");
    assert_eq!(bench.refused(), "ca-not-yet-valid");
}

#[test]
fn rotated_by_hand() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let first = authority.leaf(HOST).unwrap();
    authority.rotate(Rotation::Planned).unwrap();
    let second = authority.leaf(HOST).unwrap();
    assert_eq!(first.cert[1], second.cert[1], "nobody loses trust");
    assert_eq!(authority.describe().roots.len(), 2);
    openssl(&authority.roots_pem(), &second.cert, &[]).unwrap();

    authority.rotate(Rotation::Compromised).unwrap();
    let third = authority.leaf(HOST).unwrap();
    assert_eq!((authority.describe().roots.len(), count_keys(&bench.dir())), (1, 1));
    openssl(&authority.roots_pem(), &third.cert, &[]).unwrap();
    openssl(&authority.roots_pem(), &second.cert, &[]).unwrap_err();
    assert_eq!(bench.open(&[HOST]).1, Opened::Existing);
}

#[test]
fn it_is_ours_alone_or_refused() {
    let bench = Bench::new();
    bench.open(&[HOST]);
    let generation = bench.generation_dir();
    let key = generation.join("intermediate.key");
    for (path, good, bad) in [
        (bench.dir(), 0o700, 0o750),
        (generation.clone(), 0o700, 0o701),
        (key.clone(), 0o600, 0o640),
        (key.clone(), 0o600, 0o602),
        (generation.join("root.pem"), 0o600, 0o620),
        (bench.dir().join("manifest.json"), 0o600, 0o666),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, good, "{}", path.display());
        fs::set_permissions(&path, Permissions::from_mode(bad)).unwrap();
        assert_eq!(bench.refused(), "ca-permissions", "{} {bad:o}", path.display());
        fs::set_permissions(&path, Permissions::from_mode(good)).unwrap();
    }
    assert_eq!(bench.open(&[HOST]).1, Opened::Existing);

    let aside = bench.state.path().join("aside");
    for path in
        [key, generation, bench.dir().join("manifest.json"), bench.dir().join("lock"), bench.dir()]
    {
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        assert_eq!(bench.refused(), "ca-not-plain", "{}", path.display());
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    fs::rename(bench.dir(), &aside).unwrap();
    fs::write(bench.dir(), "").unwrap();
    assert_eq!(bench.refused(), "ca-not-plain");
}

#[test]
fn a_foreign_owner_is_refused() {
    let bench = Bench::new();
    bench.open(&[HOST]);
    let key = bench.generation_dir().join("intermediate.key");
    if std::os::unix::fs::chown(&key, Some(65534), None).is_err() {
        return not_run("only root can give files away");
    }
    assert_eq!(bench.refused(), "ca-owner");
}

#[test]
fn damage_is_said_and_never_mended_with_a_new_ca() {
    let bench = Bench::new();
    bench.open(&[HOST]);
    let generation = bench.generation_dir();
    for path in [
        generation.join("intermediate.key"),
        generation.join("intermediate.pem"),
        generation.join("root.pem"),
        bench.dir().join("manifest.json"),
    ] {
        let good = fs::read(&path).unwrap();
        for bad in [b"".to_vec(), good[..good.len() / 2].to_vec(), b"{}".to_vec(), vec![0; 99]] {
            fs::write(&path, bad).unwrap();
            assert_eq!(bench.refused(), "ca-corrupt", "{}", path.display());
        }
        fs::remove_file(&path).unwrap();
        assert!(["ca-corrupt", "ca-io"].contains(&bench.refused()), "{}", path.display());
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(bench.open(&[HOST]).1, Opened::Existing);

    // Another CA's key under our certificates.
    let other = Bench::new();
    other.open(&[HOST]);
    let key = |bench: &Bench| bench.generation_dir().join("intermediate.key");
    fs::copy(key(&other), key(&bench)).unwrap();
    assert_eq!(bench.refused(), "ca-corrupt");
}

#[test]
fn the_one_in_memory_goes_on_when_the_disk_is_emptied() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let roots = authority.roots_pem();
    fs::remove_file(bench.dir().join("manifest.json")).unwrap();
    assert_eq!(authority.maintain().unwrap_err().code(), "ca-corrupt");
    fs::remove_dir_all(bench.dir()).unwrap();
    assert_eq!(authority.maintain().unwrap_err().code(), "ca-io");
    assert!(!bench.dir().exists());
    authority.leaf("x.api.orders.example").unwrap();
    assert_eq!(authority.roots_pem(), roots);
}

#[test]
fn killed_at_any_step_it_starts_again() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let (dir, generation) = (bench.dir(), bench.generation_dir());
    let begun = dir.join(format!(".new-{}", bench.stolen().id));
    let manifest = dir.join("manifest.json");

    // After the manifest, before the directory's name.
    fs::rename(&generation, &begun).unwrap();
    let (again, opened) = bench.open(&[HOST]);
    assert_eq!((again.roots_pem(), opened), (authority.roots_pem(), Opened::Existing));

    // A successor that was begun, and a manifest that was never put in place.
    let half = dir.join(".new-01ARZ3NDEKTSV4RRFFQ69G5FAV");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("intermediate.key"), "-----BEGIN").unwrap();
    fs::write(dir.join(".manifest.json"), "{").unwrap();
    assert_eq!(bench.open(&[HOST]).1, Opened::Existing);
    assert!(!half.exists());

    // One that nobody names.
    fs::create_dir(dir.join("01ARZ3NDEKTSV4RRFFQ69G5FAV")).unwrap();
    assert_eq!(bench.open(&[HOST]).1, Opened::Existing);
    assert!(!dir.join("01ARZ3NDEKTSV4RRFFQ69G5FAV").exists());

    // Before the first manifest.
    authority.rotate(Rotation::Planned).unwrap();
    fs::remove_file(&manifest).unwrap();
    fs::remove_dir_all(&generation).unwrap();
    let now = bench.generation_dir_without_manifest();
    fs::rename(&now, &begun).unwrap();
    assert_eq!(bench.open(&[HOST]).1, Opened::Created);
    assert_eq!(count_keys(&dir), 1);
}

impl Bench {
    fn generation_dir_without_manifest(&self) -> std::path::PathBuf {
        let mut dirs = fs::read_dir(self.dir()).unwrap().map(|e| e.unwrap().path());
        dirs.find(|path| path.is_dir()).unwrap()
    }
}

#[test]
fn many_that_begin_at_once_agree() {
    let bench = Bench::new();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| bench.open(&[HOST]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let created = opened.iter().filter(|(_, opened)| *opened == Opened::Created).count();
    assert_eq!(created, 1);
    let roots = opened[0].0.roots_pem();
    assert!(opened.iter().all(|(authority, _)| authority.roots_pem() == roots));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&["example"]);
    let favourite = authority.leaf("favourite.example").unwrap();
    for n in 0..2 * MAX_LEAVES + 100 {
        authority.leaf(&format!("h{n}.example")).unwrap();
        assert!(authority.cached() <= MAX_LEAVES);
        assert!(Arc::ptr_eq(&favourite, &authority.leaf("favourite.example").unwrap()));
    }
    assert!(authority.cached() >= MAX_LEAVES * 3 / 4);
    let shouted = authority.leaf("FAVOURITE.example.").unwrap();
    assert!(Arc::ptr_eq(&favourite, &shouted));
}

#[test]
fn one_config_per_host_and_protocol_list() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let both = authority.server_config(HOST, Alpn::Both).unwrap();
    assert!(Arc::ptr_eq(&both, &authority.server_config(HOST, Alpn::Both).unwrap()));
    assert_eq!(both.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    let http1 = authority.server_config(HOST, Alpn::Http1).unwrap();
    assert_eq!(http1.alpn_protocols, [b"http/1.1".to_vec()]);
    assert_eq!(both.max_early_data_size, 0);
    assert!(both.ticketer.enabled());
    assert_eq!(authority.cached(), 1);
}

#[test]
fn show_changes_nothing() {
    let bench = Bench::new();
    assert!(show(&bench.dir(), SystemTime::now()).unwrap().is_none());
    assert!(!bench.dir().exists());
    let (authority, _) = bench.open(&[HOST]);
    let (description, roots) = show(&bench.dir(), bench.clock.now().wall).unwrap().unwrap();
    assert_eq!((description, roots), (authority.describe(), authority.roots_pem()));
    let text = serde_json::to_string(&authority.describe()).unwrap();
    assert!(text.contains("\"role\":\"current\"") && !text.contains("PRIVATE"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_leaf_outside_the_constraints(host in "([a-z0-9_*-]{0,6}\\.){0,3}(orders|ordersx|xorders|bank)\\.(example|EXAMPLE|com)\\.?|[0-9.:\\[\\]]{1,12}") {
        static SHARED: std::sync::LazyLock<(Bench, Authority)> = std::sync::LazyLock::new(|| {
            let bench = Bench::new();
            let authority = bench.open(&["orders.example"]).0;
            (bench, authority)
        });
        let canonical = host.to_ascii_lowercase();
        let canonical = canonical.strip_suffix('.').unwrap_or(&canonical);
        let inside = canonical == "orders.example" || canonical.ends_with(".orders.example");
        let answer = SHARED.1.leaf(&host);
        prop_assert!(inside || answer.is_err());
        if let Ok(leaf) = answer {
            let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
            let san = parsed.subject_alternative_name().unwrap().unwrap().value;
            prop_assert_eq!(&san.general_names[..], &[x509_parser::extensions::GeneralName::DNSName(canonical)][..]);
        }
    }
}

fn count_keys(dir: &Path) -> usize {
    let generations = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    generations.filter(|path| path.join("intermediate.key").exists()).count()
}

/// Runs a program of the machine under a clean environment: whether it succeeded, and its words.
pub(super) fn run(program: &str, arguments: &[&OsStr]) -> (bool, String) {
    let output = Command::new(program)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&words).into_owned())
}

/// Runs a handshake in memory: what the client found, or why it refused.
fn handshake(
    client: &Arc<rustls::ClientConfig>,
    server: Arc<ServerConfig>,
    host: &str,
) -> Result<rustls::ClientConnection, rustls::Error> {
    let name = host.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::clone(client), name)?;
    let mut server = rustls::ServerConnection::new(server)?;
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking());
    Ok(client)
}

fn rustls_client(
    roots: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<rustls::ClientConfig> {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(pem::certificates(roots.as_bytes()).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[test]
fn rustls_accepts_resumes_and_refuses_a_thief() {
    let bench = Bench::new();
    let (authority, _) = bench.open(&[HOST]);
    let roots = authority.roots_pem();
    let config = || authority.server_config(HOST, Alpn::Both).unwrap();
    for versions in [[&rustls::version::TLS13], [&rustls::version::TLS12]] {
        let client = rustls_client(&roots, &versions, &["h2", "http/1.1"]);
        let first = handshake(&client, config(), HOST).unwrap();
        assert_eq!(first.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(first.handshake_kind(), Some(rustls::HandshakeKind::Full));
        let second = handshake(&client, config(), HOST).unwrap();
        assert_eq!(second.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        let none = rustls_client(&roots, &versions, &[]);
        assert_eq!(handshake(&none, config(), HOST).unwrap().alpn_protocol(), None);
    }

    let stolen = bench.stolen();
    let tls = Tls::new().unwrap();
    let client = rustls_client(&roots, &[&rustls::version::TLS13], &[]);
    for (profile, host) in [("leaf", "bank.example"), ("expired", HOST), ("wrong-host", HOST)] {
        let leaf = Arc::new(tls.certified(forge(&stolen, profile, host)));
        let server = Arc::new(tls.server_config(&leaf, Alpn::Both).unwrap());
        let refused = handshake(&client, server, host).unwrap_err();
        assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{profile}: {refused}");
    }
}
