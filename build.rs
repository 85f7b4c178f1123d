//! Compiles the protos without protoc. For the server, keeps their descriptors for reflection.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// The services that workloads call.
const FOR_WORKLOADS: [&str; 3] =
    ["proto/lanyard/v1/binding.proto", "proto/lanyard/v1/snapshot.proto", "proto/lanyard/v1/token.proto"];

/// The services that administrators and Envoy call.
const FOR_OTHERS: [&str; 7] = [
    "proto/envoy/service/auth/v3/external_auth.proto",
    "proto/lanyard/v1/admin.proto",
    "proto/lanyard/v1/decision.proto",
    "proto/lanyard/v1/explanation.proto",
    "proto/lanyard/v1/key.proto",
    "proto/lanyard/v1/proposal.proto",
    "proto/lanyard/v1/registry.proto",
];

/// The services of etcd, which the store calls. They are not served, so reflection does not list them.
const OF_ETCD: &str = "proto/etcd/rpc.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let server = env::var_os("CARGO_FEATURE_SERVER").is_some();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(FOR_WORKLOADS)?;
    if server {
        compiler.open_files(FOR_OTHERS)?;
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
        fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    }
    let mut builder = tonic_prost_build::configure().build_server(server);
    // The largest holds a client. There is one for each change that is listed, and no more than a page of them.
    for large in ["lanyard.v1.RegistrationChange.before", "lanyard.v1.RegistrationChange.after"] {
        builder = builder.enum_attribute(large, "#[allow(clippy::large_enum_variant)]");
    }
    builder.compile_fds(compiler.file_descriptor_set())?;
    if server {
        let etcd = protox::compile([OF_ETCD], ["proto"])?;
        tonic_prost_build::configure().build_server(false).compile_fds(etcd)?;
    }
    Ok(())
}
