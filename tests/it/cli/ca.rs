//! The local CA from the outside: what it shows, and what it can sign.

use crate::harness::stage::{BILLING, ORDERS, Stage};

#[tokio::test]
async fn the_root_is_constrained_to_the_routed_names() {
    let stage = Stage::valetkey().await;
    let pem = stage.ca_pem();
    assert!(!pem.contains("PRIVATE KEY"), "the bundle holds no key");
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let root = pem.parse_x509().unwrap();
    let constraints = root.name_constraints().unwrap().expect("name constraints");
    assert!(constraints.critical);
    let permitted = constraints.value.permitted_subtrees.as_ref().expect("permitted subtrees");
    let names: Vec<_> = permitted.iter().map(|s| s.base.to_string()).collect();
    for host in [ORDERS, BILLING] {
        assert!(names.iter().any(|n| n.contains(host)), "{host} in {names:?}");
    }
    assert!(!names.iter().any(|n| n == "DNSName()" || n == "DNSName(example)"), "{names:?}");
    let basic = root.basic_constraints().unwrap().unwrap();
    assert!(basic.value.ca && basic.value.path_len_constraint == Some(1));
}

/// `ca show` on a machine where nothing ran yet makes the CA or says what to do, without a panic.
#[tokio::test]
async fn show_before_the_first_start() {
    let home = crate::harness::valetkey::Valetkey::new()
        .route("name = \"a\"\nhost = \"a.example\"")
        .written();
    let done = home.run(&["ca", "show", "--pem"]).await;
    match done.code {
        Some(0) => assert!(done.stdout.contains("BEGIN CERTIFICATE"), "{done:?}"),
        _ => assert!(done.stderr.contains("hint"), "{done:?}"),
    }
}

#[tokio::test]
async fn rotate_makes_another() {
    let mut stage = Stage::valetkey().await;
    stage.running_mut().sigterm();
    stage.running_mut().ended().await;
    let home = stage.running().unwrap().home.clone();
    let before = home.run(&["ca", "show", "--pem"]).await.stdout;
    let done = home.run(&["ca", "rotate"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let after = home.run(&["ca", "show", "--pem"]).await.stdout;
    assert_ne!(before, after);
}
