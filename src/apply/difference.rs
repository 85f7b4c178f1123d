//! In which fields two revisions of a record differ.

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

/// A difference between two revisions. Of lists, each element that only one of them has is a difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The field, such as `scope` or `evidence_from.via`.
    pub field: String,
    /// The value before. `None` where there was none.
    pub from: Option<Value>,
    /// The value after. `None` where there is none.
    pub to: Option<Value>,
}

/// The differences between two revisions in the form in which operators write them. Null is a record without fields.
pub fn differences(from: &impl Serialize, to: &impl Serialize) -> Vec<Difference> {
    let [from, to] = [serde_json::to_value(from), serde_json::to_value(to)].map(Result::unwrap_or_default);
    let (none, mut found) = (Map::new(), Vec::new());
    compare_fields(from.as_object().unwrap_or(&none), to.as_object().unwrap_or(&none), "", &mut found);
    found
}

fn compare_fields(from: &Map<String, Value>, to: &Map<String, Value>, path: &str, found: &mut Vec<Difference>) {
    let added = to.keys().filter(|name| !from.contains_key(*name));
    for name in from.keys().chain(added) {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (from.get(name), to.get(name)) {
            (one, other) if one == other => {}
            (Some(Value::Object(from)), Some(Value::Object(to))) => compare_fields(from, to, &field, found),
            (Some(Value::Array(from)), Some(Value::Array(to))) => compare_elements(from, to, &field, found),
            (from, to) => found.push(Difference { field, from: from.cloned(), to: to.cloned() }),
        }
    }
}

fn compare_elements(from: &[Value], to: &[Value], field: &str, found: &mut Vec<Difference>) {
    let before = found.len();
    let mut added: Vec<&Value> = to.iter().collect();
    for element in from {
        match added.iter().position(|other| *other == element) {
            Some(place) => drop(added.remove(place)),
            None => found.push(Difference { field: field.to_owned(), from: Some(element.clone()), to: None }),
        }
    }
    found.extend(added.into_iter().map(|element| Difference {
        field: field.to_owned(),
        from: None,
        to: Some(element.clone()),
    }));
    if found.len() == before {
        // The same elements in another order.
        let [from, to] = [from, to].map(|elements| Some(Value::Array(elements.to_vec())));
        found.push(Difference { field: field.to_owned(), from, to });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(from: &Value, to: &Value) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let show = |one: &Difference| format!("{}: {} -> {}", one.field, text(&one.from), text(&one.to));
        differences(from, to).iter().map(show).collect()
    }

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let from = json!({"name": "a", "scope": "x", "via": {"one": [1, 2, 2], "same": true}, "owner": "shop"});
        let to = json!({"name": "a", "scope": "x y", "via": {"one": [2, 3], "same": true}, "disabled": true});
        let expected = [
            "owner: \"shop\" -> nothing",
            "scope: \"x\" -> \"x y\"",
            "via.one: 1 -> nothing",
            "via.one: 2 -> nothing",
            "via.one: nothing -> 3",
            "disabled: nothing -> true",
        ];
        let mut found = shown(&from, &to);
        let mut expected = expected.map(str::to_owned).to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(shown(&from, &from), Vec::<String>::new());
    }

    #[test]
    fn a_list_in_another_order_and_a_record_that_is_new_are_differences() {
        assert_eq!(shown(&json!({"a": [1, 2]}), &json!({"a": [2, 1]})), ["a: [1,2] -> [2,1]"]);
        assert_eq!(shown(&Value::Null, &json!({"a": [1]})), ["a: nothing -> [1]"]);
        assert_eq!(shown(&json!({"a": {"b": 1}}), &json!({"a": 2})), ["a: {\"b\":1} -> 2"]);
    }
}
