//! Protobuf's messages of JSON as JSON.

use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

/// The object; `None` where it has a number that JSON has not.
pub fn json_object(object: &Struct) -> Option<Map<String, Value>> {
    object.fields.iter().map(|(name, member)| Some((name.clone(), value(member)?))).collect()
}

/// The message of an object.
pub fn json_struct(object: &Map<String, Value>) -> Struct {
    Struct { fields: object.iter().map(|(name, value)| (name.clone(), json_value(value))).collect() }
}

fn json_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(json_value).collect() })
        }
        Value::Object(object) => Kind::StructValue(json_struct(object)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn value(message: &prost_types::Value) -> Option<Value> {
    Some(match &message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::from(*flag),
        Some(Kind::StringValue(text)) => Value::from(text.as_str()),
        // Whole numbers, such as times, are integers.
        Some(Kind::NumberValue(number)) => match number.to_string().parse::<i64>() {
            Ok(whole) => Value::from(whole),
            Err(_) => Value::Number(Number::from_f64(*number)?),
        },
        Some(Kind::StructValue(object)) => Value::Object(json_object(object)?),
        Some(Kind::ListValue(list)) => list.values.iter().map(value).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_the_same_after_it_was_a_message() {
        let text = r#"{"a":[1,-1.5,"x",true,null,{"b":{}}],"c":1700000300}"#;
        let object: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(json_object(&json_struct(&object)), Some(object));
    }

    #[test]
    fn whole_numbers_are_integers_and_what_is_no_number_of_json_is_nothing() {
        let number = |number| value(&prost_types::Value { kind: Some(Kind::NumberValue(number)) });
        assert_eq!(number(1_700_000_300.0).unwrap().to_string(), "1700000300");
        assert_eq!(number(0.5).unwrap().to_string(), "0.5");
        assert_eq!(number(f64::NAN), None);
        assert_eq!(number(f64::INFINITY), None);
    }
}
