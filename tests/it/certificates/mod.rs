//! Certificates, their names and thumbprints.

mod distinguished_name;
mod printed_names;
mod subjects;
mod thumbprints;
mod without_spiffe_id;
