//! What a client may have put into a transaction token: JSON objects within bounds, in which no token is hidden.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Map;
use serde_json::Value;

/// The deepest nesting; the object itself is the first level.
const MAX_DEPTH: usize = 4;

/// The most members and elements, those of nested objects and arrays included.
const MAX_MEMBERS: usize = 64;

/// The longest text, in bytes; names of members count as texts.
const MAX_TEXT_BYTES: usize = 512;

/// What is wrong with an object, as a sentence; `max_bytes` is the most that its JSON may have.
pub(super) fn fault(object: &Map<String, Value>, max_bytes: usize) -> Option<&'static str> {
    // Nothing is serialized that is not small.
    let mut left = MAX_MEMBERS;
    members_fault(object, 1, &mut left).or_else(|| {
        let bytes = serde_json::to_string(object).map_or(usize::MAX, |json| json.len());
        (bytes > max_bytes).then_some("request_details and request_context are limited in bytes")
    })
}

fn members_fault(object: &Map<String, Value>, depth: usize, left: &mut usize) -> Option<&'static str> {
    object.iter().find_map(|(name, value)| text_fault(name).or_else(|| value_fault(value, depth, left)))
}

fn value_fault(value: &Value, depth: usize, left: &mut usize) -> Option<&'static str> {
    let Some(fewer) = left.checked_sub(1) else {
        return Some("request_details and request_context have 64 members at most");
    };
    *left = fewer;
    if depth == MAX_DEPTH && (value.is_object() || value.is_array()) {
        return Some("request_details and request_context are nested 4 deep at most");
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        Value::String(text) => text_fault(text),
        Value::Array(values) => values.iter().find_map(|value| value_fault(value, depth + 1, left)),
        Value::Object(object) => members_fault(object, depth + 1, left),
    }
}

fn text_fault(text: &str) -> Option<&'static str> {
    if text.len() > MAX_TEXT_BYTES {
        return Some("a text in request_details or request_context has 512 bytes at most");
    }
    holds_secret(text).then_some("request_details and request_context may hold no token, receipt or key")
}

/// Whether a text has a JWS or JWE, a receipt or a PEM block in it, wherever it begins. What travels with a transaction is seen by
/// all on its way (section 13.4 of the draft).
fn holds_secret(text: &str) -> bool {
    let of_base64url = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    text.contains("-----BEGIN")
        || text.split(|character| !of_base64url(character) && character != '.').any(|word| word.starts_with("lr1."))
        || text.split(|character| !of_base64url(character)).any(is_jose_header)
}

/// Whether a part of a text is the header of a JWS or JWE (RFC 7515 section 4).
fn is_jose_header(part: &str) -> bool {
    let json = URL_SAFE_NO_PAD.decode(part).ok();
    let header = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    header.is_some_and(|header| header.get("alg").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault_of(value: Value) -> Option<&'static str> {
        let Value::Object(object) = value else { panic!("{value} is no object") };
        fault(&object, 4096)
    }

    // X24, TT-17 and section 9 of the draft's design: each bound, and the nearest that is within it
    #[test]
    fn each_bound_refuses_the_first_object_beyond_it() {
        let text = |length: usize| "x".repeat(length);
        let members = |count: usize| (0..count).map(|number| (number.to_string(), json!(1))).collect::<Map<_, _>>();
        for (good, bad) in [
            (json!({ "a": text(512) }), json!({ "a": text(513) })),
            (json!({ text(512): 1 }), json!({ text(513): 1 })),
            (json!({ "a": { "b": { "c": { "d": 1 } } } }), json!({ "a": { "b": { "c": { "d": {} } } } })),
            (json!({ "a": [[[1]]] }), json!({ "a": [[[[1]]]] })),
            (Value::Object(members(64)), Value::Object(members(65))),
            (json!({ "a": vec![1; 63] }), json!({ "a": vec![1; 64] })),
            (json!({ "a": vec![text(500); 8] }), json!({ "a": vec![text(500); 9] })),
        ] {
            assert_eq!(fault_of(good.clone()), None, "{good:.40}");
            assert!(fault_of(bad.clone()).is_some(), "{bad:.40}");
        }
        assert_eq!(fault_of(json!({})), None);
    }

    // TX24
    #[test]
    fn a_token_is_found_wherever_it_is_hidden() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"at+jwt"}"#);
        let jws = format!("{header}.e30.AAAA");
        for bad in [
            json!({ "a": jws }),
            json!({ "a": format!("Bearer {jws}") }),
            json!({ "a": format!("see=x.{jws}, please.") }),
            json!({ "a": [{ "b": jws }] }),
            json!({ jws.as_str(): 1 }),
            json!({ "a": format!("{header}.a.b.c.d") }),
            json!({ "protected": header, "payload": "e30", "signature": "AAAA" }),
            json!({ "a": "lr1.k.e30.AAAA" }),
            json!({ "a": "x-lanyard-receipt:lr1.k.e30.AAAA" }),
            json!({ "a": "-----BEGIN PRIVATE KEY-----" }),
        ] {
            assert!(fault_of(bad.clone()).is_some(), "{bad}");
        }
        for good in [
            json!({ "a": "1.2.3" }),
            json!({ "a": "eye.contact.lenses" }),
            json!({ "a": "curlr1.txt" }),
            json!({ "a": URL_SAFE_NO_PAD.encode(r#"{"number":1}"#) }),
            json!({ "a": ["BUY", -1, 1.5, true, null] }),
        ] {
            assert_eq!(fault_of(good.clone()), None, "{good}");
        }
    }
}
