//! Each field of a registration is in the registry's messages, in the metadata that is stored, and in what is made of the one
//! from the other.

use std::collections::BTreeSet;

use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::messages::Malformed;
use lanyard::messages::Masked;
use lanyard::proto::Client;
use lanyard::proto::FILE_DESCRIPTOR_SET;
use lanyard::proto::ProtectedResource;
use prost::Message as _;
use prost_types::FieldMask;
use prost_types::FileDescriptorSet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// What the server sets.
const OUTPUT_ONLY: [&str; 7] =
    ["etag", "create_time", "update_time", "created_by", "updated_by", "warnings", "suspended"];

/// The fields of a message that are for its sender to set, by the descriptors that reflection shows.
fn settable(message: &str) -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let mut messages = files.iter().filter(|file| file.package() == "lanyard.v1").flat_map(|file| &file.message_type);
    let found = messages.find(|found| found.name() == message).unwrap();
    let names = found.field.iter().map(|field| field.name().to_owned());
    names.filter(|name| !OUTPUT_ONLY.contains(&name.as_str())).collect()
}

/// The fields of a type that refuses unknown ones: the refusal lists them.
fn serde_fields<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(json!({ "no such field": 0 })).unwrap_err().to_string();
    let names = error.split('`').skip(3).step_by(2);
    names.map(str::to_owned).collect()
}

/// A value that the field takes, and that is not its default. The required fields stand beside it.
fn sample<T: Default + DeserializeOwned + PartialEq + Serialize>(field: &str) -> T {
    let Value::Object(least) = serde_json::to_value(T::default()).unwrap() else { panic!("no object") };
    let rules = json!([{ "subjects": ["a"], "presented_at": "b", "audience": "c", "grants": [{ "needs": "d", "gives": "e" }] }]);
    let values = [
        json!({ "via": ["a"] }),
        json!([{ "path": "/a" }]),
        json!({ "/a": "a" }),
        json!(["a"]),
        json!("5m"),
        json!(true),
        rules,
        json!([{ "subjects": ["self"], "scope": "a" }]),
        json!({ "actors": ["a"] }),
        json!({ "exchangers": ["a"] }),
    ];
    let with = |value: &Value| {
        let mut members: Map<String, Value> = least.clone();
        members.insert(field.to_owned(), value.clone());
        serde_json::from_value::<T>(members.into()).ok().filter(|sample| *sample != T::default())
    };
    values.iter().find_map(with).unwrap_or_else(|| panic!("no sample for the type of {field}: add one"))
}

fn check<T, M>(message: &str, name: &str)
where
    T: Clone + Default + DeserializeOwned + PartialEq + Serialize + std::fmt::Debug + TryFrom<M, Error = Malformed>,
    M: Clone + Default + From<T> + Masked,
{
    let fields = serde_fields::<T>();
    assert!(fields.len() > 10, "{fields:?}");
    assert_eq!(settable(message), fields, "the message has the first, the metadata the second");
    for field in fields {
        let metadata = sample::<T>(&field);
        assert_eq!(T::try_from(M::from(metadata.clone())).unwrap(), metadata, "{field} is lost on the way");
        let mask = FieldMask { paths: vec![field.clone()] };
        let masked = M::default().masked(&M::from(metadata.clone()), &mask);
        if field == name {
            assert!(masked.is_err(), "{field} is the name");
        } else {
            assert_eq!(T::try_from(masked.unwrap()).unwrap(), metadata, "{field} is not taken by a mask");
        }
    }
    for field in OUTPUT_ONLY {
        let mask = FieldMask { paths: vec![field.to_owned()] };
        assert!(M::default().masked(&M::default(), &mask).is_err(), "{field}");
    }
}

#[test]
fn each_field_of_a_client_is_in_the_message_the_metadata_and_the_conversions() {
    check::<ClientMetadata, Client>("Client", "client_id");
}

#[test]
fn each_field_of_a_resource_is_in_the_message_the_metadata_and_the_conversions() {
    check::<ResourceMetadata, ProtectedResource>("ProtectedResource", "audience");
}
