//! Keeps `docs/reference/` what the code says it is.

use std::fs;
use std::path::Path;

#[test]
fn the_reference_is_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    for page in bonded::cli::pages() {
        let found = fs::read_to_string(folder.join(page.file)).unwrap_or_default();
        assert!(
            found == page.text,
            "docs/reference/{} is stale; run `cargo run -- reference` and commit what it writes",
            page.file
        );
    }
}
