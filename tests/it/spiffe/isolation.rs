//! Trust domains that share nothing: what one of them signs, sends along or publishes identifies no workload of
//! another. The plain cases are among the tests of identities.

use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::validate_binding_request::Evidence;
use rcgen::GeneralSubtree;
use rcgen::KeyPair;
use rcgen::NameConstraints;
use rustls_pki_types::CertificateDer;
use spiffe::TrustDomain;
use tonic::Code;

use crate::support::NOW;
use crate::support::ca::TestCa;
use crate::support::calls::refusal;
use crate::support::calls::use_of;
use crate::support::check::hex;
use crate::support::check::url_encoded;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

/// Trust domains by their names, each with a root of its own, and a workload `victim` in each.
struct Domains {
    bundles: TrustBundles,
    cas: Vec<(String, TestCa)>,
    victims: Vec<Leaf>,
}

impl Domains {
    fn new(count: usize) -> Self {
        let cas: Vec<_> = (0..count).map(|number| format!("domain-{number}.example")).collect();
        Self::of(cas.into_iter().map(|name| (name.clone(), TestCa::new(&name))).collect())
    }

    fn of(cas: Vec<(String, TestCa)>) -> Self {
        let trust_domains = cas.iter().map(|(name, ca)| (TrustDomain::new(name).unwrap(), ca.anchors().into()));
        let bundles = TrustBundles { trust_domains: trust_domains.collect(), ..TrustBundles::default() };
        let victims = cas.iter().map(|(name, ca)| ca.svid(&victim(name)).issue()).collect();
        Self { bundles, cas, victims }
    }

    /// Each domain with each other one: attacker first.
    fn pairs(&self) -> impl Iterator<Item = (&(String, TestCa), &(String, TestCa))> {
        self.cas.iter().flat_map(|one| self.cas.iter().map(move |two| (one, two))).filter(|(one, two)| one.0 != two.0)
    }

    /// Everything that an attacker knows: all roots, and what the victims show.
    fn known(&self) -> Vec<CertificateDer<'static>> {
        let roots = self.cas.iter().map(|(_, ca)| ca.der().clone());
        roots.chain(self.victims.iter().flat_map(|leaf| leaf.chain.clone())).take(8).collect()
    }

    /// Refused whether the attacker sends its own intermediates along, none, everything that it knows, or everything the other
    /// way round; and as one that is registered as it is.
    fn assert_refused(&self, leaf: &Leaf, sent_along: &[CertificateDer<'static>], what: &str) {
        let first = leaf.certificate().clone();
        let (known, own) = (self.known(), &leaf.chain[1..]);
        let reversed: Vec<_> = known.iter().rev().cloned().collect();
        for after in [&[][..], own, sent_along, &known, &reversed] {
            let chain = [std::slice::from_ref(&first), after].concat();
            let refused = self.bundles.prove(&chain, NOW, |_| true);
            assert!(refused.is_err(), "{what}: {refused:?}");
        }
        let both = [std::slice::from_ref(&first), own, sent_along].concat();
        assert!(self.bundles.prove(&both, NOW, |_| true).is_err(), "{what}");
    }
}

fn victim(name: &str) -> String {
    format!("spiffe://{name}/victim")
}

// SPIFFE Federation sections 4.2 and 5.1; X509-SVID section 5.1
#[test]
fn no_trust_domain_vouches_for_another_with_anything_that_it_can_sign() {
    for count in [2, 5] {
        let domains = Domains::new(count);
        for ((attacker, ca), (name, other)) in domains.pairs() {
            let id = victim(name);
            let below = ca.intermediate("below");
            let deep = below.intermediate("deep");
            let named_as_the_other = ca.intermediate(name);
            let with_the_others_id = ca.intermediate_with_uri("below", &format!("spiffe://{name}"));
            for signer in [ca, &below, &deep, &named_as_the_other, &with_the_others_id] {
                domains.assert_refused(&signer.svid(&id).issue(), &[], attacker);
                domains.assert_refused(&signer.svid(&id).dns(name).common_name(name).issue(), &[], attacker);
                // Its own workloads are let in by the very same CAs, so that it is the name that is refused.
                let own = signer.svid(&victim(attacker)).issue();
                assert!(domains.bundles.prove(&own.chain, NOW, |_| false).is_ok(), "{attacker}");
            }
            // The other's key under the attacker's signature: what it got from the other's CA still names the other's own.
            let crossed = ca.cross_sign(name, other);
            domains.assert_refused(&ca.svid(&id).issue(), std::slice::from_ref(&crossed), "cross-signed");
            let genuine = [domains.victims[0].certificate().clone(), crossed];
            let proven = domains.bundles.prove(&genuine, NOW, |_| false).unwrap();
            assert_eq!(proven.to_string(), victim(&domains.cas[0].0));
        }
        for ((name, _), leaf) in domains.cas.iter().zip(&domains.victims) {
            assert_eq!(domains.bundles.prove(&leaf.chain, NOW, |_| false).unwrap().to_string(), victim(name));
        }
    }
}

// Who signs another's CA lets that one name its own workloads, never the other way round
#[test]
fn a_cross_signed_root_gives_away_only_the_names_of_the_one_who_signed_it() {
    let domains = Domains::new(2);
    let [(a_name, a), (b_name, b)] = &domains.cas[..] else { panic!("two") };
    let b_by_a = a.cross_sign(b_name, b);
    let b_names_a = [b.svid(&victim(a_name)).issue().chain, vec![b_by_a.clone()]].concat();
    assert!(domains.bundles.prove(&b_names_a, NOW, |_| false).is_ok());
    let a_names_b = [a.svid(&victim(b_name)).issue().chain, vec![b_by_a]].concat();
    assert_eq!(domains.bundles.prove(&a_names_b, NOW, |_| false).unwrap_err(), Unproven::NoPath);
}

#[test]
fn the_same_key_in_two_trust_domains_opens_neither_to_the_other() {
    let key = KeyPair::generate().unwrap().serialize_der();
    let ca = |name: &str| TestCa::with_key(name, NOW, KeyPair::try_from(key.as_slice()).unwrap());
    let cas = ["one.example", "two.example"].map(|name| (name.to_owned(), ca(name)));
    let domains = Domains::of(cas.into());
    for ((_, ca), (name, _)) in domains.pairs() {
        domains.assert_refused(&ca.svid(&victim(name)).issue(), &[], name);
        // A leaf with the victim's own key, too.
        let stolen_key = domains.victims.iter().map(|leaf| ca.svid(&victim(name)).key(&leaf.key).issue());
        stolen_key.for_each(|leaf| domains.assert_refused(&leaf, &[], name));
    }
}

// X509-SVID sections 3.2, 4.1 and 4.3
#[test]
fn a_ca_certificate_with_a_spiffe_id_is_nobody_whoever_signed_it() {
    let domains = Domains::new(2);
    for ((attacker, ca), (name, other)) in domains.pairs() {
        for signer in [ca, other] {
            for id in [format!("spiffe://{name}"), victim(name), format!("spiffe://{attacker}"), victim(attacker)] {
                let plain = signer.svid(&id).ca_leaf().issue();
                domains.assert_refused(&plain, &[], &id);
                let signing = signer.svid(&id).ca_leaf().with_key_cert_sign().issue();
                domains.assert_refused(&signing, &[], &id);
                let intermediate = signer.intermediate_with_uri("below", &id);
                let leaf = Leaf { chain: vec![intermediate.der().clone()], key: Vec::new(), spki: Vec::new() };
                domains.assert_refused(&leaf, &[], &id);
            }
        }
    }
}

#[test]
fn no_name_constraint_makes_a_ca_of_one_trust_domain_one_of_another() {
    let domains = Domains::new(2);
    for ((_, ca), (name, _)) in domains.pairs() {
        for subtrees in [vec![GeneralSubtree::DnsName(name.clone())], vec![GeneralSubtree::Rfc822Name(name.clone())]] {
            let constraints = NameConstraints { permitted_subtrees: subtrees, excluded_subtrees: Vec::new() };
            let below = ca.constrained_intermediate("below", constraints);
            domains.assert_refused(&below.svid(&victim(name)).issue(), &[], name);
            domains.assert_refused(&below.svid(&victim(name)).dns(name).issue(), &[], name);
        }
    }
}

// SPIFFE Federation section 4.2; draft-ietf-oauth-spiffe-client-auth section 6.2.3: over the wire, in both directions
#[tokio::test]
async fn a_handshake_with_a_name_of_another_trust_domain_fails_whatever_is_sent_along() {
    let server = TestServer::start().await;
    let (prod, other) = (&server.setup.ca, &server.setup.other_ca);
    for (ca, own, foreign) in [
        (prod, "spiffe://prod.example/shop", "spiffe://other.example/shop"),
        (other, "spiffe://other.example/shop", "spiffe://prod.example/shop"),
    ] {
        assert!(knock(server.addresses.mtls, server.tls(&ca.svid(own).issue())).await.is_jwks());
        let leaf = ca.intermediate("below").svid(foreign).issue();
        let everything = [leaf.chain.clone(), vec![prod.der().clone(), other.der().clone()]].concat();
        for chain in [leaf.chain.clone(), everything] {
            let outcome = knock(server.addresses.mtls, server.tls_with(chain, &leaf)).await;
            assert!(!outcome.is_jwks(), "{foreign}: {outcome:?}");
        }
    }
    // Client CAs name no workloads either.
    for ca in [&server.setup.corp, &server.setup.partner] {
        let leaf = ca.svid("spiffe://prod.example/shop").issue();
        assert!(!knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
    }
}

// What a proxy brings is held to the same thumbprint whatever it says of names
#[tokio::test]
async fn evidence_by_another_trust_domain_with_the_same_name_is_denied_in_each_form() {
    let server = TestServer::start().await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let id = "spiffe://prod.example/checkout";
    // The same name and even the same key, by another trust domain.
    let forged = server.setup.other_ca.svid(id).key(&checkout.key).issue();
    let foreign_proxy = server.setup.other_ca.svid("spiffe://other.example/proxy").issue();
    let forwarded = |text: String| Some(Evidence::ForwardedClientCert(text));
    let forms = |by: &str, leaf: &Leaf| {
        vec![
            certificate_of(leaf),
            Some(Evidence::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec())),
            forwarded(format!("By={by};Hash={};Subject=\"\";URI={id}", hex(leaf))),
            forwarded(format!("By={by};Cert=\"{}\";URI={id}", url_encoded(leaf))),
        ]
    };
    for (by, proxy) in
        [("spiffe://prod.example/proxy", server.svid("/proxy")), ("spiffe://other.example/proxy", foreign_proxy)]
    {
        // A name that the proxy reports beside a hash selects the reason, and allows nothing.
        let mismatch = DenyReason::CertificateMismatch;
        let reasons = [mismatch, mismatch, DenyReason::CertificateRenewed, mismatch];
        for ((own, others), reason) in forms(by, &checkout).into_iter().zip(forms(by, &forged)).zip(reasons) {
            let asked = |evidence| ValidateBindingRequest { evidence, ..use_of(&token) };
            let allowed = server.ask(&proxy, asked(own.clone())).await.unwrap();
            assert_eq!(allowed.decision(), Decision::Allow, "{own:?}");
            let denied = server.ask(&proxy, asked(others.clone())).await.unwrap();
            assert_eq!((denied.decision(), denied.reason()), (Decision::Deny, reason));
        }
    }
    // A proxy of the other trust domain that bears the name of ours does not get as far as to bring any.
    let impostor = server.setup.other_ca.svid("spiffe://prod.example/proxy").issue();
    assert!(!knock(server.addresses.mtls, server.tls(&impostor)).await.is_jwks());
}

// What a resource or a registration says of trust domains
#[tokio::test]
async fn a_workload_is_known_by_its_own_trust_domain_in_registrations_and_resources() {
    let server = TestServer::start().await;
    let shop = |trust_domain: &str| spiffe_client(&format!("spiffe://{trust_domain}/shop"));
    server.register(shop("prod.example")).await.unwrap();
    let prod = server.svid("/shop");
    let other = server.setup.other_ca.svid("spiffe://other.example/shop").issue();
    // The same path in another trust domain is not registered by that.
    let request = lanyard::proto::IssueTokenRequest::default();
    let refused = refusal(server.tokens(&other).issue_token(request).await);
    assert_eq!(refused.0, Code::Unauthenticated);
    server.register(shop("other.example")).await.unwrap();
    let tokens = [(server.token(&prod).await, prod), (server.token(&other).await, other)];

    let resource = ProtectedResource {
        audience: ORDERS.to_owned(),
        trust_domains: vec!["prod.example".to_owned()],
        ..ProtectedResource::default()
    };
    server.protect(resource).await.unwrap();
    let mut reasons = Vec::new();
    for (token, leaf) in &tokens {
        let question = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) };
        reasons.push(server.ask(&server.svid("/proxy"), question).await.unwrap().reason());
    }
    assert_eq!(reasons, [DenyReason::Unspecified, DenyReason::TrustDomainNotAccepted]);
}
