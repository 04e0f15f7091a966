//! I14, the CA can sign only names that routes and `permit` name. (What each TLS library makes of a thief's leaf:
//! `clients/trust.rs`.)

use crate::ensure;
use crate::harness::stage::{EVIL, Stage, Verdict};
use crate::invariant::invariant;

invariant!("I14": the_ca_is_good_for_routed_names_alone);

async fn the_ca_is_good_for_routed_names_alone(stage: &mut Stage) -> Verdict {
    let pem = stage.ca_pem().to_owned();
    ensure!(!pem.contains("PRIVATE KEY"), "the bundle holds a key");
    for root in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let root = root.map_err(|error| error.to_string())?;
        let root = root.parse_x509().map_err(|error| error.to_string())?;
        let constraints = root.name_constraints().map_err(|error| error.to_string())?;
        let Some(constraints) = constraints.filter(|constraints| constraints.critical) else {
            return Err(format!("{} may sign for any name, as {EVIL}", root.subject()));
        };
        let permitted = constraints.value.permitted_subtrees.as_deref().unwrap_or_default();
        let names: Vec<_> = permitted.iter().map(|subtree| subtree.base.to_string()).collect();
        ensure!(!names.is_empty(), "no name is permitted, so all are");
        ensure!(!names.iter().any(|name| name.contains(EVIL)), "{names:?}");
    }
    stage.control().await
}
