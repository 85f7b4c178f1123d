//! The caller, evaluated anew on every request.

use lanyard::authority::identity::CertificateThumbprint;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use spiffe::TrustDomain;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::leaf::Leaf;

// An open connection is looked at again
#[test]
fn an_open_connection_is_verified_again_when_bundles_or_its_registration_change() {
    let fixture = TestAuthority::new();
    let svid = fixture.authority.admit(fixture.prod.svid(CHECKOUT).issue().chain).unwrap();
    let own = self_signed("batch").issue();
    fixture.register(self_signed_client("batch", &own.pem()));
    let registered = fixture.authority.admit(own.chain).unwrap();
    assert!(fixture.authority.caller_now(&registered).is_ok());
    fixture.delete("batch");
    assert_eq!(fixture.authority.caller_now(&registered).unwrap_err(), Unproven::Unknown);
    let trust = |root: &TestCa| TrustBundles {
        trust_domains: [(TrustDomain::new("prod.example").unwrap(), root.anchors().into())].into(),
        ..TrustBundles::default()
    };
    assert!(fixture.authority.caller_now(&svid).is_ok());
    fixture.authority.replace_trust(trust(&TestCa::new("prod.example")));
    assert_eq!(fixture.authority.caller_now(&svid).unwrap_err(), Unproven::NoPath);
    fixture.authority.replace_trust(trust(&fixture.prod));
    assert!(fixture.authority.caller_now(&svid).is_ok());
}

#[test]
fn a_caller_enters_by_its_roles_and_by_the_exact_name_of_a_method() {
    use lanyard::authority::access::CalledMethod;
    use lanyard::authority::access::NotAdmitted;
    const ISSUE: &str = "/lanyard.v1.TokenService/IssueToken";
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let authorize = |leaf: Leaf, method: &str| {
        let connection = fixture.authority.admit(leaf.chain).unwrap();
        fixture
            .authority
            .authorize_now(&connection, CalledMethod::find(method, true))
            .map(|caller| caller.identity.thumbprint())
    };
    let workload = fixture.prod.svid(CHECKOUT).issue();
    assert_eq!(authorize(workload.clone(), ISSUE), Ok(CertificateThumbprint::of(workload.certificate())));
    let create = authorize(workload.clone(), "/lanyard.v1.RegistryService/CreateClient");
    assert_eq!(create, Err(NotAdmitted::WrongRole));
    let stranger = fixture.partner.client_certificate().dns("stranger").issue();
    assert_eq!(authorize(stranger, ISSUE), Err(NotAdmitted::WrongRole));
    for near in ["", "lanyard.v1.TokenService/IssueToken", "//lanyard.v1.TokenService/IssueToken", &format!("{ISSUE}/")]
    {
        assert_eq!(authorize(workload.clone(), near), Err(NotAdmitted::NoSuchMethod), "{near}");
    }
}
