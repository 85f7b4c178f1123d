//! Reads a configuration, and finds fields in it.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use crate::cli::doctor::fault::Fault;
use crate::yaml;
use crate::yaml::PlainScalars;

/// The largest file that is read, in bytes. The dump of a large mesh has some tens of MiB.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Reads a file as JSON, or else as YAML. The error is a fault and its description.
pub(in crate::cli::doctor::envoy) fn read(path: &Path) -> Result<Vec<Value>, (Fault, String)> {
    let text = read_text(path).map_err(|error| (Fault::EnvoyUnreadable, format!("cannot read the file: {error}")))?;
    if let Ok(document) = serde_json::from_str(&text) {
        return Ok(vec![document]);
    }
    let documents = yaml::documents(&text, PlainScalars::MayBeText);
    let read = documents.and_then(|documents| documents.iter().map(yaml::read).collect());
    read.map_err(|error| (Fault::EnvoyInvalid, format!("it is neither JSON nor YAML: {error}")))
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes <= MAX_BYTES) {
        return Ok(text);
    }
    Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")))
}

/// A field by its name in the proto. The JSON mapping of protobuf also accepts it in lowerCamelCase.
pub(in crate::cli::doctor::envoy) fn field<'a>(message: &'a Value, name: &str) -> Option<&'a Value> {
    message.get(name).or_else(|| message.get(camel_case(name)))
}

/// A field that is a text.
pub(in crate::cli::doctor::envoy) fn text<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    field(message, name)?.as_str()
}

/// The entries of a field that is a list.
pub(in crate::cli::doctor::envoy) fn list<'a>(message: &'a Value, name: &str) -> &'a [Value] {
    field(message, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a Boolean is true. Envoy reads YAML 1.1, in which `yes` and `on` are.
pub(in crate::cli::doctor::envoy) fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(word)) => ["true", "yes", "on", "y"].iter().any(|yes| word.eq_ignore_ascii_case(yes)),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

/// All values of the field of this name, at any depth.
pub(in crate::cli::doctor::envoy) fn under<'a>(name: &str, value: &'a Value) -> Vec<&'a Value> {
    let mut found = Vec::new();
    collect([name, &camel_case(name)], value, &mut found);
    found
}

fn collect<'a>(names: [&str; 2], value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if names.contains(&name.as_str()) {
                    found.push(member);
                }
                collect(names, member, found);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| collect(names, entry, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
