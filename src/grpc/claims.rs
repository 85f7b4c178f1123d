//! A token's claims as a protobuf message.

use crate::authority::clock::Timestamp;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Audience;
use crate::grpc::structure;
use crate::grpc::wire::Writer;

/// The claims, in the form that they have in the token, as an encoded `google.protobuf.Struct`: by their names, as protobuf
/// libraries write it.
pub(super) fn print(claims: &AccessTokenClaims) -> Vec<u8> {
    let mut message = Vec::new();
    write(claims, &mut Writer::new(&mut message));
    message
}

fn write(claims: &AccessTokenClaims, fields: &mut Writer<'_>) {
    // Where the token comes from is nobody else's to know.
    if let Some(act) = &claims.act {
        structure::object(fields, "act", |fields| actors(act, fields));
    }
    match &claims.aud {
        Audience::One(one) => structure::text(fields, "aud", one),
        Audience::Several(several) => structure::texts(fields, "aud", several),
    }
    structure::text(fields, "client_id", &claims.client_id);
    if let Some(cnf) = &claims.cnf {
        structure::object(fields, "cnf", |fields| {
            cnf.x5t_s256.iter().for_each(|thumbprint| structure::text(fields, "x5t#S256", thumbprint));
        });
    }
    date(fields, "exp", claims.exp);
    date(fields, "iat", claims.iat);
    structure::text(fields, "iss", &claims.iss);
    structure::text(fields, "jti", &claims.jti);
    if let Some(bound) = &claims.lanyard_bound {
        structure::object(fields, "lanyard_bound", |fields| {
            date(fields, "nbf", bound.nbf);
            structure::text(fields, "spki", &bound.spki);
        });
    }
    structure::text(fields, "lanyard_creation", &claims.lanyard_creation);
    if let Some(id) = &claims.lanyard_spiffe_id {
        structure::text(fields, "lanyard_spiffe_id", id);
    }
    date(fields, "nbf", claims.nbf);
    if let Some(scope) = &claims.scope {
        structure::text(fields, "scope", scope);
    }
    structure::text(fields, "sub", &claims.sub);
}

#[expect(clippy::cast_precision_loss, reason = "a NumericDate is far below the 2^53 up to which a double is exact")]
fn date(fields: &mut Writer<'_>, name: &str, date: Timestamp) {
    structure::number(fields, name, date.0 as f64);
}

fn actors(actors: &Actors, fields: &mut Writer<'_>) {
    if let Some(earlier) = &actors.act {
        structure::object(fields, "act", |fields| self::actors(earlier, fields));
    }
    if let Some(iss) = &actors.iss {
        structure::text(fields, "iss", iss);
    }
    structure::text(fields, "sub", &actors.sub);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Struct;
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn as_json(value: &prost_types::Value) -> Value {
        use prost_types::value::Kind;
        match value.kind.as_ref().unwrap() {
            Kind::StringValue(text) => json!(text),
            Kind::NumberValue(number) => json!(number),
            Kind::ListValue(list) => list.values.iter().map(as_json).collect(),
            Kind::StructValue(structure) => all_of(structure),
            kind @ (Kind::NullValue(_) | Kind::BoolValue(_)) => panic!("{kind:?}"),
        }
    }

    fn all_of(structure: &Struct) -> Value {
        Value::Object(structure.fields.iter().map(|(name, value)| (name.clone(), as_json(value))).collect())
    }

    #[test]
    fn claims_are_printed_as_they_are_in_the_token_and_in_the_order_of_prost() {
        let least = json!({
            "iss": "https://lanyard.example", "sub": "spiffe://a/b", "aud": "orders", "exp": 1_800_000_300.0,
            "iat": 1_800_000_000.0, "nbf": 0.0, "jti": "id", "client_id": "spiffe://a/b", "lanyard_creation": "",
        });
        let mut most = least.clone();
        let more = json!({
            "aud": ["orders", "", "billing"], "scope": "a b", "cnf": { "x5t#S256": "t" },
            "lanyard_bound": { "nbf": 1_700_000_000.0, "spki": "s" }, "lanyard_spiffe_id": "spiffe://a/b",
            "act": { "sub": "c", "act": { "iss": "https://other.example", "sub": "d" } },
        });
        most.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        for wanted in [least, most] {
            let text = wanted.to_string().replace(".0", "");
            let message = print(&serde_json::from_str(&text).unwrap());
            let read = Struct::decode(message.as_slice()).unwrap();
            assert_eq!(all_of(&read), wanted);
            assert_eq!(read.encode_to_vec(), message);
        }
    }
}
