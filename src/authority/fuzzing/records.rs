//! What is stored: registrations, sealed keys, revocations.

use crate::authority::keys::KeyRecord;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::ProtectedResource;
use crate::authority::state::FetchedJwks;
use crate::authority::state::RevocationRecord;
use crate::authority::store::Revision;

/// The input as each kind of record.
pub(crate) fn stored_records(input: &[u8]) {
    registration::<ClientRegistration>(input);
    registration::<ProtectedResource>(input);
    if let Ok(record) = KeyRecord::from_bytes(input) {
        let printed = record.to_bytes().unwrap_or_default();
        let again = KeyRecord::from_bytes(&printed).and_then(|record| record.to_bytes());
        assert_eq!(again.ok(), Some(printed));
    }
    drop(FetchedJwks::from_bytes("/published-jwks/billing", input));
    if let Some(record) = RevocationRecord::from_bytes(input) {
        let again = record.to_bytes().and_then(|printed| RevocationRecord::from_bytes(&printed));
        assert_eq!(again, Some(record));
    }
}

/// What is read is written and read as the same, and nothing is lost in between.
fn registration<T: Registration>(input: &[u8]) {
    let Ok(parsed) = Registered::<T>::parse(input) else { return };
    let Ok(registered) = Registered::<T>::read(parsed.name(), input, Revision(7)) else {
        unreachable!("it has this name")
    };
    assert!(Registered::<T>::read("another/name", input, Revision(7)).is_err() || parsed.name() == "another/name");
    let written = registered.to_bytes().unwrap_or_default();
    let Ok(again) = Registered::<T>::read(parsed.name(), &written, Revision(7)) else {
        unreachable!("what was written is read")
    };
    assert_eq!(again.registration.metadata(), registered.registration.metadata());
    assert_eq!(again.record, registered.record);
    assert_eq!(again.to_bytes().ok(), Some(written));
}
