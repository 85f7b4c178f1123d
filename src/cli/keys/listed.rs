//! A signing key, as the command line prints it.

use serde::Serialize;

use crate::proto::SigningKey;
use crate::proto::SigningKeyState;

/// A signing key, as `-o json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ListedKey {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) state: &'static str,
    location: String,
    create_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) earliest_activate_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activate_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoke_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoke_reason: Option<String>,
}

impl From<SigningKey> for ListedKey {
    fn from(message: SigningKey) -> Self {
        let state = match message.state() {
            SigningKeyState::Next => "next",
            SigningKeyState::Active => "active",
            SigningKeyState::Retired => "retired",
            SigningKeyState::Revoked => "revoked",
            SigningKeyState::Unspecified => "unknown",
        };
        let time = |time: Option<prost_types::Timestamp>| time.map(|time| time.to_string());
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            kid: message.kid,
            algorithm: message.algorithm,
            state,
            location: message.location,
            create_time: time(message.create_time),
            earliest_activate_time: time(message.earliest_activate_time),
            activate_time: time(message.activate_time),
            retire_time: time(message.retire_time),
            delete_time: time(message.delete_time),
            revoke_time: time(message.revoke_time),
            revoked_by: text(message.revoked_by),
            revoke_reason: text(message.revoke_reason),
        }
    }
}

impl ListedKey {
    /// The columns of a table.
    pub(super) const HEADER: [&str; 5] = ["KID", "ALGORITHM", "STATE", "CREATED", "NOTE"];

    /// The key's row in a table.
    pub(super) fn row(&self) -> [String; 5] {
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        let note = match self.state {
            "next" => format!("signs from {} at the earliest", time(&self.earliest_activate_time)),
            "active" => self.activate_time.as_ref().map_or_else(String::new, |since| format!("signs since {since}")),
            "retired" => match (&self.retire_time, &self.delete_time) {
                (Some(retired), Some(deleted)) => format!("stopped signing {retired}, is deleted {deleted}"),
                _ => "has signed".to_owned(),
            },
            "revoked" => {
                let (by, reason) = (self.revoked_by.as_deref(), self.revoke_reason.as_deref());
                let (by, reason) = (by.unwrap_or_default(), reason.unwrap_or_default());
                format!("revoked {} by {by}: {reason}", time(&self.revoke_time))
            }
            _ => String::new(),
        };
        let place = if self.location == "hsm" && self.state != "revoked" { "in the token" } else { "" };
        let note = [place, &note].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ");
        [self.kid.clone(), self.algorithm.clone(), self.state.to_owned(), time(&self.create_time), note]
    }
}
