//! A feature of the store, as it is printed.

use serde::Serialize;

use crate::proto::Feature;

/// A feature, in the form of `-o json`.
#[derive(Debug, Serialize)]
pub(super) struct ListedFeature {
    pub(super) name: String,
    description: String,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    enabled_by: String,
}

impl From<Feature> for ListedFeature {
    fn from(feature: Feature) -> Self {
        let Feature { name, description, enabled, enable_time, enabled_by } = feature;
        let enable_time = enable_time.map(|time| time.to_string());
        Self { name, description, enabled, enable_time, enabled_by }
    }
}

impl ListedFeature {
    pub(super) const HEADER: [&'static str; 4] = ["FEATURE", "ENABLED", "BY", "PERMITS"];

    pub(super) fn row(&self) -> [String; 4] {
        let since = self.enable_time.clone().unwrap_or_else(|| "no".to_owned());
        let by = match (self.enabled, self.enabled_by.as_str()) {
            (false, _) => "-",
            (true, "") => "the new store",
            (true, by) => by,
        };
        let permits = if self.description.is_empty() { "(only a later version knows it)" } else { &self.description };
        [self.name.clone(), since, by.to_owned(), permits.to_owned()]
    }
}
