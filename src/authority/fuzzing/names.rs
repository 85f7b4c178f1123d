//! Distinguished names and SPIFFE IDs.

use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::authority::identity::DistinguishedName;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::is_spiffe_uri;
use crate::authority::identity::is_text_of;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::identity::prefixes;

/// The input as DER, and as text.
pub(crate) fn distinguished_names(input: &[u8]) {
    if let Ok(name) = DistinguishedName::from_der(input) {
        assert!(X509Name::from_der(input).is_ok(), "another parser refuses it");
        assert!(name.begins_with(&name));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    let reversed = DistinguishedName::in_reverse(text);
    let Ok(name) = DistinguishedName::parse(text) else { return };
    assert_eq!(
        name.is_probably_reversed(),
        DistinguishedName::parse(text).is_ok_and(|name| name.is_probably_reversed())
    );
    // caseIgnoreMatch: neither types nor values nor hexadecimal digits know a case.
    assert_eq!(DistinguishedName::parse(&text.to_ascii_uppercase()).as_ref(), Ok(&name));
    assert!(!reversed.is_empty());
    if let Ok(below) = DistinguishedName::parse(&format!("CN=below,{text}")) {
        assert!(below.begins_with(&name) && !name.begins_with(&below) && below != name);
    }
}

/// The input as a SPIFFE ID, and as a pattern.
pub(crate) fn spiffe_ids(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Some(pattern) = SpiffeIdPattern::parse(text) {
        assert_eq!(SpiffeIdPattern::parse(&pattern.to_string()), Some(pattern));
    }
    let Some(id) = parse_spiffe_id(text) else { return };
    // An ID has one spelling: the texts of tokens and certificates are compared byte by byte.
    assert_eq!(id.to_string(), text);
    assert!(is_spiffe_uri(text) && is_text_of(text, &id));
    for prefix in prefixes(text) {
        let below = SpiffeIdPattern::parse(&format!("{prefix}*"));
        assert!(below.is_some_and(|pattern| pattern.matches(&id)), "{prefix}");
    }
    let elsewhere = SpiffeIdPattern::parse(&format!("{text}/elsewhere/*"));
    assert!(elsewhere.is_none_or(|pattern| !pattern.matches(&id)));
}
