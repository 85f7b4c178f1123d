//! A `google.protobuf.Struct`, written as it is encoded.

use crate::grpc::wire::Writer;

/// An entry with a text.
pub(super) fn text(fields: &mut Writer<'_>, name: &str, text: &str) {
    entry(fields, name, |value| value.text_of(3, text));
}

/// An entry with a number.
pub(super) fn number(fields: &mut Writer<'_>, name: &str, number: f64) {
    entry(fields, name, |value| value.double_of(2, number));
}

/// An entry with a list of texts.
pub(super) fn texts(fields: &mut Writer<'_>, name: &str, texts: impl IntoIterator<Item: AsRef<str>>) {
    let write = |list: &mut Writer<'_>| {
        texts.into_iter().for_each(|one| list.message(1, |value| value.text_of(3, one.as_ref())));
    };
    entry(fields, name, |value| value.message(6, write));
}

/// An entry with a structure of its own.
pub(super) fn object(fields: &mut Writer<'_>, name: &str, write: impl FnOnce(&mut Writer<'_>)) {
    entry(fields, name, |value| value.message(5, write));
}

fn entry(fields: &mut Writer<'_>, name: &str, write: impl FnOnce(&mut Writer<'_>)) {
    fields.message(1, |entry| {
        entry.text(1, name);
        entry.message(2, write);
    });
}
