//! The subjects of another issuer's tokens in the rules of a client.

use crate::authority::identity::is_spiffe_uri;
use crate::authority::records::InvalidMetadata;
use crate::authority::registration::client_id::ClientId;
use crate::authority::registration::metadata::invalid;
use crate::authority::registration::scope_grant::MAX_ENTRIES;

/// Stands alone for all subjects of the issuer.
const ALL: &str = "*";

/// Subjects of another issuer. Their names here are the issuer, `#`, and what the issuer calls them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ForeignSubjects {
    issuer: String,
    /// As the issuer calls them. `None`: all.
    subjects: Option<Vec<String>>,
}

impl ForeignSubjects {
    /// Parses an issuer, and the names that it gives them, or `*` for all.
    pub(super) fn parse(field: &'static str, issuer: &str, subjects: &[String]) -> Result<Self, InvalidMetadata> {
        if !is_issuer(issuer) {
            return Err(invalid(
                field,
                "issuer must be the iss of one of the trusted_issuers whose tokens are exchanged",
            ));
        }
        let subjects = match subjects {
            [all] if all == ALL => None,
            named => {
                // A pattern of names would take in names that others choose.
                let is_name =
                    |name: &String| !name.contains('*') && ClientId::parse(&format!("{issuer}#{name}")).is_some();
                if named.is_empty() || named.len() > MAX_ENTRIES || !named.iter().all(is_name) {
                    let problem =
                        "subjects of an issuer are each a sub as it is, or '*' alone for all, and not too many";
                    return Err(invalid(field, problem));
                }
                Some(named.to_vec())
            }
        };
        Ok(Self { issuer: issuer.to_owned(), subjects })
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// As they are written.
    pub(super) fn texts(&self) -> Vec<String> {
        self.subjects.clone().unwrap_or_else(|| vec![ALL.to_owned()])
    }

    /// How specific they are for the subject of this name; `None` where it is none of them.
    pub(super) fn specificity(&self, name: &ClientId) -> Option<usize> {
        let subject = name.as_str().strip_prefix(self.issuer.as_str())?.strip_prefix('#')?;
        match &self.subjects {
            None => Some(0),
            Some(subjects) => subjects.iter().any(|one| one == subject).then_some(usize::MAX),
        }
    }

    /// A name that both have, and for which both are equally specific.
    pub(super) fn shared<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        if self.issuer != other.issuer {
            return None;
        }
        match (&self.subjects, &other.subjects) {
            (None, None) => Some(ALL),
            (Some(own), Some(others)) => own.iter().find(|one| others.contains(one)).map(String::as_str),
            (None, Some(_)) | (Some(_), None) => None,
        }
    }
}

/// Whether a text can be the issuer of subjects: one that another one begins with must not end at the mark between the two.
pub fn is_issuer(text: &str) -> bool {
    !text.contains(['#', '*']) && !is_spiffe_uri(text) && ClientId::parse(text).is_some()
}
