//! `/oauth2/register`: dynamic client registration (RFC 7591) and its management (RFC 7592). The client configuration
//! endpoint is the registration endpoint with the `client_id` as a query, because a SPIFFE ID has slashes.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::authority::Authority;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::DynamicRegistrationError;
use crate::authority::registration::RegisteredClient;
use crate::authority::registration::parse_access_token_ttl;
use crate::authority::state::Caller;
use crate::http::headers::NO_STORE;
use crate::http::registration_error::RegistrationRefused;

/// Fields that only the server sets (RFC 7592 section 2.2). A client must not send them back.
const SERVERS_OWN: [&str; 4] =
    ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];

/// The metadata of RFC 7591 section 2 that a registrant sets. Other members are ignored, as that section requires.
const REGISTRANTS_OWN: [&str; 14] = [
    "token_endpoint_auth_method",
    "grant_types",
    "spiffe_id",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
    "jwks",
    "jwks_uri",
    "scope",
    "audience",
    "tls_client_certificate_bound_access_tokens",
    "rotation",
];

/// Metadata that restricts a client and that only an operator sets, each with its refusal: a registrant that sends it must
/// not believe that it is in effect.
const OPERATORS_OWN: [(&str, &str); 5] = [
    ("client_ca", "client_ca is for an operator to set: leave it out"),
    ("disabled", "disabled is for an operator to set: leave it out"),
    ("exchange", "exchange is for an operator to set: leave it out"),
    ("delegates", "delegates is for an operator to set: leave it out"),
    ("txn", "txn is for an operator to set: leave it out"),
];

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    /// If absent, the response is that for an unknown client.
    #[serde(default)]
    client_id: String,
}

pub(super) async fn create(
    State(authority): State<Arc<Authority>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, RegistrationRefused> {
    let object = object(&headers, &body)?;
    for (member, refused) in OPERATORS_OWN {
        if object.contains_key(member) {
            return Err(RegistrationRefused::Metadata(refused));
        }
    }
    let registered = authority.register_dynamically(&caller, requested(&object)?).await?;
    let mut answer = print(&authority, &registered.client);
    let token = registered.registration_access_token.expose();
    answer.insert("registration_access_token".to_owned(), Value::from(token));
    Ok((StatusCode::CREATED, NO_STORE, Json(answer)))
}

pub(super) async fn read(
    State(authority): State<Arc<Authority>>,
    Extension(caller): Extension<Caller>,
    Query(named): Query<Named>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, RegistrationRefused> {
    let token = bearer(&headers)?;
    let client = authority.registered_dynamically(&caller, &named.client_id, token)?;
    let mut answer = print(&authority, &client);
    // Return the presented token: the server stores only its hash.
    answer.insert("registration_access_token".to_owned(), Value::from(token));
    Ok((NO_STORE, Json(answer)))
}

pub(super) async fn replace(
    State(authority): State<Arc<Authority>>,
    Extension(caller): Extension<Caller>,
    Query(named): Query<Named>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, RegistrationRefused> {
    let token = bearer(&headers)?;
    let present = authority.registered_dynamically(&caller, &named.client_id, token)?;
    let object = object(&headers, &body)?;
    if SERVERS_OWN.iter().any(|member| object.contains_key(*member)) || object.contains_key("client_secret") {
        return Err(RegistrationRefused::Malformed("the body has a member that is the server's to set"));
    }
    if object.get("client_id").and_then(Value::as_str) != Some(&named.client_id) {
        return Err(RegistrationRefused::Malformed("client_id must be there, and be the client's own"));
    }
    // A client sends back what it has read (RFC 7592 section 2.2).
    let read = print(&authority, &present);
    for (member, refused) in OPERATORS_OWN {
        if object.contains_key(member) && object.get(member) != read.get(member) {
            return Err(RegistrationRefused::Metadata(refused));
        }
    }
    let client = authority.replace_registration(&caller, &present, requested(&object)?).await?;
    let mut answer = print(&authority, &client);
    answer.insert("registration_access_token".to_owned(), Value::from(token));
    Ok((NO_STORE, Json(answer)))
}

pub(super) async fn delete(
    State(authority): State<Arc<Authority>>,
    Extension(caller): Extension<Caller>,
    Query(named): Query<Named>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, RegistrationRefused> {
    let present = authority.registered_dynamically(&caller, &named.client_id, bearer(&headers)?)?;
    authority.delete_registration(&caller, &present).await?;
    Ok((StatusCode::NO_CONTENT, NO_STORE))
}

/// The bearer token (RFC 6750 section 2.1) of exactly one Authorization header.
fn bearer(headers: &HeaderMap) -> Result<&str, RegistrationRefused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(RegistrationRefused::NoToken)?;
    if values.next().is_some() {
        return Err(RegistrationRefused::Malformed("the request has several Authorization headers"));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(RegistrationRefused::NoToken)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_start_matches(' '))
    } else {
        Err(RegistrationRefused::NoToken)
    }
}

fn object(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, RegistrationRefused> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(RegistrationRefused::Malformed("the content type must be application/json"));
    }
    let object = serde_json::from_slice::<Map<String, Value>>(body);
    let object = object.map_err(|_| RegistrationRefused::Malformed("the body is not a JSON object"))?;
    // RFC 7592 section 2.2: null is the same as absent.
    Ok(object.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

fn requested(object: &Map<String, Value>) -> Result<ClientMetadata, RegistrationRefused> {
    const SHAPE: RegistrationRefused =
        RegistrationRefused::Metadata("a member of the metadata has the wrong JSON type");
    let own = |name: &&str| object.get(*name).map(|value| ((*name).to_owned(), value.clone()));
    let mut members: Map<String, Value> = REGISTRANTS_OWN.iter().filter_map(own).collect();
    members.insert("client_id".to_owned(), Value::from(""));
    // The default is client_secret_basic, which is not supported.
    members.entry("token_endpoint_auth_method").or_insert_with(|| Value::from(""));
    let mut metadata = ClientMetadata::deserialize(&members).map_err(|_| SHAPE)?;
    let access_token_ttl: Option<&str> =
        object.get("access_token_ttl").map(Deserialize::deserialize).transpose().map_err(|_| SHAPE)?;
    let response_types: Option<Vec<&str>> =
        object.get("response_types").map(Deserialize::deserialize).transpose().map_err(|_| SHAPE)?;
    // RFC 7591 section 2: the default of grant_types is authorization_code, which is not supported.
    if metadata.grant_types != ["client_credentials"] {
        return Err(RegistrationRefused::Metadata("grant_types must be client_credentials alone, and be named"));
    }
    if response_types.is_some_and(|types| !types.is_empty()) {
        return Err(RegistrationRefused::Metadata("response_types must be empty with client_credentials"));
    }
    if metadata.jwks.is_some() && metadata.jwks_uri.is_some() {
        return Err(RegistrationRefused::Metadata("jwks and jwks_uri exclude each other"));
    }
    let access_token_ttl = access_token_ttl.map(parse_access_token_ttl).transpose();
    metadata.access_token_ttl = access_token_ttl.map_err(DynamicRegistrationError::Invalid)?;
    Ok(metadata)
}

/// All registered metadata of the client, as stored (RFC 7591 section 3.2.1).
fn print(authority: &Authority, client: &RegisteredClient) -> Map<String, Value> {
    let metadata = serde_json::to_value(client.registration.metadata());
    let mut members = metadata.ok().and_then(|value| value.as_object().cloned()).unwrap_or_default();
    let client_id = utf8_percent_encode(client.registration.client_id.as_str(), NON_ALPHANUMERIC);
    let uri = format!("{}/oauth2/register?client_id={client_id}", authority.policy().mtls_url);
    members.insert("response_types".to_owned(), Value::Array(Vec::new()));
    members.insert("registration_client_uri".to_owned(), Value::from(uri));
    members.insert("client_id_issued_at".to_owned(), Value::from(client.record.create_time.0));
    members
}
