//! The client assertion in a file, which whoever issues it replaces: the kubelet the token of a service account, an agent of
//! SPIRE a JWT-SVID.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;

use crate::client::files::FileError;
use crate::proto::IssueTokenRequest;

/// The `client_assertion_type` of a JWT of a trusted issuer, such as the token of a Kubernetes service account.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The `client_assertion_type` of a JWT-SVID.
pub const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The size limit in bytes, above that of any assertion that the server reads: a file named by mistake is not read to its end.
const MAX_BYTES: u64 = 64 * 1024;

/// The request with the assertion that is in the file now.
pub(in crate::client) fn asserted(request: IssueTokenRequest, path: &Path) -> Result<IssueTokenRequest, FileError> {
    let unreadable = |error| FileError::Unreadable(path.to_owned(), error);
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let assertion = text.trim();
    if assertion.is_empty() {
        return Err(unreadable(io::Error::other("it is empty")));
    }
    Ok(IssueTokenRequest { client_assertion: assertion.to_owned(), ..request })
}
