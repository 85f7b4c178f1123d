//! Which registrations claim a SPIFFE ID, beside a plain scan of all of them.

use std::str::FromStr as _;

use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::registration::ClientRecord;
use lanyard::authority::registration::ClientRegistration;
use lanyard::authority::registration::Directory;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::store::Revision;
use proptest::prelude::*;
use spiffe::SpiffeId;

use crate::support::NOW;
use crate::support::authority::named_spiffe_client;

/// Few segments, some of which begin with another, in few places: most patterns and identities have something in common.
fn path() -> impl Strategy<Value = String> {
    let domain = prop::sample::select(vec!["spiffe://a", "spiffe://a.b"]);
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "ab", "b"]), 0..4);
    (domain, segments)
        .prop_map(|(domain, segments)| segments.iter().fold(domain.to_owned(), |path, one| path + "/" + one))
}

/// What is registered: a SPIFFE ID, or all below one.
fn claim() -> impl Strategy<Value = String> {
    (path(), any::<bool>()).prop_filter_map("no SPIFFE ID of a workload", |(path, is_exact)| {
        let text = if is_exact { path } else { path + "/*" };
        SpiffeIdPattern::parse(&text).map(|_| text)
    })
}

fn client(number: usize, claim: &str) -> RegisteredClient {
    let registration = ClientRegistration::parse(named_spiffe_client(&format!("client-{number}"), claim)).unwrap();
    RegisteredClient::new(registration, ClientRecord::new("creation".into(), NOW, "admin"), Revision(1))
}

/// The numbers of the claims that apply to an ID: the exact ones, or those of the longest pattern that matches it.
fn scanned<'a>(claims: impl Iterator<Item = (usize, &'a String)>, id: &SpiffeId) -> Vec<String> {
    let level = |pattern: &SpiffeIdPattern| match pattern {
        SpiffeIdPattern::Exact(_) => usize::MAX,
        SpiffeIdPattern::Below(prefix) => prefix.len(),
    };
    let matching = claims.filter_map(|(number, claim)| {
        let pattern = SpiffeIdPattern::parse(claim).unwrap();
        pattern.matches(id).then(|| (level(&pattern), format!("client-{number}")))
    });
    let matching: Vec<_> = matching.collect();
    let nearest = matching.iter().map(|(level, _)| *level).max();
    let mut names: Vec<_> =
        matching.into_iter().filter(|(level, _)| Some(*level) == nearest).map(|(_, name)| name).collect();
    names.sort();
    names
}

fn found(directory: &Directory, id: &SpiffeId) -> Vec<String> {
    let mut names: Vec<_> =
        directory.nearest(id).iter().map(|client| client.registration.client_id.to_string()).collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registrations_that_apply_are_those_of_a_scan_also_after_some_are_removed(
        claims in prop::collection::vec((claim(), any::<bool>()), 0..12),
        ids in prop::collection::vec(path(), 1..12),
    ) {
        let mut directory = Directory::default();
        for (number, (claim, _)) in claims.iter().enumerate() {
            directory.insert(client(number, claim));
        }
        let ids: Vec<_> = ids.iter().map(|id| SpiffeId::from_str(id).unwrap()).collect();
        let all = || claims.iter().enumerate();
        for id in &ids {
            prop_assert_eq!(found(&directory, id), scanned(all().map(|(number, (claim, _))| (number, claim)), id));
        }
        for (number, _) in all().filter(|(_, (_, is_kept))| !is_kept) {
            directory.remove(&format!("client-{number}"));
        }
        let kept = || all().filter(|(_, (_, is_kept))| *is_kept).map(|(number, (claim, _))| (number, claim));
        for id in &ids {
            prop_assert_eq!(found(&directory, id), scanned(kept(), id));
        }
    }
}
