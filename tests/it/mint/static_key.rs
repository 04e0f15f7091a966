//! `static-key`: a standing key reaches its one host, is told as standing, and is never shown.

use super::{bearer, silent, staged};
use crate::harness::canary;
use crate::harness::stage::{EVIL, own_answer};

#[tokio::test]
async fn a_standing_key_stands_in_its_slot_and_in_the_audit_as_standing() {
    let key = canary("standing");
    let credential = "grant = \"static-key\"\nsecret = { file = \"key\" }";
    let stage = staged(credential, "", &[("key", &key)]).await;
    assert_eq!(bearer(&stage, "/x").await, key);
    let audit = stage.running().unwrap().audit();
    let minted = audit.iter().find(|record| record["event"] == "mint").unwrap();
    assert_eq!(minted["context"]["standing"], true);
    silent(&stage, &[key]).await;
}

#[tokio::test]
async fn an_old_key_has_a_code_of_its_own() {
    let credential = "grant = \"static-key\"\nsecret = { file = \"key\" }\nmax_age = \"90d\"\nsince = \"2020-01-31\"";
    let stage = staged(credential, "", &[("key", &canary("standing"))]).await;
    let answer = stage.get(EVIL, "/x", "").await.unwrap();
    own_answer(&answer, &[503], &["static-key-outdated"]).unwrap();
    assert!(answer.text().contains("valetkey credential rotate mine"), "{}", answer.text());
    let audit = stage.running().unwrap().audit();
    let codes: Vec<_> = audit.iter().filter(|r| r["code"] == "static-key-outdated").collect();
    assert!(codes.len() >= 2, "the decision and the mint say so: {audit:?}");
}
