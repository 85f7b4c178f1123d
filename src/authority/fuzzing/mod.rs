//! What the fuzz targets check of the parsers of the core. Any bytes are read without a panic, and what is read keeps what
//! its parser promises: a second reading agrees, what is printed is read again, and nothing unsigned is accepted.

mod certificates;
mod documents;
mod evidence;
mod names;
mod now;
mod receipts;
mod records;
mod requests;
mod tokens;

pub(crate) use crate::authority::fuzzing::certificates::certificate_paths;
pub(crate) use crate::authority::fuzzing::certificates::certificates;
pub(crate) use crate::authority::fuzzing::documents::bundle_documents;
pub(crate) use crate::authority::fuzzing::documents::jwks;
pub(crate) use crate::authority::fuzzing::evidence::client_certs;
pub(crate) use crate::authority::fuzzing::evidence::forwarded_client_cert;
pub(crate) use crate::authority::fuzzing::names::distinguished_names;
pub(crate) use crate::authority::fuzzing::names::spiffe_ids;
pub(crate) use crate::authority::fuzzing::receipts::receipts;
pub(crate) use crate::authority::fuzzing::records::stored_records;
pub(crate) use crate::authority::fuzzing::requests::authorization;
pub(crate) use crate::authority::fuzzing::requests::headers_of_a_check;
pub(crate) use crate::authority::fuzzing::requests::request_paths;
pub(crate) use crate::authority::fuzzing::tokens::access_tokens;
pub(crate) use crate::authority::fuzzing::tokens::issuer_jwts;
pub(crate) use crate::authority::fuzzing::tokens::jwt_svids;
