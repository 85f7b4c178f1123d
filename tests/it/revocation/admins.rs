//! A revocation leaves an admin, unless that is asked for.

use lanyard::authority::Authority;
use lanyard::authority::access::GrantedRole;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeError;
use lanyard::authority::decision::RevokeOutcome;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::RevokeWarning;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::policy::Policy;
use lanyard::authority::registration::ClientId;
use lanyard::authority::state::Caller;
use lanyard::authority::state::Revoked;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::unreferenced::Unreferenced as _;

const OTHER: &str = "spiffe://prod.example/ns/ops/sa/other";
const STAGING: &str = "spiffe://staging.example/admin";

fn with_admins(ids: &[&str]) -> TestAuthority {
    let holder = |id: &&str| RoleHolder::Spiffe(SpiffeIdPattern::parse(id).unwrap());
    TestAuthority::with(|policy| policy.roles.admins = ids.iter().map(holder).collect(), TestAuthority::keys())
}

fn revoke_as(
    authority: &Authority,
    caller: &Caller,
    request: RevokeRequest,
    last: LastAdmin,
) -> Result<RevokeOutcome, RevokeError> {
    let requester = authority.requester(caller, None, &ClientAssertion::default()).unwrap();
    ready(authority.revoke(caller, &requester, request, last)).unreferenced()
}

fn client(id: &str) -> RevokeRequest {
    RevokeRequest::Client(ClientId::parse(id).unwrap(), None)
}

fn peers(revoked: Option<Revoked>) -> RevokeRequest {
    RevokeRequest::Peers(revoked.unwrap(), None)
}

#[test]
fn what_would_leave_no_admin_is_refused_unless_it_is_meant() {
    for (admins, request, is_refused) in [
        (&[ADMIN][..], client(ADMIN), true),
        (&[ADMIN, OTHER], client(ADMIN), false),
        (&[ADMIN, OTHER], client("ops"), true),
        (&[ADMIN, STAGING], client("ops"), false),
        (&[ADMIN], peers(Revoked::identities("spiffe://prod.example/ns/ops/*")), true),
        (&[ADMIN], peers(Revoked::identities("spiffe://prod.example/ns/shop/*")), false),
        (&[ADMIN, OTHER], peers(Revoked::identities("spiffe://prod.example/ns/ops/*")), true),
        (&[ADMIN, STAGING], peers(Revoked::identities("spiffe://prod.example/*")), false),
        (&[ADMIN, OTHER], peers(Revoked::trust_domain("prod.example")), true),
        (&[ADMIN, OTHER], peers(Revoked::trust_domain("staging.example")), false),
        (&[ADMIN, STAGING], peers(Revoked::trust_domain("prod.example")), false),
        (&[ADMIN, STAGING], peers(Some(Revoked::Role(GrantedRole::Admin))), true),
        (&[ADMIN], peers(Some(Revoked::Role(GrantedRole::Proxy))), false),
    ] {
        let name = format!("{request:?} of {admins:?}");
        let fixture = with_admins(admins);
        let clients = named_spiffe_client("ops", "spiffe://prod.example/ns/ops/*");
        let admin = fixture.authority.as_caller(&fixture.svid(ADMIN));
        fixture.register(clients);
        let admin = Caller { view: fixture.authority.view(), ..admin };
        let outcome = revoke_as(&fixture.authority, &admin, request.clone(), LastAdmin::Stays);
        if is_refused {
            assert_eq!(outcome, Err(RevokeError::LastAdmin), "{name}");
            assert!(fixture.prove(&fixture.prod.svid(ADMIN).issue()).is_ok(), "{name}");
            revoke_as(&fixture.authority, &admin, request, LastAdmin::MayGo).unwrap();
            assert!(fixture.prove(&fixture.prod.svid(ADMIN).issue()).is_err(), "{name}");
        } else {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
    }
}

// An SVID is renewed: to revoke one takes no role away.
#[test]
fn an_admin_by_spiffe_id_may_revoke_its_certificate_and_one_by_certificate_may_not() {
    let fixture = with_admins(&[ADMIN]);
    let admin = fixture.svid(ADMIN);
    let own = |peer: &PeerIdentity| RevokeRequest::Certificate(peer.thumbprint(), None);
    revoke_as(&fixture.authority, &fixture.authority.as_caller(&admin), own(&admin), LastAdmin::Stays).unwrap();

    let leaf = crate::support::ca::self_signed("admin").issue();
    let holder = RoleHolder::Thumbprint(leaf.thumbprint());
    let fixture = TestAuthority::with(|policy| policy.roles.admins = vec![holder], TestAuthority::keys());
    let caller = fixture.authority.as_caller(&fixture.peer(&leaf));
    let outcome = revoke_as(&fixture.authority, &caller, own(&caller.identity), LastAdmin::Stays);
    assert_eq!(outcome, Err(RevokeError::LastAdmin));
    let other = own(&fixture.svid(OTHER));
    revoke_as(&fixture.authority, &caller, other, LastAdmin::Stays).unwrap();
}

#[test]
fn of_two_admins_that_revoke_each_other_at_once_one_is_left() {
    let fixture = with_admins(&[ADMIN, OTHER]);
    let [admin, other] = [ADMIN, OTHER].map(|id| fixture.authority.as_caller(&fixture.svid(id)));
    // Both were admitted before either was revoked.
    revoke_as(&fixture.authority, &admin, client(OTHER), LastAdmin::Stays).unwrap();
    let refused = revoke_as(&fixture.authority, &other, client(ADMIN), LastAdmin::Stays);
    assert_eq!(refused, Err(RevokeError::NotYours));
    assert!(fixture.prove(&fixture.prod.svid(ADMIN).issue()).is_ok());
}

#[test]
fn of_two_admins_one_is_left_whatever_name_the_other_revokes_it_by() {
    let by_path = || peers(Revoked::identities("spiffe://staging.example/*"));
    let by_registration = || client("pattern");
    for first in [by_path(), by_registration(), peers(Revoked::trust_domain("staging.example"))] {
        let fixture = with_admins(&[ADMIN, STAGING]);
        fixture.register(named_spiffe_client("pattern", "spiffe://staging.example/*"));
        let admin = fixture.authority.as_caller(&fixture.svid(ADMIN));
        let staging = fixture.authority.as_caller(&fixture.prove(&fixture.staging.svid(STAGING).issue()).unwrap());
        // Both were admitted before either was revoked.
        revoke_as(&fixture.authority, &admin, first.clone(), LastAdmin::Stays).unwrap();
        let refused = revoke_as(&fixture.authority, &staging, client(ADMIN), LastAdmin::Stays);
        assert_eq!(refused, Err(RevokeError::NotYours), "{first:?}");
        assert!(fixture.prove(&fixture.prod.svid(ADMIN).issue()).is_ok());
    }
}

#[test]
fn a_revocation_is_lifted_by_no_request_of_whom_it_revokes() {
    let fixture = with_admins(&[ADMIN, OTHER]);
    let [admin, other] = [ADMIN, OTHER].map(|id| fixture.authority.as_caller(&fixture.svid(id)));
    let lift = |caller: &Caller, request| {
        let requester = fixture.authority.requester(caller, None, &ClientAssertion::default()).unwrap();
        ready(fixture.authority.lift_revocation(caller, &requester, request)).unreferenced()
    };
    let elsewhere = "spiffe://prod.example/ns/shop/sa/thief";
    revoke_as(&fixture.authority, &admin, client(elsewhere), LastAdmin::Stays).unwrap();
    for own in [client(OTHER), peers(Revoked::identities("spiffe://prod.example/ns/ops/sa/*"))] {
        let revoked = revoke_as(&fixture.authority, &admin, own.clone(), LastAdmin::MayGo);
        revoked.unwrap();
        // Its request was admitted before.
        assert_eq!(lift(&other, own).unwrap().warnings, [RevokeWarning::NotRevoked]);
        assert!(fixture.prove(&fixture.prod.svid(OTHER).issue()).is_err());
    }
    assert_eq!(lift(&other, client(elsewhere)), Err(RevokeError::NotYours));
}

const REVOKER: &str = "spiffe://prod.example/soc/revoker";

fn with_revokers(admins: &[&str], revokers: &[&str]) -> TestAuthority {
    let holders = |ids: &[&str]| -> Vec<RoleHolder> {
        ids.iter().map(|id| RoleHolder::Spiffe(SpiffeIdPattern::parse(id).unwrap())).collect()
    };
    let roles = |policy: &mut Policy| {
        (policy.roles.admins, policy.roles.revokers) = (holders(admins), holders(revokers));
    };
    TestAuthority::with(roles, TestAuthority::keys())
}

#[test]
fn no_revoker_takes_the_last_admin_away_whatever_it_says() {
    for (admins, request, is_refused) in [
        (&[ADMIN][..], client(ADMIN), true),
        (&[ADMIN, OTHER], client(ADMIN), false),
        (&[ADMIN, OTHER], peers(Revoked::identities("spiffe://prod.example/ns/ops/*")), true),
        (&[ADMIN, STAGING], peers(Revoked::trust_domain("prod.example")), false),
        (&[ADMIN], peers(Revoked::trust_domain("staging.example")), false),
        (&[ADMIN, STAGING], peers(Some(Revoked::Role(GrantedRole::Admin))), true),
        (&[ADMIN], peers(Some(Revoked::Role(GrantedRole::Proxy))), false),
        (&[ADMIN], peers(Some(Revoked::Role(GrantedRole::Revoker))), false),
        (&[], client(REVOKER), false),
    ] {
        let fixture = with_revokers(admins, &[REVOKER]);
        let revoker = fixture.authority.as_caller(&fixture.svid(REVOKER));
        for last in [LastAdmin::Stays, LastAdmin::MayGo] {
            let outcome = revoke_as(&fixture.authority, &revoker, request.clone(), last);
            if is_refused {
                assert_eq!(outcome, Err(RevokeError::LastAdmin), "{request:?} of {admins:?}");
            } else {
                assert!(outcome.is_ok(), "{request:?} of {admins:?}: {outcome:?}");
                break;
            }
        }
    }
}

#[test]
fn of_two_revokers_that_revoke_two_admins_at_once_one_admin_is_left() {
    const SECOND: &str = "spiffe://prod.example/soc/second";
    let fixture = with_revokers(&[ADMIN, OTHER], &[REVOKER, SECOND]);
    let [first, second] = [REVOKER, SECOND].map(|id| fixture.authority.as_caller(&fixture.svid(id)));
    // Both were admitted before either revoked.
    revoke_as(&fixture.authority, &first, client(OTHER), LastAdmin::Stays).unwrap();
    let refused = revoke_as(&fixture.authority, &second, client(ADMIN), LastAdmin::Stays);
    assert_eq!(refused, Err(RevokeError::LastAdmin));
    assert!(fixture.prove(&fixture.prod.svid(ADMIN).issue()).is_ok());
    revoke_as(&fixture.authority, &second, client("spiffe://prod.example/ns/shop/sa/x"), LastAdmin::Stays).unwrap();
}

#[test]
fn of_two_revokers_one_leaves_an_admin_whatever_name_the_other_took_one_away_by() {
    const SECOND: &str = "spiffe://prod.example/soc/second";
    let by_path = || peers(Revoked::identities("spiffe://prod.example/ns/ops/sa/other/*"));
    let by_registration = || client("pattern");
    for first in [by_path(), by_registration()] {
        const BELOW: &str = "spiffe://prod.example/ns/ops/sa/other/deep";
        let fixture = with_revokers(&[ADMIN, BELOW], &[REVOKER, SECOND]);
        fixture.register(named_spiffe_client("pattern", "spiffe://prod.example/ns/ops/sa/other/*"));
        let [one, two] = [REVOKER, SECOND].map(|id| fixture.authority.as_caller(&fixture.svid(id)));
        revoke_as(&fixture.authority, &one, first.clone(), LastAdmin::Stays).unwrap();
        let refused = revoke_as(&fixture.authority, &two, client(ADMIN), LastAdmin::Stays);
        assert_eq!(refused, Err(RevokeError::LastAdmin), "{first:?}");
        assert!(fixture.prove(&fixture.prod.svid(ADMIN).issue()).is_ok());
    }
}

#[test]
fn a_revoked_revoker_revokes_no_more() {
    let fixture = with_revokers(&[ADMIN], &[REVOKER]);
    let [admin, revoker] = [ADMIN, REVOKER].map(|id| fixture.authority.as_caller(&fixture.svid(id)));
    let thief = || client("spiffe://prod.example/ns/shop/sa/thief");
    revoke_as(&fixture.authority, &admin, peers(Some(Revoked::Role(GrantedRole::Revoker))), LastAdmin::Stays).unwrap();
    // Its request was admitted before.
    assert_eq!(revoke_as(&fixture.authority, &revoker, thief(), LastAdmin::Stays), Err(RevokeError::NotYours));
    assert!(fixture.prove(&fixture.prod.svid(REVOKER).issue()).is_err());
    revoke_as(&fixture.authority, &admin, thief(), LastAdmin::Stays).unwrap();
}
