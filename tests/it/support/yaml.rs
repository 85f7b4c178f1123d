//! YAML of any kind, as the JSON that it stands for.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::MergeKeyPolicy;
use serde_saphyr::Options;

fn options() -> Options {
    serde_saphyr::options! { strict_booleans: true, merge_keys: MergeKeyPolicy::AsOrdinary }
}

/// The one document of a text.
pub fn document<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, options())
}

/// All of its documents; the empty ones are left out.
pub fn documents<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_saphyr::from_multiple_with_options(text, options()).unwrap()
}

/// The value of its one document.
pub fn value(text: &str) -> Value {
    document(text).unwrap()
}

pub fn to_string(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).unwrap()
}
