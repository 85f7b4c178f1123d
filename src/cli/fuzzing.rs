//! What the fuzz targets check of the documents that operators write.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ProtectedResource;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents::documents;
use crate::cli::resource::yaml::ResourceYaml;
use crate::yaml;

/// The input as documents of clients, and of protected resources.
pub(crate) fn registration_documents(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    for client in printed_and_read_again::<ClientYaml>(text) {
        if let Ok(client) = ClientRegistration::parse(client.metadata) {
            // What is stored of it is the same registration.
            let again = ClientRegistration::parse(client.metadata());
            assert_eq!(again.ok().map(|again| again.metadata()), Some(client.metadata()));
        }
    }
    for resource in printed_and_read_again::<ResourceYaml>(text) {
        if let Ok(resource) = ProtectedResource::parse(resource.metadata) {
            let again = ProtectedResource::parse(resource.metadata.clone());
            assert_eq!(again.ok().map(|again| again.metadata), Some(resource.metadata));
        }
    }
}

fn printed_and_read_again<K: Clone + DeserializeOwned + PartialEq + std::fmt::Debug + Serialize>(text: &str) -> Vec<K> {
    let read: Vec<K> = documents(text).unwrap_or_default();
    for document in &read {
        let Ok(printed) = yaml::to_string(document) else { continue };
        match documents::<K>(&printed) {
            Ok(again) => assert_eq!(again.as_slice(), std::slice::from_ref(document), "{printed}"),
            Err(error) => unreachable!("{error}: {printed}"),
        }
    }
    read
}
