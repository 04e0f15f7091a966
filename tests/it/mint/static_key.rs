//! `static-key`: a standing key reaches its one host, is told as standing, and is never shown.

use super::{bearer, silent, staged};
use crate::harness::canary;

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
