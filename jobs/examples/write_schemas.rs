//! Writes `jobs/schemas/<kind>.json` anew: `cargo run -p clearday-jobs --example write_schemas`.

#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

use std::path::Path;

use clearday_jobs::{JobKind, schema_for};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for kind in JobKind::ALL {
        let file = folder.join(format!("{kind}.json"));
        std::fs::write(&file, format!("{:#}\n", schema_for(kind)))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}
