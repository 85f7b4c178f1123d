//! Grants for the authorization servers of other trust domains (draft-ietf-oauth-identity-chaining section 2.3). What they come from
//! stays here: nobody there could ask about it.

use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::keys::SigningKeys;
use crate::authority::tokens::claims::Confirmation;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::jws::MAX_TOKEN_BYTES;
use crate::authority::tokens::jws::NotSigned;
use crate::authority::tokens::jws::sign_as;

/// The claims of a grant. It is bound to the certificate of the client that asked for it.
#[derive(Clone, Debug, Serialize)]
pub struct JwtGrantClaims {
    /// The server's issuer identifier.
    pub iss: String,
    /// The issuer identifier of the other authorization server, and no other.
    pub aud: String,
    /// Whom it speaks for.
    pub sub: String,
    /// The client that may use it.
    pub client_id: String,
    /// Its identifier.
    pub jti: String,
    /// The time of issue.
    pub iat: Timestamp,
    /// The first second in which it is no longer valid.
    pub exp: Timestamp,
    /// Space-separated scopes, by the words of the other trust domain.
    pub scope: String,
    /// Who acts for the subject, as far as it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Actors>,
    /// The certificate of the client.
    pub cnf: Confirmation,
}

/// Signs a grant with this `typ`, with the key that signs.
pub async fn sign_jwt_grant(keys: &SigningKeys, typ: &str, claims: &JwtGrantClaims) -> Result<String, NotSigned> {
    let grant = sign_as(keys, typ, claims).await?;
    if grant.len() > MAX_TOKEN_BYTES { Err(NotSigned::TooLarge) } else { Ok(grant) }
}
