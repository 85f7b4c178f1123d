//! Protected resources in `RegistryService`, over real TLS: how they are registered, changed, listed and deleted.

use std::time::Duration;

use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::DeleteProtectedResourceRequest;
use lanyard::proto::EvidenceFrom;
use lanyard::proto::GetProtectedResourceRequest;
use lanyard::proto::ListProtectedResourcesRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use lanyard::proto::UpdateProtectedResourceRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use prost_types::FieldMask;
use prost_types::Timestamp;
use tonic::Code;
use tonic::Response;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::NOW;
use crate::support::calls::refusal;
use crate::support::calls::refused_field;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;

const ADMIN: &str = "spiffe://prod.example/admin";

/// An admin at work, on one connection.
pub(crate) struct Admin(pub(crate) RegistryServiceClient<Channel>);

impl Admin {
    pub(crate) fn of(server: &TestServer) -> Self {
        Self(server.registry(&server.svid("/admin")))
    }

    pub(crate) async fn create(&mut self, resource: ProtectedResource) -> Result<ProtectedResource, Status> {
        let request = CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
        self.0.create_protected_resource(request).await.map(Response::into_inner)
    }

    /// Whether it could be registered.
    pub(crate) async fn check(&mut self, resource: ProtectedResource) -> Result<ProtectedResource, Status> {
        let request =
            CreateProtectedResourceRequest { resource: Some(resource), validate_only: true, ..Default::default() };
        self.0.create_protected_resource(request).await.map(Response::into_inner)
    }

    pub(crate) async fn read(&mut self, audience: &str) -> Result<ProtectedResource, Status> {
        let request = GetProtectedResourceRequest { audience: audience.to_owned() };
        self.0.get_protected_resource(request).await.map(Response::into_inner)
    }

    pub(crate) async fn update(
        &mut self,
        resource: ProtectedResource,
        fields: &[&str],
    ) -> Result<ProtectedResource, Status> {
        let paths = fields.iter().map(|field| (*field).to_owned()).collect();
        let update_mask = (!fields.is_empty()).then_some(FieldMask { paths });
        let request = UpdateProtectedResourceRequest { resource: Some(resource), update_mask, ..Default::default() };
        self.0.update_protected_resource(request).await.map(Response::into_inner)
    }

    pub(crate) async fn delete(&mut self, audience: &str, etag: &str) -> Result<(), Status> {
        let request = DeleteProtectedResourceRequest {
            audience: audience.to_owned(),
            etag: etag.to_owned(),
            ..Default::default()
        };
        self.0.delete_protected_resource(request).await.map(drop)
    }

    async fn page(&mut self, page_size: i32, page_token: &str) -> Result<(Vec<String>, String), Status> {
        let request = ListProtectedResourcesRequest { page_size, page_token: page_token.to_owned() };
        let page = self.0.list_protected_resources(request).await?.into_inner();
        Ok((page.resources.into_iter().map(|resource| resource.audience).collect(), page.next_page_token))
    }
}

async fn started() -> (TestServer, Admin) {
    let server = TestServer::start().await;
    let admin = Admin::of(&server);
    (server, admin)
}

/// A resource of which nothing but its audience is said.
pub(crate) fn bare(audience: &str) -> ProtectedResource {
    ProtectedResource { audience: audience.to_owned(), ..ProtectedResource::default() }
}

fn texts<const COUNT: usize>(texts: [&str; COUNT]) -> Vec<String> {
    texts.map(ToOwned::to_owned).to_vec()
}

/// The orders resource, with something in every field.
pub(crate) fn orders() -> ProtectedResource {
    let route = |method: &str, path: &str, scope: &str| Route {
        methods: texts([method]),
        path: path.to_owned(),
        scope: scope.to_owned(),
        public: false,
        ..Route::default()
    };
    ProtectedResource {
        scope: "orders.read orders.write".to_owned(),
        routes: vec![
            route("GET", "/orders/{id}", "orders.read"),
            route("POST", "/orders", "orders.write"),
            Route { path: "/healthz".to_owned(), public: true, ..Route::default() },
        ],
        least_evidence: "certificate".to_owned(),
        evidence_from: Some(EvidenceFrom { via: texts(["spiffe://prod.example/gateway"]), header: false }),
        trust_domains: texts(["prod.example"]),
        mode: "report".to_owned(),
        report_header: true,
        remove_authorization: true,
        destination_principals: texts(["spiffe://prod.example/ns/shop/sa/orders"]),
        authorities: texts(["orders.shop.internal:8443"]),
        owner: "team-shop".to_owned(),
        ..bare(ORDERS)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "this is what a message takes")]
fn at(seconds: u64) -> Option<Timestamp> {
    Some(Timestamp { seconds: i64::try_from(seconds).unwrap(), nanos: 0 })
}

fn refused(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn a_resource_is_returned_as_it_was_written_with_who_made_it_when() {
    let (_server, mut admin) = started().await;
    // What only the server says is not taken from a request.
    let only_said =
        ProtectedResource { etag: "77".to_owned(), created_by: "x".to_owned(), create_time: at(1), ..orders() };
    let created = admin.create(only_said).await.unwrap();
    let expected = ProtectedResource {
        etag: created.etag.clone(),
        create_time: at(NOW.0),
        update_time: at(NOW.0),
        created_by: ADMIN.to_owned(),
        updated_by: ADMIN.to_owned(),
        ..orders()
    };
    assert_eq!(created, expected);
    assert!(!created.etag.is_empty() && created.etag != "77");
    assert_eq!(admin.read(ORDERS).await.unwrap(), created);
    let listed = admin.0.list_protected_resources(ListProtectedResourcesRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().resources, [created]);
}

#[tokio::test]
async fn what_is_left_out_gets_its_default_in_so_many_words() {
    let (_server, mut admin) = started().await;
    let created = admin.create(bare("urn:bare")).await.unwrap();
    let expected = ProtectedResource {
        least_evidence: "thumbprint".to_owned(),
        mode: "enforce".to_owned(),
        etag: created.etag.clone(),
        create_time: at(NOW.0),
        update_time: at(NOW.0),
        created_by: ADMIN.to_owned(),
        updated_by: ADMIN.to_owned(),
        ..bare("urn:bare")
    };
    let warnings = vec!["it has no routes: every request that a proxy asks about is denied".to_owned()];
    assert_eq!(created, ProtectedResource { warnings, ..expected });
    // Hosts have no case.
    let shouted = ProtectedResource { authorities: texts(["Orders.SHOP.internal"]), ..bare("urn:shouted") };
    assert_eq!(admin.create(shouted).await.unwrap().authorities, ["orders.shop.internal"]);
}

#[tokio::test]
async fn an_update_keeps_who_registered_the_resource_and_says_who_changed_it() {
    let mut setup = Setup::default();
    setup.roles = setup.roles.replace("admins: [", "admins: [{spiffe_id: spiffe://prod.example/other-admin}, ");
    setup.write();
    let server = setup.start().await.unwrap();
    let created = Admin::of(&server).create(orders()).await.unwrap();
    server.advance(Duration::from_secs(10));
    let mut other = Admin(server.registry(&server.svid("/other-admin")));
    let changed = ProtectedResource { owner: "team-b".to_owned(), ..created.clone() };
    let updated = other.update(changed.clone(), &[]).await.unwrap();
    let expected = ProtectedResource {
        etag: updated.etag.clone(),
        update_time: at(NOW.0 + 10),
        updated_by: "spiffe://prod.example/other-admin".to_owned(),
        ..changed
    };
    assert_eq!(updated, expected);
    assert_ne!(updated.etag, created.etag);
    // What changes nothing keeps the etag and the time.
    server.advance(Duration::from_secs(10));
    assert_eq!(other.update(updated.clone(), &[]).await.unwrap(), updated);
    assert_eq!(other.update(updated.clone(), &["scope", "routes"]).await.unwrap(), updated);
}

#[tokio::test]
async fn an_update_without_a_mask_replaces_what_it_leaves_out() {
    let (_server, mut admin) = started().await;
    let created = admin.create(orders()).await.unwrap();
    let updated = admin.update(ProtectedResource { etag: created.etag, ..bare(ORDERS) }, &[]).await.unwrap();
    assert_eq!((updated.routes.len(), updated.evidence_from.clone()), (0, None));
    assert_eq!((updated.mode.as_str(), updated.least_evidence.as_str()), ("enforce", "thumbprint"));
    assert_eq!((updated.owner.as_str(), updated.remove_authorization), ("", false));
}

#[tokio::test]
async fn a_mask_takes_each_field_that_it_names_and_no_other() {
    let (_server, mut admin) = started().await;
    let mut present = admin.create(orders()).await.unwrap();
    let wanted = bare(ORDERS);
    // Routes before the scopes that they need, and the header before the mode that it goes with.
    for (field, cleared) in [
        ("routes", (|resource| resource.routes.clear()) as fn(&mut ProtectedResource)),
        ("scope", |resource| resource.scope.clear()),
        ("least_evidence", |resource| resource.least_evidence = "thumbprint".to_owned()),
        ("evidence_from", |resource| resource.evidence_from = None),
        ("trust_domains", |resource| resource.trust_domains.clear()),
        ("report_header", |resource| resource.report_header = false),
        ("mode", |resource| resource.mode = "enforce".to_owned()),
        ("remove_authorization", |resource| resource.remove_authorization = false),
        ("destination_principals", |resource| resource.destination_principals.clear()),
        ("authorities", |resource| resource.authorities.clear()),
        ("owner", |resource| resource.owner.clear()),
    ] {
        let change = ProtectedResource { etag: present.etag.clone(), ..wanted.clone() };
        let mut updated = admin.update(change, &[field]).await.unwrap();
        updated.warnings.clear();
        let mut expected = ProtectedResource { etag: updated.etag.clone(), ..present.clone() };
        cleared(&mut expected);
        assert_eq!(updated, expected, "{field}");
        assert_ne!(updated.etag, present.etag, "{field}");
        present = updated;
    }
    let wanted = ProtectedResource { owner: "x".to_owned(), ..present.clone() };
    for mask in ["audience", "etag", "create_time", "updated_by", "Scope", "routes.path", "evidence_from.via", "*", ""]
    {
        let outcome = admin.update(wanted.clone(), &["owner", mask]).await;
        assert_eq!(refusal(outcome), refused(Code::InvalidArgument, "INVALID_REQUEST"), "{mask:?}");
    }
    assert_eq!(admin.read(ORDERS).await.unwrap(), present);
}

#[tokio::test]
async fn a_change_must_be_made_from_the_present_state() {
    let (_server, mut admin) = started().await;
    let created = admin.create(orders()).await.unwrap();
    let change =
        |etag: &str, owner: &str| ProtectedResource { owner: owner.to_owned(), etag: etag.to_owned(), ..orders() };
    let present = admin.update(change(&created.etag, "first"), &[]).await.unwrap();
    let stale = refused(Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(refusal(admin.update(change(&created.etag, "second"), &[]).await), stale);
    assert_eq!(refusal(admin.update(change(&created.etag, "second"), &["owner"]).await), stale);
    // Nor one that would change nothing.
    assert_eq!(refusal(admin.update(change(&created.etag, "first"), &[]).await), stale);
    assert_eq!(refusal(admin.delete(ORDERS, &created.etag).await), stale);
    let missing = refused(Code::InvalidArgument, "ETAG_MISSING");
    let padded = format!("0{}", present.etag);
    for malformed in [padded.as_str(), "x", "-1", "99999999999999999999", "*"] {
        assert_eq!(refusal(admin.update(change(malformed, "second"), &[]).await), missing, "{malformed:?}");
        assert_eq!(refusal(admin.delete(ORDERS, malformed).await), missing, "{malformed:?}");
    }
    assert_eq!(refusal(admin.update(change("", "second"), &[]).await), missing);
    assert_eq!(admin.read(ORDERS).await.unwrap(), present);
    admin.delete(ORDERS, &present.etag).await.unwrap();
}

#[tokio::test]
async fn an_audience_is_taken_once_and_free_again_when_its_resource_is_deleted() {
    let (_server, mut admin) = started().await;
    let created = admin.create(orders()).await.unwrap();
    let taken = refused(Code::AlreadyExists, "RESOURCE_EXISTS");
    assert_eq!(refusal(admin.create(bare(ORDERS)).await), taken);
    assert_eq!(refusal(admin.check(bare(ORDERS)).await), taken);
    // Audiences are compared as they are written.
    for other in ["https://orders.prod.example/", "https://orders.prod.example:443", "https://ORDERS.prod.example"] {
        admin.check(bare(other)).await.unwrap();
    }
    admin.delete(ORDERS, "").await.unwrap();
    let gone = refused(Code::NotFound, "RESOURCE_NOT_FOUND");
    assert_eq!(refusal(admin.read(ORDERS).await), gone);
    assert_eq!(refusal(admin.delete(ORDERS, "").await), gone);
    assert_eq!(refusal(admin.update(created.clone(), &[]).await), gone);
    assert_eq!(refusal(admin.update(created.clone(), &["scope"]).await), gone);
    assert_eq!(admin.page(0, "").await.unwrap(), (vec![], String::new()));
    let again = admin.create(orders()).await.unwrap();
    assert_ne!(again.etag, created.etag);
    assert_eq!(refusal(admin.update(created, &[]).await), refused(Code::Aborted, "ETAG_MISMATCH"));
}

#[tokio::test]
async fn of_changes_made_at_once_from_the_same_state_one_is_taken() {
    let (_server, mut admin) = started().await;
    let created = admin.create(orders()).await.unwrap();
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..16 {
        let mut admin = Admin(admin.0.clone());
        let change = ProtectedResource { owner: number.to_string(), ..created.clone() };
        changes.spawn(async move { (admin.update(change, &[]).await, admin.create(bare("urn:new")).await) });
    }
    let (updates, creations): (Vec<_>, Vec<_>) = changes.join_all().await.into_iter().unzip();
    for (outcomes, lost) in [
        (updates, refused(Code::Aborted, "ETAG_MISMATCH")),
        (creations, refused(Code::AlreadyExists, "RESOURCE_EXISTS")),
    ] {
        let (taken, others): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(taken.len(), 1);
        assert!(others.into_iter().all(|outcome| refusal(outcome) == lost));
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_in_the_order_of_the_audiences() {
    let (_server, mut admin) = started().await;
    for name in ["e", "b", "d", "a", "c", "f"] {
        admin.create(bare(&format!("urn:{name}"))).await.unwrap();
    }
    for (size, pages) in [(2, vec![2, 2, 2]), (4, vec![4, 2]), (5, vec![5, 1]), (6, vec![6]), (i32::MAX, vec![6])] {
        let (mut names, mut sizes, mut token) = (Vec::new(), Vec::new(), String::new());
        loop {
            let (page, next) = admin.page(size, &token).await.unwrap();
            sizes.push(page.len());
            names.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!((names.join("-").replace("urn:", ""), sizes), ("a-b-c-d-e-f".to_owned(), pages));
    }
    // What is deleted between two pages is missed, and nothing else.
    let (_, token) = admin.page(2, "").await.unwrap();
    admin.delete("urn:b", "").await.unwrap();
    admin.delete("urn:c", "").await.unwrap();
    assert_eq!(admin.page(2, &token).await.unwrap().0, ["urn:d", "urn:e"]);
    assert_eq!(refusal(admin.page(-1, "").await), refused(Code::InvalidArgument, "INVALID_REQUEST"));
    for token in ["garbage!", "a", "YQ==", "_w", " "] {
        let outcome = admin.page(1, token).await;
        assert_eq!(refusal(outcome), refused(Code::InvalidArgument, "INVALID_PAGE_TOKEN"), "{token:?}");
    }
}

#[tokio::test]
async fn a_check_stores_nothing_and_refuses_what_would_not_be_stored() {
    let (_server, mut admin) = started().await;
    let checked = admin.check(orders()).await.unwrap();
    assert_eq!((checked.created_by.as_str(), checked.routes.len()), (ADMIN, 3));
    assert_eq!(refusal(admin.read(ORDERS).await), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));

    let created = admin.create(orders()).await.unwrap();
    let check = |resource: ProtectedResource| UpdateProtectedResourceRequest {
        resource: Some(resource),
        validate_only: true,
        ..Default::default()
    };
    let changed = ProtectedResource { owner: "team-b".to_owned(), ..created.clone() };
    let checked = admin.0.update_protected_resource(check(changed.clone())).await.unwrap().into_inner();
    assert_eq!(checked, changed);
    assert_eq!(admin.read(ORDERS).await.unwrap(), created);
    let stale = ProtectedResource { etag: "999".to_owned(), ..changed };
    let stale = admin.0.update_protected_resource(check(stale)).await;
    assert_eq!(refusal(stale), refused(Code::Aborted, "ETAG_MISMATCH"));

    let large = "x".repeat(70 * 1024);
    let too_large = refused(Code::InvalidArgument, "REGISTRATION_TOO_LARGE");
    let new = ProtectedResource { owner: large.clone(), ..bare("urn:large") };
    assert_eq!(refusal(admin.check(new.clone()).await), too_large);
    assert_eq!(refusal(admin.create(new).await), too_large);
    let larger = ProtectedResource { owner: large, ..created.clone() };
    assert_eq!(refusal(admin.0.update_protected_resource(check(larger.clone())).await), too_large);
    assert_eq!(refusal(admin.update(larger, &[]).await), too_large);
    assert_eq!(admin.read(ORDERS).await.unwrap(), created);
}

#[tokio::test]
async fn only_an_admin_may_read_or_write_resources() {
    let (server, mut admin) = started().await;
    let created = admin.create(orders()).await.unwrap();
    for path in ["/checkout", "/proxy"] {
        let mut other = Admin(server.registry(&server.svid(path)));
        let outcomes = [
            refusal(other.create(bare("urn:new")).await),
            refusal(other.check(bare("urn:new")).await),
            refusal(other.read(ORDERS).await),
            refusal(other.page(0, "").await),
            refusal(other.update(created.clone(), &[]).await),
            refusal(other.delete(ORDERS, "").await),
        ];
        assert!(outcomes.iter().all(|outcome| *outcome == refused(Code::PermissionDenied, "WRONG_ROLE")), "{path}");
    }
    assert_eq!(admin.page(0, "").await.unwrap().0, [ORDERS]);
}

#[tokio::test]
async fn a_request_without_a_resource_is_refused_by_the_fields_name() {
    let (_server, mut admin) = started().await;
    let created = admin.0.create_protected_resource(CreateProtectedResourceRequest::default()).await;
    assert_eq!(refused_field(created), "resource");
    let updated = admin.0.update_protected_resource(UpdateProtectedResourceRequest::default()).await;
    assert_eq!(refused_field(updated), "resource");
    assert_eq!(refusal(admin.read("").await), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
}
