//! The one who calls, looked at anew on every request.

use lanyard::authority::identity::CertificateThumbprint;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use spiffe::TrustDomain;

use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::leaf::Leaf;
use crate::support::world::CHECKOUT;
use crate::support::world::World;
use crate::support::world::self_signed_client;
use crate::support::world::spiffe_client;

// T5: an open connection is looked at again
#[test]
fn an_open_connection_is_proven_again_when_bundles_change_and_when_its_registration_goes() {
    let world = World::new();
    let svid = world.authority.admit(world.prod.svid(CHECKOUT).issue().chain).unwrap();
    let own = self_signed("batch").issue();
    world.register(self_signed_client("batch", &own.pem()));
    let registered = world.authority.admit(own.chain).unwrap();
    assert!(world.authority.caller(&registered).is_ok());
    world.delete("batch");
    assert_eq!(world.authority.caller(&registered).unwrap_err(), Unproven::Unknown);
    let trust = |root: &TestCa| TrustBundles {
        trust_domains: [(TrustDomain::new("prod.example").unwrap(), root.anchors().into())].into(),
        ..TrustBundles::default()
    };
    assert!(world.authority.caller(&svid).is_ok());
    world.authority.replace_trust(trust(&TestCa::new("prod.example")));
    assert_eq!(world.authority.caller(&svid).unwrap_err(), Unproven::NoPath);
    world.authority.replace_trust(trust(&world.prod));
    assert!(world.authority.caller(&svid).is_ok());
}

#[test]
fn a_caller_enters_by_its_roles_and_by_the_exact_name_of_a_method() {
    use lanyard::authority::access::NotAdmitted;
    const ISSUE: &str = "/lanyard.v1.TokenService/IssueToken";
    let world = World::new();
    world.register(spiffe_client(CHECKOUT));
    let enter = |leaf: Leaf, method: &str| {
        let connection = world.authority.admit(leaf.chain).unwrap();
        world.authority.enter(Some(&connection), method).map(|caller| caller.unwrap().identity.thumbprint())
    };
    let workload = world.prod.svid(CHECKOUT).issue();
    assert_eq!(enter(workload.clone(), ISSUE), Ok(CertificateThumbprint::of(workload.certificate())));
    let create = enter(workload.clone(), "/lanyard.v1.RegistryService/CreateClient");
    assert_eq!(create, Err(NotAdmitted::WrongRole));
    let stranger = world.partner.client_certificate().dns("stranger").issue();
    assert_eq!(enter(stranger, ISSUE), Err(NotAdmitted::WrongRole));
    for near in ["", "lanyard.v1.TokenService/IssueToken", "//lanyard.v1.TokenService/IssueToken", &format!("{ISSUE}/")]
    {
        assert_eq!(enter(workload.clone(), near), Err(NotAdmitted::NoSuchMethod), "{near}");
    }
}
