use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::Strategy as _;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::yaml;
use crate::yaml::PlainScalars;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    text: String,
    perhaps: Option<String>,
    list: Vec<String>,
    small: u8,
    signed: i32,
    ratio: f64,
    flag: bool,
    letter: Letter,
    below: BTreeMap<String, Sample>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Letter {
    #[default]
    Alpha,
    Beta,
}

fn read<T: DeserializeOwned>(text: &str, plain: PlainScalars) -> Result<T, String> {
    yaml::document(text, plain).and_then(|node| yaml::read(&node)).map_err(|error| error.to_string())
}

fn sample(text: &str) -> Result<Sample, String> {
    read(text, PlainScalars::AreNoText)
}

#[test]
fn each_type_is_read_from_what_it_is_written_as() {
    let read = sample(
        "text: 'null'\nperhaps: ~\nlist: [a, '1', \"~\"]\nsmall: 255\nsigned: -5\nratio: 1\nflag: true\nletter: beta\n\
         below: {a: {ratio: .5}, b: {}}\n",
    );
    let below = [("a", Sample { ratio: 0.5, ..Sample::default() }), ("b", Sample::default())];
    let expected = Sample {
        text: "null".to_owned(),
        perhaps: None,
        list: ["a", "1", "~"].map(str::to_owned).into(),
        small: 255,
        signed: -5,
        ratio: 1.0,
        flag: true,
        letter: Letter::Beta,
        below: below.map(|(name, sample)| (name.to_owned(), sample)).into(),
    };
    assert_eq!(read.unwrap(), expected);
}

#[test]
fn another_type_is_refused_with_key_line_and_column_and_without_the_value() {
    for (text, expected) in [
        ("text: null", "text: invalid type: null, expected text at line 1 column 7"),
        ("text: ~", "text: invalid type: null, expected text at line 1 column 7"),
        ("text:", "text: invalid type: null, expected text at line 1 column 5"),
        ("text: 5", "text: invalid type: a number, expected text: write it in quotes at line 1 column 7"),
        ("text: true", "text: invalid type: true or false, expected text: write it in quotes at line 1 column 7"),
        ("perhaps: [s3cret]", "perhaps: invalid type: a list, expected text at line 1 column 10"),
        ("list: s3cret", "list: invalid type: text, expected a list at line 1 column 7"),
        ("list:\n- a\n- {s3cret: b}", "list[1]: invalid type: a mapping, expected text at line 3 column 3"),
        ("small: 256", "small: invalid value: 256, expected a whole number from 0 to 255 at line 1 column 8"),
        ("small: -1", "small: invalid value: -1, expected a whole number from 0 to 255 at line 1 column 8"),
        ("small: 1.5", "small: invalid type: a number, expected a whole number at line 1 column 8"),
        ("small: '1'", "small: invalid type: text, expected a whole number at line 1 column 8"),
        ("signed: s3cret", "signed: invalid type: text, expected a whole number at line 1 column 9"),
        ("ratio: s3cret", "ratio: invalid type: text, expected a number at line 1 column 8"),
        ("flag: s3cret", "flag: invalid type: text, expected true or false at line 1 column 7"),
        ("flag: yes", "flag: invalid type: text, expected true or false at line 1 column 7"),
        ("flag: 1", "flag: invalid type: a number, expected true or false at line 1 column 7"),
        ("letter: [s3cret]", "letter: invalid type: a list, expected one of alpha, beta at line 1 column 9"),
        ("letter: gamma", "letter: unknown variant `gamma`, expected `alpha` or `beta` at line 1 column 9"),
        ("below: {a: s3cret}", "below.a: invalid type: text, expected a mapping at line 1 column 12"),
        (
            "below: {a: {below: {b: []}}}",
            "below.a.below.b: invalid type: a list, expected a mapping at line 1 column 24",
        ),
        ("[s3cret]", "invalid type: a list, expected a mapping at line 1 column 1"),
    ] {
        assert_eq!(sample(text).unwrap_err(), expected, "{text}");
    }
    let unknown = sample("text: a\nbelow:\n  a:\n    ratoi: 1\n").unwrap_err();
    assert!(unknown.starts_with("below.a: unknown field `ratoi` (did you mean `ratio`?), expected one of `text`, "));
    assert!(unknown.ends_with(" at line 4 column 5"), "{unknown}");
}

#[test]
fn a_number_may_be_text_as_it_is_written_where_that_is_allowed_and_null_may_not() {
    let text =
        |written: &str| read::<Sample>(&format!("text: {written}"), PlainScalars::MayBeText).map(|sample| sample.text);
    for written in ["1.10", "0x1F", "-0", "+5", "true", "False", "1e3", "0777", "1_000", ".5", "99999999999999999999"] {
        assert_eq!(text(written).as_deref(), Ok(written));
    }
    assert_eq!(text("&a 1.10\nperhaps: *a").as_deref(), Ok("1.10"));
    // Also where bytes, characters and lines are numbered differently.
    let read: Sample =
        read("\u{feff}list: [é, \u{1f511}]\nperhaps: &a 1.10\ntext: *a", PlainScalars::MayBeText).unwrap();
    assert_eq!((read.text.as_str(), read.perhaps.as_deref()), ("1.10", Some("1.10")));
    for null in ["null", "Null", "NULL", "~", "", "!!null ''"] {
        assert!(text(null).unwrap_err().contains("invalid type: null"), "{null}");
    }
    assert_eq!(text("!!str null").as_deref(), Ok("null"));
}

#[test]
fn documents_are_told_apart_and_empty_ones_passed_over() {
    let count = |text: &str| yaml::documents(text, PlainScalars::AreNoText).map(|documents| documents.len());
    for (text, expected) in
        [("", 0), ("# a\n", 0), ("---\n---\n", 0), ("a: 1\n---\n# b\n---\nc: 2\n", 2), ("\u{feff}a: 1", 1)]
    {
        assert_eq!(count(text), Ok(expected), "{text:?}");
    }
    assert_eq!(sample("").unwrap_err(), "it is empty");
    assert_eq!(sample("text: a\n---\ntext: b\n").unwrap_err(), "it holds more than one document at line 3 column 1");
    // More than any default limit.
    assert_eq!(count(&"--- {a: 1}\n".repeat(3000)), Ok(3000));
}

#[test]
fn what_is_no_plain_yaml_is_refused_with_its_line() {
    for (text, expected) in [
        ("text: a\ntext: b", "duplicate key `text` at line 2 column 1"),
        ("below: {a: {}, a: {}}", "duplicate key `a` at line 1 column 16"),
        ("text: *nobody", "an alias of an anchor that is not there at line 1 column 7"),
        ("list: &a [*a]", "an alias within its own anchor at line 1 "),
        ("~: a", "invalid type: null, expected a key at line 1 column 1"),
        ("<<: {text: a}", "unknown field `<<`"),
        ("text: !secret a", "unsupported tag `!secret` at line 1"),
        ("text: a\n\u{feff}flag: true", "a BOM must not appear inside a document at line 2 column 1"),
        ("text: \"a", "at line 1 column 7"),
        ("list: [a", "at line 1 column 7"),
    ] {
        let error = sample(text).unwrap_err();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let nested = format!("list: {}", "[".repeat(10_000));
    assert!(sample(&nested).unwrap_err().contains("at line 1 "));
}

#[test]
fn aliases_may_stand_for_much_but_not_for_everything() {
    let aliased = |count: usize| format!("a: &a {}\nb: [{}]\n", "x".repeat(10), vec!["*a"; count].join(", "));
    let value: Value = read(&aliased(5000), PlainScalars::AreNoText).unwrap();
    assert_eq!(value["b"].as_array().unwrap().len(), 5000);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
    }
    let error = read::<Value>(&bomb, PlainScalars::AreNoText).unwrap_err();
    assert!(error.starts_with("too many aliases, or nested too deeply at line "), "{error}");
}

#[test]
fn a_near_name_is_found_and_no_far_one() {
    let names = ["dev", "issuer", "tls"];
    for (word, near) in
        [("isuer", Some("issuer")), ("issuerrr", Some("issuer")), ("tsl", Some("tls")), ("store", None), ("env", None)]
    {
        assert_eq!(yaml::nearest(word, names.into_iter()), near, "{word}");
    }
}

proptest! {
    /// Any text that is written is read again unchanged.
    #[test]
    fn what_is_written_is_read_as_it_was(value in values()) {
        let written = yaml::to_string(&value).unwrap();
        for plain in [PlainScalars::AreNoText, PlainScalars::MayBeText] {
            assert_eq!(read::<Value>(&written, plain).unwrap(), value, "{written}");
        }
    }

    /// Any text either parses or returns an error.
    #[test]
    fn any_text_is_read_or_refused(text in "[-a:\\[\\]{}&*!|>'\"%@`#,? \n~0-9.\u{feff}é]{0,60}") {
        let read = sample(&text);
        let documents = yaml::documents(&text, PlainScalars::MayBeText);
        // Text that is not YAML is not a useful sample.
        assert!(documents.is_ok() || read.is_err(), "{read:?}");
    }
}

/// Documents with a mapping at the top, like registrations.
fn values() -> impl prop::strategy::Strategy<Value = Value> {
    let awkward = prop_oneof![
        any::<String>(),
        "[ -~\n\t]{0,30}",
        "(null|~|true|yes|0x1F|1\\.10|- a|a: b|#x|\\*a|&a|\\|)?[ \n]{0,3}",
        "([a-z]{1,12} ){0,40}",
    ];
    let leaf = prop_oneof![
        awkward.clone().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from)
    ];
    let inner = leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..5).prop_map(|map| json!(map)),
        ]
    });
    prop::collection::btree_map("[a-z_]{1,8}", inner, 1..5).prop_map(|map| json!(map))
}
