//! The certificates with which assertions of trusted issuers were used first. Such an assertion says who, and proves no
//! key: whoever finds one in a log could use it over a connection of its own until it expires.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::registration::ClientId;
use crate::authority::trust::issuer_jwt::IssuerJwt;

/// The most assertions that are remembered: about 10 MB.
const MAX_USES: usize = 100_000;

/// The most of one client, so that none uses up the memory of all.
const MAX_USES_OF_A_CLIENT: usize = 10_000;

/// Why an assertion is refused that is valid by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotTaken {
    /// It was used with another certificate before.
    OtherCertificate,
    /// It is good once, and was used before.
    Before,
    /// There are too many to remember it.
    TooMany,
}

/// The first use of each assertion that has not expired, at this replica and since it started.
#[derive(Debug, Default)]
pub struct AssertionUses(Mutex<Uses>);

#[derive(Debug, Default)]
struct Uses {
    first: HashMap<[u8; 32], FirstUse>,
    of_clients: HashMap<ClientId, usize>,
    /// When what has expired was last dropped.
    swept: Timestamp,
}

#[derive(Debug)]
struct FirstUse {
    certificate: CertificateThumbprint,
    client_id: ClientId,
    expires: Timestamp,
}

impl AssertionUses {
    /// Takes the use of an assertion that has authenticated a client over a connection with a certificate. The first use
    /// ties it to that certificate until it expires.
    pub fn take(
        &self,
        assertion: &IssuerJwt,
        client_id: &ClientId,
        certificate: CertificateThumbprint,
        now: Timestamp,
    ) -> Result<(), NotTaken> {
        match self.note((assertion.digest(), assertion.expires()), client_id, certificate, now)? {
            Some(first) if first != certificate => Err(NotTaken::OtherCertificate),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the use of what is good once, by what tells it from every other and until when it is good.
    pub fn take_once(
        &self,
        used: ([u8; 32], Timestamp),
        client_id: &ClientId,
        certificate: CertificateThumbprint,
        now: Timestamp,
    ) -> Result<(), NotTaken> {
        self.note(used, client_id, certificate, now)?.map_or(Ok(()), |_| Err(NotTaken::Before))
    }

    /// Notes a use. Returns the certificate of the first one, if there was one before.
    fn note(
        &self,
        (digest, expires): ([u8; 32], Timestamp),
        client_id: &ClientId,
        certificate: CertificateThumbprint,
        now: Timestamp,
    ) -> Result<Option<CertificateThumbprint>, NotTaken> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = uses.first.get(&digest).filter(|first| now < first.expires) {
            return Ok(Some(first.certificate));
        }
        if uses.is_full_for(client_id) && uses.swept < now {
            uses.sweep(now);
        }
        if uses.is_full_for(client_id) {
            return Err(NotTaken::TooMany);
        }
        let first = FirstUse { certificate, client_id: client_id.clone(), expires };
        if uses.first.insert(digest, first).is_none() {
            *uses.of_clients.entry(client_id.clone()).or_default() += 1;
        }
        Ok(None)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Uses {
    fn is_full_for(&self, client_id: &ClientId) -> bool {
        self.first.len() >= MAX_USES
            || self.of_clients.get(client_id).is_some_and(|count| *count >= MAX_USES_OF_A_CLIENT)
    }

    fn sweep(&mut self, now: Timestamp) {
        self.swept = now;
        self.first.retain(|_, first| now < first.expires);
        self.of_clients.clear();
        for first in self.first.values() {
            *self.of_clients.entry(first.client_id.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    fn assertion(number: usize, expires: u64) -> IssuerJwt {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        IssuerJwt::unproven(digest, Timestamp(expires))
    }

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    #[test]
    fn an_assertion_is_tied_to_its_first_certificate_for_every_client_until_it_expires() {
        let [own, other] = [b"own", b"oth"].map(|der| CertificateThumbprint::of(der));
        let uses = AssertionUses::default();
        let (first, second) = (assertion(1, 1600), assertion(2, 1600));
        assert_eq!(uses.take(&first, &client("a"), own, NOW), Ok(()));
        assert_eq!(uses.take(&first, &client("a"), own, Timestamp(1599)), Ok(()));
        for name in ["a", "b"] {
            let stolen = uses.take(&first, &client(name), other, Timestamp(1599));
            assert_eq!(stolen, Err(NotTaken::OtherCertificate), "{name}");
        }
        assert_eq!(uses.take(&second, &client("a"), other, NOW), Ok(()));
        assert_eq!(uses.len(), 2);
    }

    #[test]
    fn memory_is_bounded_for_a_client_and_for_all_and_freed_by_time_alone() {
        let own = CertificateThumbprint::of(b"own");
        let uses = AssertionUses::default();
        let take =
            |number, name: &str, now| uses.take(&assertion(number, now + 600), &client(name), own, Timestamp(now));
        for number in 0..MAX_USES {
            let name = format!("c{}", number / MAX_USES_OF_A_CLIENT);
            if number % MAX_USES_OF_A_CLIENT == 0 && number > 0 {
                let before = format!("c{}", number / MAX_USES_OF_A_CLIENT - 1);
                assert_eq!(take(MAX_USES + number, &before, 1000), Err(NotTaken::TooMany), "{before}");
            }
            assert_eq!(take(number, &name, 1000), Ok(()));
        }
        assert_eq!(take(2 * MAX_USES, "new", 1000), Err(NotTaken::TooMany));
        // What is remembered stays usable.
        assert_eq!(take(0, "c0", 1599), Ok(()));
        assert_eq!(take(2 * MAX_USES, "new", 1599), Err(NotTaken::TooMany));
        assert_eq!(take(2 * MAX_USES, "new", 1600), Ok(()));
        assert_eq!(uses.len(), 1);
    }
}
