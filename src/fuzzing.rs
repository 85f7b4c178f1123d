//! The entries of the fuzz targets, by their names: `fuzz/` calls them, and a test runs them over the seeds. They are
//! compiled for both alone.

use crate::authority::fuzzing as core;
use crate::cli::fuzzing as cli;
use crate::grpc::fuzzing as grpc;
use crate::http::fuzzing as http;
use crate::server::fuzzing as server;
use crate::store::sled::fuzzing as sled;

/// What a target runs on an input: it panics where a parser broke a promise.
type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 22] = [
    ("accept", http::accept),
    ("access_tokens", core::access_tokens),
    ("authorization", core::authorization),
    ("bundle_documents", core::bundle_documents),
    ("certificate_paths", core::certificate_paths),
    ("certificates", core::certificates),
    ("checks", grpc::checks),
    ("client_certs", core::client_certs),
    ("distinguished_names", core::distinguished_names),
    ("forms", http::forms),
    ("forwarded_client_cert", core::forwarded_client_cert),
    ("grpc_frames", grpc::grpc_frames),
    ("issuer_jwts", core::issuer_jwts),
    ("jwks", core::jwks),
    ("jwt_svids", core::jwt_svids),
    ("proxy_headers", server::proxy_headers),
    ("receipts", core::receipts),
    ("registration_documents", cli::registration_documents),
    ("request_paths", core::request_paths),
    ("spiffe_ids", core::spiffe_ids),
    ("stored_envelopes", sled::stored_envelopes),
    ("stored_records", core::stored_records),
];

/// Runs a target on an input.
///
/// # Panics
/// Where there is no such target, and where a parser broke a promise.
pub fn run(target: &str, input: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let Some((_, check)) = found else { unreachable!("there is no target {target}") };
    check(input);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_has_its_binary_and_passes_its_seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let binaries = manifest.matches("[[bin]]").count();
        assert_eq!(binaries, TARGETS.len());
        for (name, check) in TARGETS {
            let source = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(manifest.contains(&format!("name = \"{name}\"\n")) && source.contains(&format!("run(\"{name}\"")));
            let seeds: Vec<_> = fs::read_dir(folder.join("seeds").join(name)).unwrap().map(Result::unwrap).collect();
            assert!(seeds.len() >= 5, "{name}: {} seeds", seeds.len());
            for seed in seeds {
                let input = fs::read(seed.path()).unwrap();
                let passed = std::panic::catch_unwind(|| check(&input));
                assert!(passed.is_ok(), "{name}: {}", seed.path().display());
            }
        }
    }
}
