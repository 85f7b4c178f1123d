//! Certificates, their names and thumbprints.

mod distinguished_name;
mod subjects;
mod thumbprints;
mod without_spiffe_id;
