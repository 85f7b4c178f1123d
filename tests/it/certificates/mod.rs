//! Certificates, their names and thumbprints.

mod cases;
mod chain_kinds;
mod distinguished_name;
mod generated_chains;
mod path_budget;
mod path_names;
mod paths;
mod printed_names;
mod subjects;
mod thumbprints;
mod without_spiffe_id;
