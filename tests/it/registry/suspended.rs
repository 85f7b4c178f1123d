//! A registration whose stored record cannot be read is refused, and changed by admins alone.

use std::sync::Arc;

use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::Mismatch;
use lanyard::authority::policy::RegistrationPolicy;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::DynamicRegistrationError;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::state::Caller;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Change;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;

const SHOP: &str = "spiffe://prod.example/ns/shop/*";

/// An authority where the workload [`CHECKOUT`] has registered itself.
struct Fixture {
    fixture: TestAuthority,
    /// The workload's registration access token.
    token: String,
}

impl Fixture {
    fn new() -> Self {
        let fixture =
            TestAuthority::with(|policy| policy.registration = RegistrationPolicy::OwnIdentity, TestAuthority::keys());
        fixture.register(named_spiffe_client("shop", SHOP));
        let token = register(&fixture).unwrap();
        Self { fixture, token }
    }

    /// Another replica writes what no version reads.
    fn overwrite(&self, key: &str) -> Revision {
        let value = b"{\"schema\":1}";
        let revision = ready(self.fixture.store.put(key, value.to_vec(), Expected::Any)).unwrap();
        let value = Some(Arc::from(value.as_slice()));
        self.fixture.authority.apply(&Batch { revision, changes: vec![Change { key: key.to_owned(), value }] });
        revision
    }

    fn opened(&self, caller: &Caller) -> Result<Arc<RegisteredClient>, DynamicRegistrationError> {
        self.fixture.authority.registered_dynamically(caller, CHECKOUT, &self.token)
    }

    fn present(&self) -> Arc<RegisteredClient> {
        self.fixture.authority.client(CHECKOUT).unwrap()
    }

    fn deleted(&self, caller: &Caller) -> Result<(), DynamicRegistrationError> {
        ready(self.fixture.authority.delete_registration(caller, &self.present()))
    }

    fn replaced(&self, caller: &Caller) -> Result<Arc<RegisteredClient>, DynamicRegistrationError> {
        ready(self.fixture.authority.replace_registration(caller, &self.present(), requested()))
    }

    fn granted(&self) -> Result<(), GrantError> {
        self.fixture.issue(&self.fixture.svid(CHECKOUT), CHECKOUT).map(drop)
    }
}

fn requested() -> ClientMetadata {
    ClientMetadata { token_endpoint_auth_method: "spiffe_x509".to_owned(), ..ClientMetadata::default() }
}

fn caller(fixture: &TestAuthority, spiffe_id: &str) -> Caller {
    fixture.authority.as_caller(&fixture.svid(spiffe_id))
}

fn register(fixture: &TestAuthority) -> Result<String, DynamicRegistrationError> {
    let registered = ready(fixture.authority.register_dynamically(&caller(fixture, CHECKOUT), requested()));
    registered.map(|registered| registered.registration_access_token.expose().to_owned())
}

const SUSPENDED: Result<(), GrantError> = Err(GrantError::InvalidClient(Mismatch::SuspendedClient));
const FORBIDDEN: DynamicRegistrationError = DynamicRegistrationError::Forbidden;

#[test]
fn a_registrant_neither_reads_replaces_nor_deletes_a_suspended_client() {
    let test = Fixture::new();
    let workload = caller(&test.fixture, CHECKOUT);
    assert!(test.opened(&workload).is_ok() && test.granted().is_ok());
    let revision = test.overwrite(&format!("/clients/{CHECKOUT}"));
    assert!(test.present().suspended.is_some());
    assert_eq!(test.opened(&workload).unwrap_err(), FORBIDDEN);
    assert_eq!(test.deleted(&workload).unwrap_err(), FORBIDDEN);
    assert_eq!(test.replaced(&workload).unwrap_err(), FORBIDDEN);
    // Nor does it register anew.
    assert!(matches!(register(&test.fixture).unwrap_err(), DynamicRegistrationError::Invalid(_)));
    assert_eq!(test.granted(), SUSPENDED);
    assert!(test.present().suspended.is_some());
    assert_eq!(test.present().revision, revision);
    let stored = ready(test.fixture.store.get(&format!("/clients/{CHECKOUT}"))).unwrap().unwrap();
    assert_eq!(stored.revision, revision);
}

#[test]
fn an_admin_clears_the_suspension_of_a_client_by_an_update() {
    let test = Fixture::new();
    let before = test.present();
    test.overwrite(&format!("/clients/{CHECKOUT}"));
    let updated = test.fixture.update(before.registration.metadata());
    assert!(updated.suspended.is_none() && updated.revision > before.revision);
    assert_eq!(updated.record.creation_id, before.record.creation_id);
    assert_eq!(test.granted(), Ok(()));
    assert!(test.opened(&caller(&test.fixture, CHECKOUT)).is_ok());
    // What it wrote is what other replicas read.
    let elsewhere = TestAuthority::on(Arc::clone(&test.fixture.store), |_| {}, TestAuthority::keys());
    ready(elsewhere.authority.load()).unwrap();
    let read = elsewhere.authority.client(CHECKOUT).unwrap();
    assert_eq!(read.record, updated.record);
    assert_eq!(read.registration.metadata(), updated.registration.metadata());
}

#[test]
fn an_update_of_a_suspended_client_is_written_also_where_it_only_keeps_it_disabled() {
    let test = Fixture::new();
    test.overwrite(&format!("/clients/{CHECKOUT}"));
    let suspended = test.present();
    let updated = test.fixture.update(suspended.registration.metadata());
    assert!(updated.revision > suspended.revision);
    assert!(updated.suspended.is_none() && updated.registration.disabled);
}

#[test]
fn an_admin_deletes_a_suspended_client_and_it_may_register_anew() {
    let test = Fixture::new();
    test.overwrite(&format!("/clients/{CHECKOUT}"));
    test.fixture.delete(CHECKOUT);
    register(&test.fixture).unwrap();
    assert!(test.present().suspended.is_none());
    assert_eq!(test.granted(), Ok(()));
}

#[test]
fn a_readable_record_ends_the_suspension_and_nothing_less_does() {
    let test = Fixture::new();
    let key = format!("/clients/{CHECKOUT}");
    let good = ready(test.fixture.store.get(&key)).unwrap().unwrap().value;
    test.overwrite(&key);
    // Reading the store again fails at this record, and what was known stays.
    assert!(ready(test.fixture.authority.load()).is_err());
    assert!(test.present().suspended.is_some());
    let revision = ready(test.fixture.store.put(&key, good.to_vec(), Expected::Any)).unwrap();
    test.fixture.authority.apply(&Batch { revision, changes: vec![Change { key, value: Some(good) }] });
    assert!(test.present().suspended.is_none());
    assert_eq!(test.granted(), Ok(()));
}

#[test]
fn a_client_that_is_not_suspended_is_deleted_by_its_registrant_and_a_disabled_one_is_not() {
    let test = Fixture::new();
    let workload = caller(&test.fixture, CHECKOUT);
    test.overwrite("/clients/another");
    assert_eq!(test.deleted(&workload), Ok(()));
    register(&test.fixture).unwrap();
    let metadata = test.present().registration.metadata();
    test.fixture.update(ClientMetadata { disabled: true, ..metadata });
    assert!(test.present().suspended.is_none());
    assert_eq!(test.deleted(&workload).unwrap_err(), FORBIDDEN);
}

#[test]
fn a_suspended_limit_of_an_operator_lets_nothing_register_or_be_replaced() {
    let test = Fixture::new();
    let workload = caller(&test.fixture, CHECKOUT);
    test.overwrite("/clients/shop");
    assert_eq!(test.replaced(&workload).unwrap_err(), FORBIDDEN);
    assert_eq!(test.granted(), SUSPENDED);
    test.fixture.delete(CHECKOUT);
    assert_eq!(register(&test.fixture).unwrap_err(), FORBIDDEN);
}

#[test]
fn an_admin_clears_the_suspension_of_a_resource_by_an_update_and_by_a_deletion() {
    let test = Fixture::new();
    let (authority, admin) = (&test.fixture.authority, test.fixture.svid(ADMIN));
    let route = RouteMetadata { path: "/orders".to_owned(), ..RouteMetadata::default() };
    let metadata = ResourceMetadata { audience: ORDERS.to_owned(), routes: vec![route], ..ResourceMetadata::default() };
    let created = ready(authority.create_resource(&admin, metadata, false)).unwrap();
    let key = format!("/resources/{ORDERS}");
    let revision = test.overwrite(&key);
    let suspended = authority.resource(ORDERS).unwrap();
    assert!(suspended.suspended.is_some() && suspended.registration.metadata.routes.is_empty());
    // Also where the update is what the suspension comes to: it has to reach the store.
    let same = suspended.registration.metadata.clone();
    let kept = ready(authority.update_resource(&admin, same, revision, false)).unwrap();
    assert!(kept.suspended.is_none() && kept.revision > revision);
    let revision = test.overwrite(&key);
    let restored = created.registration.metadata.clone();
    let restored = ready(authority.update_resource(&admin, restored, revision, false)).unwrap();
    assert!(restored.suspended.is_none());
    assert_eq!(restored.registration.metadata, created.registration.metadata);
    test.overwrite(&key);
    ready(authority.delete_resource(&admin, ORDERS, None)).unwrap();
    assert!(authority.resource(ORDERS).is_err());
}
