//! Compiles the protocol buffers without `protoc`: descriptors always, clients with the feature `client`.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 2] = ["ops_core/tasks.proto", "opspawn/v1/opspawn.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;
    // With the extensions that prost's own types would drop, and with the comments.
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    if env::var_os("CARGO_FEATURE_CLIENT").is_some() {
        tonic_prost_build::configure()
            .build_server(false)
            .build_client(true)
            .compile_fds(compiler.file_descriptor_set())?;
    }
    Ok(())
}
