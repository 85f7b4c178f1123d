//! The version before delegation beside this one: what it reads of the tokens that this one issues.

use serde::Deserialize;
use serde_json::Value;

use crate::exchange::support::Shop;
use crate::exchange::support::claims;
use crate::exchange::support::id;

/// The claims of an access token as the version before has them. It knows neither `act` nor `lanyard_from`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is read, and only some of it is compared")]
struct Before {
    iss: String,
    sub: String,
    aud: Value,
    exp: u64,
    iat: u64,
    nbf: u64,
    jti: String,
    client_id: String,
    scope: Option<String>,
    cnf: Option<Value>,
    lanyard_bound: Option<Value>,
    lanyard_spiffe_id: Option<String>,
    lanyard_creation: String,
}

// X31: that version passes over members that it does not know
#[test]
fn the_version_before_reads_a_plain_token_whole_and_of_a_delegated_one_its_holder_alone() {
    let shop = Shop::new();
    let [plain, delegated, _] = <[String; 3]>::try_from(shop.tokens()).unwrap();
    let whole = serde_json::from_value::<Before>(Value::Object(claims(&plain))).unwrap();
    assert_eq!((whole.sub, whole.client_id), (id("frontend"), id("frontend")));
    // So that it would ask neither the resource nor the ancestors. It is why exchange is off until every replica knows of it.
    let mut said = claims(&delegated);
    let unknown: Vec<String> = ["act", "lanyard_from"].map(ToOwned::to_owned).to_vec();
    assert!(serde_json::from_value::<Before>(Value::Object(said.clone())).is_err());
    said.retain(|name, _| !unknown.contains(name));
    let read = serde_json::from_value::<Before>(Value::Object(said)).unwrap();
    assert_eq!((read.sub, read.client_id), (id("frontend"), id("checkout")));
    let certificate = shop.leaf("checkout").thumbprint().to_string();
    assert_eq!(read.cnf.unwrap()["x5t#S256"], certificate.as_str());
}
