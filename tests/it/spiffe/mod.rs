//! SPIFFE identities: X509-SVIDs, JWT-SVIDs and trust bundles.

mod bundle_documents;
mod identities;
mod isolation;
mod jwt_svids;
mod spiffe_jwt;
mod spiffe_jwt_clients;
mod spiffe_x509;
mod spire;
