//! The seeds of fuzz targets that use public parts alone, held to what the targets assert.

use std::path::Path;

#[path = "../fuzz/targets/framing/holds.rs"]
mod framing;

#[test]
fn framing_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/framing");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let seed = std::fs::read(seed.unwrap().path()).unwrap();
        framing::request(&seed);
        framing::answer(&seed);
        framing::challenges(&seed);
        count += 1;
    }
    assert!(count > 0, "there are seeds");
}
