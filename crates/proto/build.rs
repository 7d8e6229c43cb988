//! Compiles `/proto` with protox: no `protoc` has to be installed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked at run time: a build folder may be copied together with its programs.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = protox::compile(["raft.proto", "control.proto"], [&root])?;
    tonic_prost_build::configure().bytes(".slotward.raft.v1").compile_fds(files)?;
    Ok(())
}
