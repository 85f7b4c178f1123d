//! Records that a newer version wrote: a client or a resource is suspended, as it names itself, and what may forbid
//! anything forbids every decision. A start and a watch come to the same.

use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::decision::NoDecision;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::records::Kind;
use lanyard::authority::records::Registration as _;
use lanyard::authority::records::RegistryError;
use lanyard::authority::records::Suspended;
use lanyard::authority::registration::ClientRegistration;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ProtectedResource;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::state::Snapshot;
use lanyard::authority::state::Undecidable;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::TooNew;
use serde_json::Value;
use serde_json::json;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::leaf::Leaf;
use crate::support::resources::at;
use crate::support::unreferenced::Unreferenced as _;

const SHOP: &str = "spiffe://prod.example/ns/shop/*";
const BILLING: &str = "spiffe://prod.example/ns/shop/sa/billing";

/// How a replica hears of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    OnTheWatch,
    AtStart,
}

const BOTH: [Heard; 2] = [Heard::OnTheWatch, Heard::AtStart];

/// A record that a version of schema 99 wrote, in the outline that all versions share.
fn newer(metadata: &Value) -> Vec<u8> {
    json!({ "schema": 99, "metadata": metadata, "created_by": "a later version", "create_time": 7, "more": [] })
        .to_string()
        .into_bytes()
}

/// The authority once it has heard of this value at this key, whether it ran before or starts then.
fn hear(fixture: TestAuthority, heard: Heard, key: &str, value: Vec<u8>) -> TestAuthority {
    let revision = ready(fixture.store.put(key, value.clone(), Expected::Any)).unwrap();
    match heard {
        Heard::OnTheWatch => {
            let changes = vec![Change { key: key.to_owned(), value: Some(value.into()) }];
            fixture.authority.apply(&Batch { revision, changes });
            fixture
        }
        // Another process with the same trust: the fixture's own, as it reads everything anew.
        Heard::AtStart => {
            ready(fixture.authority.load()).unwrap();
            fixture
        }
    }
}

fn decided(fixture: &TestAuthority, token: &str, leaf: &Leaf, audience: &str) -> Result<Decision, NoDecision> {
    let request = ValidateRequest {
        access_token: token,
        evidence: PresentedEvidence::Of(Some(Evidence::from_der(leaf.certificate()).unwrap())),
        audience: Some(audience),
        scope: "",
        receipt: false,
    };
    let caller = fixture.authority.as_caller(fixture.proxy());
    fixture
        .authority
        .validate_binding(&caller.clone().into(), request)
        .unreferenced()
        .map(|evaluation| evaluation.decision)
}

fn is_allowed(decision: &Result<Decision, NoDecision>) -> bool {
    matches!(decision, Ok(Decision::Allow(_)))
}

/// The code of the denial of a check of a host.
fn checked(fixture: &TestAuthority, authority: &str) -> Result<&'static str, Undecidable> {
    let request = CheckRequest {
        destination: Destination { named: None, principal: "", authority },
        method: "GET",
        path: "/",
        headers: Vec::new(),
        certificate: "",
        principal: "",
        address: "",
    };
    let caller = fixture.authority.as_caller(&fixture.svid(PROXY));
    Ok(match fixture.authority.check(&caller.clone().into(), &request).unreferenced()? {
        CheckAnswer::Deny(denial) => denial.refusal.code(),
        CheckAnswer::Allow(_) => panic!("allowed"),
    })
}

#[test]
fn a_newer_client_is_suspended_and_no_wider_pattern_takes_its_place() {
    for heard in BOTH {
        let fixture = TestAuthority::new();
        fixture.register(named_spiffe_client("shop", SHOP));
        let [checkout, billing] = [CHECKOUT, BILLING].map(|id| fixture.prod.svid(id).issue());
        let [of_checkout, of_billing] = [&checkout, &billing].map(|leaf| fixture.token(&fixture.peer(leaf)));
        // It was never seen in a schema that this version reads, and its name is not its SPIFFE ID.
        let record = newer(&json!({ "client_id": "till", "spiffe_id": CHECKOUT, "unheard_of": true }));
        let fixture = hear(fixture, heard, "/clients/till", record);

        let refused = fixture.issue(&fixture.peer(&checkout), CHECKOUT).map(drop);
        assert_eq!(refused, Err(GrantError::InvalidClient(Mismatch::SuspendedClient)), "{heard:?}");
        let denied = decided(&fixture, &of_checkout, &checkout, ORDERS);
        assert_eq!(denied, Ok(Decision::Deny(DenyReason::ClientSuspended)), "{heard:?}");
        // Its neighbour under the same pattern goes on.
        assert!(is_allowed(&decided(&fixture, &of_billing, &billing, ORDERS)), "{heard:?}");
        fixture.issue(&fixture.peer(&billing), BILLING).unwrap();
        let shown = fixture.authority.client("till").unwrap();
        assert_eq!(shown.suspended, Some(Suspended::TooNew(TooNew { schema: 99, reads: ClientRegistration::SCHEMA })));
        assert_eq!(&*shown.record.created_by, "a later version");
        let why = shown.suspended.unwrap().to_string();
        let reads = format!("up to {}", ClientRegistration::SCHEMA);
        assert!(why.contains("schema 99") && why.contains(&reads), "{why}");
    }
}

#[test]
fn a_newer_pattern_suspends_all_below_it() {
    for heard in BOTH {
        let fixture = TestAuthority::new();
        fixture.register(spiffe_client(CHECKOUT));
        let other = "spiffe://prod.example/ns/other/sa/a";
        fixture.register(spiffe_client(other));
        let record = newer(&json!({ "client_id": "shop", "spiffe_id": SHOP }));
        let fixture = hear(fixture, heard, "/clients/shop", record);
        let refused = fixture.issue(&fixture.svid(CHECKOUT), CHECKOUT).map(drop);
        assert_eq!(refused, Err(GrantError::InvalidClient(Mismatch::SuspendedClient)), "{heard:?}");
        fixture.issue(&fixture.svid(other), other).unwrap();
    }
}

#[test]
fn a_newer_record_of_a_known_client_suspends_what_the_record_names_now() {
    let fixture = TestAuthority::new();
    fixture.register(named_spiffe_client("till", CHECKOUT));
    fixture.register(named_spiffe_client("shop", SHOP));
    let record = newer(&json!({ "client_id": "till", "spiffe_id": BILLING }));
    let fixture = hear(fixture, Heard::OnTheWatch, "/clients/till", record);
    let refused = fixture.issue(&fixture.svid(BILLING), BILLING).map(drop);
    assert_eq!(refused, Err(GrantError::InvalidClient(Mismatch::SuspendedClient)));
    // The pattern covers what it no longer names.
    fixture.issue(&fixture.svid(CHECKOUT), CHECKOUT).unwrap();
}

#[test]
fn a_newer_record_that_does_not_say_what_it_names_suspends_what_it_named() {
    let fixture = TestAuthority::new();
    fixture.register(named_spiffe_client("till", CHECKOUT));
    fixture.register(named_spiffe_client("shop", SHOP));
    fixture.protect(at(ORDERS, &[], &["shop.internal"]));
    let fixture = hear(fixture, Heard::OnTheWatch, "/clients/till", b"{\"schema\":99}".to_vec());
    let fixture = hear(fixture, Heard::OnTheWatch, &format!("/resources/{ORDERS}"), b"{\"schema\":99}".to_vec());
    let refused = fixture.issue(&fixture.svid(CHECKOUT), CHECKOUT).map(drop);
    assert_eq!(refused, Err(GrantError::InvalidClient(Mismatch::SuspendedClient)));
    assert_eq!(checked(&fixture, "shop.internal"), Ok("RESOURCE_SUSPENDED"));
}

#[test]
fn a_newer_resource_is_denied_and_no_other_takes_its_place() {
    for heard in BOTH {
        let fixture = TestAuthority::new();
        let mut client = spiffe_client(CHECKOUT);
        client.audience.push(STOCK.to_owned());
        fixture.register(client);
        let leaf = fixture.prod.svid(CHECKOUT).issue();
        let token = fixture.token(&fixture.peer(&leaf));
        // The host without a port is another resource's.
        fixture.protect(at(STOCK, &[], &["shop.internal"]));
        let record = newer(&json!({ "audience": ORDERS, "authorities": ["shop.internal:8443"], "unheard_of": 1 }));
        let fixture = hear(fixture, heard, &format!("/resources/{ORDERS}"), record);

        let denied = decided(&fixture, &token, &leaf, ORDERS);
        assert_eq!(denied, Ok(Decision::Deny(DenyReason::ResourceSuspended)), "{heard:?}");
        assert_eq!(checked(&fixture, "shop.internal:8443"), Ok("RESOURCE_SUSPENDED"), "{heard:?}");
        // The nearest neighbour goes on.
        assert!(is_allowed(&decided(&fixture, &token, &leaf, STOCK)), "{heard:?}");
        assert_eq!(checked(&fixture, "shop.internal"), Ok("TOKEN_MISSING"), "{heard:?}");
        let caller = fixture.authority.as_caller(&fixture.peer(&leaf));
        let ask = |audience: &[&str]| {
            let audience = audience.iter().map(|&audience| audience.to_owned()).collect();
            let request = lanyard::authority::decision::TokenRequest { audience, ..Default::default() };
            ready(fixture.authority.issue_token(&caller, &request)).unreferenced().map(drop)
        };
        assert_eq!(ask(&[ORDERS]), Err(GrantError::ResourceSuspended), "{heard:?}");
        assert_eq!(ask(&[]), Err(GrantError::ResourceSuspended), "{heard:?}");
        assert_eq!(ask(&[STOCK]), Ok(()), "{heard:?}");
    }
}

#[test]
fn a_newer_record_is_deleted_and_never_rewritten_by_an_older_version() {
    let fixture = TestAuthority::new();
    let admin = fixture.svid(ADMIN);
    fixture.register(spiffe_client(CHECKOUT));
    fixture.protect(at(ORDERS, &[], &["shop.internal"]));
    let (client_key, resource_key) = (format!("/clients/{CHECKOUT}"), format!("/resources/{ORDERS}"));
    let fixture = hear(fixture, Heard::OnTheWatch, &client_key, newer(&json!({ "client_id": CHECKOUT })));
    let fixture = hear(fixture, Heard::OnTheWatch, &resource_key, newer(&json!({ "audience": ORDERS })));
    let authority = &fixture.authority;
    let too_new = |kind, reads| RegistryError::TooNew { kind, too_new: TooNew { schema: 99, reads } };
    let client = ClientRegistration::SCHEMA;

    let from = authority.client(CHECKOUT).unwrap().revision;
    let update = |validate_only| {
        ready(authority.update_client(&admin, spiffe_client(CHECKOUT), from, validate_only)).map(drop).unwrap_err()
    };
    assert_eq!([update(false), update(true)], [too_new(Kind::Client, client), too_new(Kind::Client, client)]);
    assert_eq!(fixture.try_register(spiffe_client(CHECKOUT)).unwrap_err(), RegistryError::Exists(Kind::Client));
    let from = authority.resource(ORDERS).unwrap().revision;
    let metadata = at(ORDERS, &[], &["shop.internal"]);
    let refused = ready(authority.update_resource(&admin, metadata, from, false)).unwrap_err();
    assert_eq!(refused, too_new(Kind::Resource, ProtectedResource::SCHEMA));
    for key in [&client_key, &resource_key] {
        let stored = ready(fixture.store.get(key)).unwrap().unwrap();
        let stored: Value = serde_json::from_slice(&stored.value).unwrap();
        assert_eq!(stored["schema"], 99, "{key} was rewritten");
    }

    fixture.delete(CHECKOUT);
    fixture.register(spiffe_client(CHECKOUT));
    ready(authority.delete_resource(&admin, ORDERS, None)).unwrap();
    fixture.protect(at(ORDERS, &[], &["shop.internal"]));
    assert_eq!(checked(&fixture, "shop.internal"), Ok("TOKEN_MISSING"));
    fixture.issue(&fixture.svid(CHECKOUT), CHECKOUT).unwrap();
}

#[test]
fn no_other_resource_gets_an_authority_that_a_newer_record_names() {
    let fixture = TestAuthority::new();
    let record = newer(&json!({ "audience": ORDERS, "authorities": ["shop.internal"] }));
    let fixture = hear(fixture, Heard::OnTheWatch, &format!("/resources/{ORDERS}"), record);
    let claim = |fixture: &TestAuthority, authority: &str| {
        let metadata: ResourceMetadata = at(STOCK, &[], &[authority]);
        ready(fixture.authority.create_resource(&fixture.svid(ADMIN), metadata, true)).map(drop)
    };
    assert!(matches!(claim(&fixture, "shop.internal"), Err(RegistryError::AuthorityTaken { .. })));
    assert_eq!(claim(&fixture, "stock.internal"), Ok(()));
}

#[test]
fn a_newer_revocation_signing_key_or_role_forbids_every_decision_until_it_is_gone_or_rewritten() {
    for key in ["/revocations/token/later", "/keys/later", "/roles/admin"] {
        for heard in BOTH {
            let fixture = TestAuthority::new();
            fixture.register(spiffe_client(CHECKOUT));
            fixture.protect(at(STOCK, &[], &["stock.internal"]));
            let leaf = fixture.prod.svid(CHECKOUT).issue();
            let token = fixture.token(&fixture.peer(&leaf));
            let fixture = hear(fixture, heard, key, b"{\"schema\":99}".to_vec());
            let refused = Err(Undecidable::RecordTooNew);
            assert_eq!(fixture.authority.freshness(), refused, "{key} {heard:?}");
            assert_eq!(decided(&fixture, &token, &leaf, ORDERS), Err(NoDecision::RecordTooNew), "{key} {heard:?}");
            assert_eq!(checked(&fixture, "stock.internal"), Err(Undecidable::RecordTooNew), "{key} {heard:?}");
            let issued = fixture.issue(&fixture.peer(&leaf), CHECKOUT).map(drop);
            assert_eq!(issued, Err(GrantError::Undecidable(Undecidable::RecordTooNew)), "{key} {heard:?}");
            // No key is made in place of one that a later version may sign with.
            let keys = ready(fixture.store.list("/keys/")).unwrap().entries.len();
            ready(fixture.authority.tend_signing_keys()).unwrap();
            assert_eq!(ready(fixture.store.list("/keys/")).unwrap().entries.len(), keys);

            let revision = ready(fixture.store.delete(key, Expected::Any)).unwrap();
            let gone = Change { key: key.to_owned(), value: None };
            fixture.authority.apply(&Batch { revision, changes: vec![gone] });
            assert!(is_allowed(&decided(&fixture, &token, &leaf, ORDERS)), "{key} {heard:?}");
            assert_eq!(checked(&fixture, "stock.internal"), Ok("TOKEN_MISSING"), "{key} {heard:?}");
        }
    }
}

#[test]
fn a_rewritten_revocation_opens_a_replica_again_and_counts() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    let key = format!("/revocations/client/{CHECKOUT}");
    let fixture = hear(fixture, Heard::OnTheWatch, &key, b"{\"schema\":99}".to_vec());
    // Read again meanwhile, it stays closed.
    ready(fixture.authority.load()).unwrap();
    assert_eq!(decided(&fixture, &token, &leaf, ORDERS), Err(NoDecision::RecordTooNew));
    let record = lanyard::authority::state::RevocationRecord::new(fixture.authority.clock().now(), "ops", None);
    let fixture = hear(fixture, Heard::OnTheWatch, &key, record.to_bytes().unwrap());
    assert_eq!(decided(&fixture, &token, &leaf, ORDERS), Ok(Decision::Deny(DenyReason::ClientRevoked)));
}

#[test]
fn nothing_older_reopens_what_a_newer_record_has_closed() {
    let key = "/revocations/token/later";
    let mut snapshot = Snapshot::default();
    snapshot.suspend(key, b"{\"schema\":99}", Revision(5), &"");
    // A change that this server made before, and is told of late.
    snapshot.apply(key, None, Revision(3));
    assert!(snapshot.needs_newer_version());
    // A reading of the whole store that began before it was written.
    let mut read = Snapshot::default();
    read.apply(key, None, Revision(4));
    read.advance_to(Revision(4));
    read.merge_newer(&snapshot);
    assert!(read.needs_newer_version());
    read.apply(key, None, Revision(6));
    assert!(!read.needs_newer_version());
    assert!(read.too_new().all(|(_, count)| count == 0));
}

#[test]
fn a_newer_succession_is_none() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let token = fixture.token(&fixture.peer(&leaf));
    let key = format!("/lineages/{}", leaf.thumbprint());
    let fixture = hear(fixture, Heard::AtStart, &key, b"{\"schema\":99}".to_vec());
    assert!(is_allowed(&decided(&fixture, &token, &leaf, ORDERS)));
}

#[test]
fn a_damaged_record_still_stops_a_start() {
    for value in ["{}", "{\"schema\":1}", "?"] {
        for key in ["/clients/a", "/resources/urn:a", "/revocations/token/a", "/roles/a"] {
            let fixture = TestAuthority::new();
            ready(fixture.store.put(key, value.into(), Expected::Any)).unwrap();
            let started = ready(fixture.authority.load());
            // Of a role any schema is a newer one.
            let is_role = key.starts_with("/roles/") && value.contains("schema");
            assert_eq!(started.is_ok(), is_role, "{key} {value}");
        }
    }
}
