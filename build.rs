//! Compiles the protos without protoc, and keeps their descriptors for reflection.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

const PROTOS: [&str; 5] = [
    "proto/envoy/service/auth/v3/external_auth.proto",
    "proto/lanyard/v1/binding.proto",
    "proto/lanyard/v1/key.proto",
    "proto/lanyard/v1/registry.proto",
    "proto/lanyard/v1/token.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
