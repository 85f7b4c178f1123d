//! Everything that the audit trail has a record of, done once.

use std::time::Duration;

use lanyard::authority::Authority;
use lanyard::authority::access::PeerConnection;
use lanyard::authority::access::Requester;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ORDERS;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::calls::opened;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;

/// Texts that differ from run to run, by what they are.
pub struct Names(pub Vec<(String, &'static str)>);

impl Names {
    /// The text with these in their places.
    pub fn put_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (random, name)| text.replace(random, name))
    }
}

fn requester(authority: &Authority, peer: &PeerIdentity) -> Requester {
    authority.requester(&authority.as_caller(peer), None, &ClientAssertion::default()).unwrap()
}

fn check(authority: &Authority, proxy: &PeerIdentity, token: &str, leaf: &Leaf, path: &str) {
    let (bearer, pem) = (format!("Bearer {token}"), url_encoded(leaf));
    let request = CheckRequest {
        destination: Destination { named: Some(ORDERS), principal: "", authority: "" },
        method: "GET",
        path,
        headers: vec![("authorization", bearer.as_bytes())],
        certificate: &pem,
        principal: "",
        address: "",
    };
    authority.check(&authority.as_asker(proxy), &request).unwrap();
}

fn orders(mode: &str) -> ResourceMetadata {
    ResourceMetadata {
        audience: ORDERS.to_owned(),
        scope: "orders.read".to_owned(),
        routes: vec![RouteMetadata {
            path: "/orders".to_owned(),
            scope: "orders.read".to_owned(),
            ..RouteMetadata::default()
        }],
        mode: Some(mode.to_owned()),
        ..ResourceMetadata::default()
    }
}

/// Does all of it. `reports` is what the protocols and the server find themselves.
pub fn happen(fixture: &TestAuthority, reports: impl FnOnce(&Authority, &PeerIdentity, &PeerConnection)) -> Names {
    let authority = &fixture.authority;
    let (admin, proxy) = (fixture.svid(ADMIN), fixture.svid(PROXY));
    let leaf = fixture.prod.svid(CHECKOUT).issue();
    let next = fixture.prod.svid(CHECKOUT).between(NOW, NOW.after(Duration::from_hours(2))).issue();
    let other = fixture.prod.svid(CHECKOUT).between(NOW, NOW.after(Duration::from_hours(3))).issue();
    let theft = fixture.prod.svid("spiffe://prod.example/thief").issue();
    let (checkout, thief) = (fixture.peer(&leaf), fixture.peer(&theft));

    let strict = spiffe_client(CHECKOUT);
    let lineage = ClientMetadata { rotation: Some("lineage".to_owned()), ..strict.clone() };
    fixture.register(strict);
    ready(authority.announce_rotation(&authority.as_caller(&checkout), &next.chain)).unwrap_err();
    fixture.update(lineage);
    let issued = fixture.token(&checkout);
    let wider = TokenRequest { scope: "orders.admin".to_owned(), ..TokenRequest::default() };
    drop(ready(authority.issue_token(&authority.as_caller(&checkout), &wider)));
    drop(fixture.issue(&thief, CHECKOUT));
    drop(fixture.issue(&thief, "no name"));

    drop(authority.requester(&authority.as_caller(&thief), Some(CHECKOUT), &ClientAssertion::default()));
    drop(authority.introspect(&authority.view(), &requester(authority, &proxy), &issued));
    let stranger = ClientId::parse("spiffe://prod.example/thief");
    let stranger = Requester { client_id: stranger, ..requester(authority, &checkout) };
    drop(authority.introspect(&authority.view(), &stranger, &issued));
    drop(authority.introspect(&authority.view(), &requester(authority, &proxy), "x"));

    fixture.evaluate(&issued, &leaf);
    fixture.evaluate(&issued, &theft);
    fixture.evaluate("x", &leaf);
    let evidence = PresentedEvidence::Of(Some(Evidence::from_spiffe_id(CHECKOUT).unwrap()));
    let request =
        ValidateRequest { access_token: &issued, evidence, audience: Some(ORDERS), scope: "", receipt: false };
    drop(authority.validate_binding(&authority.as_asker(&proxy), request));
    let evidence = PresentedEvidence::Nothing;
    let request = ValidateRequest { access_token: "", evidence, audience: Some(ORDERS), scope: "", receipt: false };
    drop(authority.validate_binding(&authority.as_asker(&proxy), request));

    let resource = ready(authority.create_resource(&admin, orders("enforce"), false)).unwrap();
    check(authority, &proxy, &issued, &leaf, "/orders?access_token=planted");
    check(authority, &proxy, &issued, &theft, "/orders");
    check(authority, &proxy, "x", &leaf, "/orders");
    check(authority, &proxy, &issued, &leaf, "/nowhere");
    ready(authority.update_resource(&admin, orders("report"), resource.revision, false)).unwrap();
    check(authority, &proxy, &issued, &theft, "/orders");
    ready(authority.delete_resource(&admin, ORDERS, None)).unwrap();
    check(authority, &proxy, &issued, &leaf, "/orders");

    ready(authority.announce_rotation(&authority.as_caller(&checkout), &next.chain)).unwrap();
    ready(authority.announce_rotation(&authority.as_caller(&checkout), &other.chain)).unwrap_err();

    let client = || RevokeRequest::Client(ClientId::parse(CHECKOUT).unwrap(), None);
    let revoke = |peer: &PeerIdentity, request| {
        let (caller, requester) = (authority.as_caller(peer), requester(authority, peer));
        ready(authority.revoke(&caller, &requester, request, LastAdmin::Stays))
    };
    revoke(&checkout, client()).unwrap_err();
    revoke(&admin, RevokeRequest::Token(issued.clone())).unwrap();
    revoke(&admin, client()).unwrap();
    let by_admin = requester(authority, &admin);
    ready(authority.lift_revocation(&authority.as_caller(&admin), &by_admin, client())).unwrap();
    fixture.delete(CHECKOUT);
    ready(authority.export_store(&authority.as_caller(&admin))).unwrap();

    let kid = authority.keys().active().unwrap().key_id().to_string();
    let by_admin = authority.as_caller(&admin);
    let next_kid = ready(authority.rotate_signing_key(&by_admin)).unwrap().next.key_id().to_string();
    ready(authority.revoke_signing_key(&by_admin, &kid, "")).unwrap_err();
    ready(authority.revoke_signing_key(&by_admin, &kid, "it leaked")).unwrap();

    reports(authority, &checkout, &authority.admit(leaf.chain.clone()).unwrap());

    let [certificate, successor, second, stolen] = [&leaf, &next, &other, &theft].map(Leaf::thumbprint);
    let (_, claims) = opened(&issued);
    Names(vec![
        (issued, "{token}"),
        (claims["jti"].as_str().unwrap().to_owned(), "{jti}"),
        (certificate.to_string(), "{certificate}"),
        (successor.to_string(), "{successor}"),
        (second.to_string(), "{second}"),
        (stolen.to_string(), "{stolen}"),
        (admin.thumbprint().to_string(), "{admin}"),
        (kid, "{kid}"),
        (next_kid, "{next kid}"),
        (proxy.thumbprint().to_string(), "{proxy}"),
        (fixture.proxy().thumbprint().to_string(), "{evaluator}"),
    ])
}
