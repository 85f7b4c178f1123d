//! The decision itself: each reason to deny, the order of them, and the bounds of an allowance.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::BindingRequest;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::Match;
use lanyard::authority::decision::decide;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::evidence::EvidenceGrade;
use lanyard::authority::keys::KeyId;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientStatus;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::registration::Rotation;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::Demands;
use lanyard::authority::resources::ProtectedResource;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::scope::Scope;
use lanyard::authority::state::BrokenAncestor;
use lanyard::authority::state::LineagePolicy;
use lanyard::authority::state::LineageRecord;
use lanyard::authority::state::Lineages;
use lanyard::authority::store::Revision;
use lanyard::authority::tokens::AccessTokenClaims;
use lanyard::authority::tokens::Actors;
use lanyard::authority::tokens::Ancestor;
use lanyard::authority::tokens::Ancestry;
use lanyard::authority::tokens::Compared;
use lanyard::authority::tokens::ParsedAncestor;
use lanyard::authority::tokens::VerifiedToken;
use serde_json::Value;
use serde_json::json;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ISSUER;
use crate::support::authority::ORDERS;
use crate::support::leaf::Leaf;
use crate::support::leaf::VALID_FOR;
use crate::support::mint::Mint;
use crate::support::mint::part;

/// One question, in which everything is right until it is changed.
struct Question {
    mint: Mint,
    key_id: KeyId,
    claims: AccessTokenClaims,
    evidence: Option<Evidence>,
    client: ClientStatus,
    refused: Option<DenyReason>,
    revoked: Option<DenyReason>,
    broken: Option<ParsedAncestor>,
    vouched: bool,
    same_identity: bool,
    lineages: Lineages,
    demands: Demands<'static>,
    now: Timestamp,
    verdict_ttl: Duration,
}

impl Question {
    fn new() -> Self {
        let mint = Mint::new();
        let key_id = mint.fixture.authority.keys().active().unwrap().key_id().clone();
        let claims = serde_json::from_value(Value::Object(part(&mint.token, 1))).unwrap();
        let client = ClientStatus::Registered(mint.fixture.authority.client(CHECKOUT).unwrap());
        let scope = Scope::parse("orders.read").unwrap();
        let demands = Demands::of(ORDERS, None, scope);
        let evidence = Some(certificate(&mint.leaf));
        let (refused, revoked) = (None, None);
        let (vouched, lineages, verdict_ttl) = (false, Lineages::default(), Duration::from_secs(5));
        Self {
            mint,
            key_id,
            claims,
            evidence,
            client,
            refused,
            revoked,
            broken: None,
            vouched,
            same_identity: false,
            lineages,
            demands,
            now: NOW,
            verdict_ttl,
        }
    }

    fn decide(&self) -> Decision {
        let token = VerifiedToken::new(self.key_id.clone(), self.claims.clone());
        let permitted = match &self.client {
            ClientStatus::Registered(client) => {
                let compared = Compared { client, limit: None, trust_generation: 0 };
                Some(token.permitted(compared, || (false, None)))
            }
            ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
        };
        decide(&BindingRequest {
            token: &token,
            issuer: ISSUER,
            evidence: self.evidence.as_ref(),
            principal: None,
            client: &self.client,
            permitted: permitted.as_deref(),
            refused: self.refused,
            revoked: self.revoked,
            broken: self.broken.as_ref().map(|ancestor| BrokenAncestor { ancestor, why: DenyReason::TokenRevoked }),
            vouched: self.vouched,
            same_identity: self.same_identity,
            lineages: &self.lineages,
            lineage: LineagePolicy::default(),
            demands: &self.demands,
            now: self.now,
            verdict_ttl: self.verdict_ttl,
        })
    }

    fn reason(&self) -> Option<DenyReason> {
        match self.decide() {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    }

    /// As if the client were registered with another rotation.
    fn rotate(&mut self, rotation: Rotation) {
        let ClientStatus::Registered(client) = &self.client else { return };
        let mut client = RegisteredClient::clone(client);
        Arc::make_mut(&mut client.registration.terms).rotation = rotation;
        self.client = ClientStatus::Registered(Arc::new(client));
    }

    /// As if the holder acted for somebody else, where the resource takes that of this actor.
    fn delegate(&mut self, accepted: &str) {
        let holder = ClientId::parse(&self.claims.client_id).unwrap();
        self.claims.act = Some(Actors::then(None, &holder));
        let x5t = self.mint.leaf.thumbprint().to_string();
        let [jti, client_id, creation] = ["jti", "spiffe://prod.example/frontend", "creation"].map(ToOwned::to_owned);
        client_id.clone_into(&mut self.claims.sub);
        self.claims.lanyard_from = Ancestry(vec![Ancestor { jti, iat: NOW, client_id, creation, x5t, iss: None }]);
        let delegated = DelegatedMetadata { actors: vec![accepted.to_owned()], max_actors: None, mode: None };
        let metadata =
            ResourceMetadata { audience: ORDERS.to_owned(), delegated: Some(delegated), ..ResourceMetadata::default() };
        self.demands.delegated = ProtectedResource::parse(metadata).unwrap().delegated;
    }

    fn spiffe_id(&mut self, least: EvidenceGrade) {
        self.evidence = Some(Evidence::from_spiffe_id(CHECKOUT).unwrap());
        self.demands.least_evidence = least;
    }
}

fn certificate(leaf: &Leaf) -> Evidence {
    Evidence::from_der(leaf.certificate()).unwrap()
}

/// What makes one thing wrong, and the reason to deny that follows, in the order in which it is looked at.
type Fault = (DenyReason, fn(&mut Question));

const FAULTS: [Fault; 32] = [
    (DenyReason::WrongIssuer, |question| question.claims.iss.push('/')),
    (DenyReason::TokenExpired, |question| question.claims.exp = question.now),
    (DenyReason::TokenNotYetValid, |question| question.claims.nbf = Timestamp(question.now.0 + 6)),
    (DenyReason::ClientUnknown, |question| question.client = ClientStatus::Unknown),
    (DenyReason::ClientDisabled, |question| question.client = ClientStatus::Disabled),
    (DenyReason::ClientSuspended, |question| question.client = ClientStatus::Suspended),
    (DenyReason::ClientRecreated, |question| question.claims.lanyard_creation.push('x')),
    (DenyReason::AuthenticationChanged, |question| question.refused = Some(DenyReason::AuthenticationChanged)),
    (DenyReason::ClientCaRemoved, |question| question.refused = Some(DenyReason::ClientCaRemoved)),
    (DenyReason::TrustDomainUntrusted, |question| question.refused = Some(DenyReason::TrustDomainUntrusted)),
    (DenyReason::IssuerUntrusted, |question| question.refused = Some(DenyReason::IssuerUntrusted)),
    (DenyReason::TokenRevoked, |question| question.revoked = Some(DenyReason::TokenRevoked)),
    (DenyReason::ClientRevoked, |question| question.revoked = Some(DenyReason::ClientRevoked)),
    (DenyReason::IdentityRevoked, |question| question.revoked = Some(DenyReason::IdentityRevoked)),
    (DenyReason::CertificateRevoked, |question| question.revoked = Some(DenyReason::CertificateRevoked)),
    (DenyReason::DelegationBroken, |question| {
        question.delegate(CHECKOUT);
        let token = VerifiedToken::new(question.key_id.clone(), question.claims.clone());
        question.broken = token.ancestors.unwrap().first().cloned();
    }),
    (DenyReason::WrongAudience, |question| question.demands.audience = "https://orders.shop.internal/"),
    (DenyReason::ResourceDeleted, |question| question.demands.deleted = true),
    (DenyReason::ResourceSuspended, |question| question.demands.suspended = true),
    (DenyReason::DelegationNotAccepted, |question| {
        question.delegate(CHECKOUT);
        question.demands.delegated = None;
    }),
    (DenyReason::ActorNotAccepted, |question| question.delegate("spiffe://prod.example/another")),
    (DenyReason::TrustDomainNotAccepted, |question| {
        question.demands.trust_domains = [TrustDomain::new("other.example").unwrap()].into();
    }),
    (DenyReason::NotBound, |question| question.claims.cnf = None),
    (DenyReason::EvidenceMissing, |question| question.evidence = None),
    (DenyReason::EvidenceTooWeak, |question| question.spiffe_id(EvidenceGrade::Thumbprint)),
    (DenyReason::CertificateExpired, |question| {
        let expired = question.mint.fixture.prod.svid(CHECKOUT).key(&question.mint.leaf.key).expired().issue();
        question.evidence = Some(certificate(&expired));
    }),
    (DenyReason::CertificateNotYetValid, |question| {
        let early = question.mint.fixture.prod.svid(CHECKOUT).key(&question.mint.leaf.key).not_yet_valid().issue();
        question.evidence = Some(certificate(&early));
    }),
    (DenyReason::CertificateRenewed, |question| {
        let same_name = question.mint.fixture.prod.svid(CHECKOUT).issue();
        question.evidence = Some(certificate(&same_name));
        question.same_identity = true;
    }),
    (DenyReason::CertificateMismatch, |question| {
        let other = question.mint.fixture.prod.svid("spiffe://prod.example/thief").issue();
        question.evidence = Some(certificate(&other));
        question.same_identity = false;
    }),
    (DenyReason::LineageOver, |question| {
        question.rotate(Rotation::Lineage);
        let successor = question.mint.fixture.prod.svid(CHECKOUT).issue();
        let bound = question.mint.leaf.thumbprint();
        let record = LineageRecord::new(successor.thumbprint(), CHECKOUT, Timestamp(0), Timestamp(0));
        question.lineages.insert(bound, record, Revision(1));
        question.evidence = Some(certificate(&successor));
    }),
    (DenyReason::RotationStrict, |question| question.spiffe_id(EvidenceGrade::SpiffeId)),
    (DenyReason::InsufficientScope, |question| {
        question.demands.scope = Scope::parse("orders.read orders.admin").unwrap();
    }),
];

#[test]
fn when_everything_is_right_the_use_is_allowed() {
    let Decision::Allow(verdict) = Question::new().decide() else { panic!("denied") };
    assert_eq!((verdict.matched, verdict.grade), (Match::Exact, EvidenceGrade::Certificate));
}

// Scope comes last: INSUFFICIENT_SCOPE says that everything else was right
#[test]
fn of_two_things_that_are_wrong_the_earlier_is_the_reason() {
    for (at, (first, make_first)) in FAULTS.iter().enumerate() {
        let mut question = Question::new();
        make_first(&mut question);
        assert_eq!(question.reason(), Some(*first));
        for (second, make_second) in &FAULTS[at + 1..] {
            let mut question = Question::new();
            make_second(&mut question);
            make_first(&mut question);
            assert_eq!(question.reason(), Some(*first), "beside {second:?}");
        }
    }
}

// RFC 9068 section 4: the form, the type, the key and the signature come before everything that the token says
#[test]
fn what_is_wrong_with_the_token_itself_comes_before_what_it_says() {
    let mint = Mint::new();
    let other_signature = |token: &str| {
        let (message, _) = token.rsplit_once('.').unwrap();
        format!("{message}.{}", "A".repeat(86))
    };
    let expired = mint.with_claim("exp", "0");
    mint.denied(&expired, DenyReason::TokenExpired);
    mint.denied(&other_signature(&expired), DenyReason::BadSignature);
    let unknown_key = mint.with_header("kid", Some(json!("unknown")));
    mint.denied(&other_signature(&unknown_key), DenyReason::UnknownKey);
    let mut header = mint.header();
    header.insert("typ".to_owned(), json!("JWT"));
    header.insert("kid".to_owned(), json!("unknown"));
    let payload = Value::Object(mint.claims()).to_string();
    mint.denied(&mint.sign(&Value::Object(header.clone()).to_string(), &payload), DenyReason::TokenType);
    header.insert("crit".to_owned(), json!(["exp"]));
    mint.denied(&mint.sign(&Value::Object(header).to_string(), &payload), DenyReason::TokenMalformed);
}

#[test]
fn each_reason_has_a_case_a_code_of_its_own_and_a_place_in_the_order() {
    use DenyReason as Why;
    let before = [Why::TokenMalformed, Why::TokenType, Why::UnknownKey, Why::BadSignature];
    let all: Vec<Why> = before.into_iter().chain(FAULTS.iter().map(|(reason, _)| *reason)).collect();
    for (at, reason) in all.iter().enumerate() {
        // A new reason does not compile here until it has a case above.
        let place = match reason {
            Why::TokenMalformed => 0,
            Why::TokenType => 1,
            Why::UnknownKey => 2,
            Why::BadSignature => 3,
            Why::WrongIssuer => 4,
            Why::TokenExpired => 5,
            Why::TokenNotYetValid => 6,
            Why::ClientUnknown => 7,
            Why::ClientDisabled => 8,
            Why::ClientSuspended => 9,
            Why::ClientRecreated => 10,
            Why::AuthenticationChanged => 11,
            Why::ClientCaRemoved => 12,
            Why::TrustDomainUntrusted => 13,
            Why::IssuerUntrusted => 14,
            Why::TokenRevoked => 15,
            Why::ClientRevoked => 16,
            Why::IdentityRevoked => 17,
            Why::CertificateRevoked => 18,
            Why::DelegationBroken => 19,
            Why::WrongAudience => 20,
            Why::ResourceDeleted => 21,
            Why::ResourceSuspended => 22,
            Why::DelegationNotAccepted => 23,
            Why::ActorNotAccepted => 24,
            Why::TrustDomainNotAccepted => 25,
            Why::NotBound => 26,
            Why::EvidenceMissing => 27,
            Why::EvidenceTooWeak => 28,
            Why::CertificateExpired => 29,
            Why::CertificateNotYetValid => 30,
            Why::CertificateRenewed => 31,
            Why::CertificateMismatch => 32,
            Why::LineageOver => 33,
            Why::RotationStrict => 34,
            Why::InsufficientScope => 35,
        };
        assert_eq!(at, place, "{reason:?}");
        let name: String = format!("{reason:?}").to_lowercase();
        assert_eq!(reason.code().replace('_', "").to_lowercase(), name);
    }
    assert_eq!(all.iter().map(|reason| reason.code()).collect::<HashSet<_>>().len(), 36);
}

// RFC 9068 section 4: no leeway for exp, five seconds for nbf
#[test]
fn time_is_looked_at_to_the_second_and_up_to_its_end() {
    let mut question = Question::new();
    let exp = question.claims.exp;
    for (nbf, exp, now, reason) in [
        (NOW.0, exp.0, exp.0 - 1, None),
        (NOW.0, exp.0, exp.0, Some(DenyReason::TokenExpired)),
        (NOW.0 + 5, exp.0, NOW.0, None),
        (NOW.0 + 6, exp.0, NOW.0, Some(DenyReason::TokenNotYetValid)),
        (0, u64::MAX, NOW.0, None),
        (u64::MAX, u64::MAX, NOW.0, Some(DenyReason::TokenNotYetValid)),
        (u64::MAX, u64::MAX, u64::MAX, Some(DenyReason::TokenExpired)),
        (0, 0, 0, Some(DenyReason::TokenExpired)),
    ] {
        (question.claims.nbf, question.claims.exp, question.now) = (Timestamp(nbf), Timestamp(exp), Timestamp(now));
        assert_eq!(question.reason(), reason, "{nbf} {exp} {now}");
    }
}

// RFC 8705 section 6.2
#[test]
fn a_certificate_counts_as_evidence_within_its_validity_only() {
    let mut question = Question::new();
    (question.claims.iat, question.claims.nbf) = (Timestamp(0), Timestamp(0));
    question.claims.exp = Timestamp(u64::MAX);
    let (first, last) = (Timestamp(NOW.0 - 60), NOW.after(VALID_FOR));
    for (now, reason) in [
        (first.0 - 1, Some(DenyReason::CertificateNotYetValid)),
        (first.0, None),
        (last.0, None),
        (last.0 + 1, Some(DenyReason::CertificateExpired)),
    ] {
        question.now = Timestamp(now);
        assert_eq!(question.reason(), reason, "{now}");
    }
    // Of a thumbprint alone nothing else is known.
    question.evidence = Some(Evidence::Thumbprint(question.mint.leaf.thumbprint()));
    assert_eq!(question.reason(), None);
}

#[test]
fn evidence_is_held_against_the_least_that_the_resource_accepts() {
    use EvidenceGrade as Grade;
    let mut question = Question::new();
    let evidence = |question: &Question, grade| match grade {
        Grade::Certificate => certificate(&question.mint.leaf),
        Grade::Thumbprint => Evidence::from_thumbprint(question.mint.leaf.thumbprint().as_bytes()).unwrap(),
        Grade::SpiffeId => Evidence::from_spiffe_id(CHECKOUT).unwrap(),
    };
    for (grade, least, reason) in [
        (Grade::Certificate, Grade::Certificate, None),
        (Grade::Certificate, Grade::Thumbprint, None),
        (Grade::Certificate, Grade::SpiffeId, None),
        (Grade::Thumbprint, Grade::Certificate, Some(DenyReason::EvidenceTooWeak)),
        (Grade::Thumbprint, Grade::Thumbprint, None),
        (Grade::Thumbprint, Grade::SpiffeId, None),
        (Grade::SpiffeId, Grade::Certificate, Some(DenyReason::EvidenceTooWeak)),
        (Grade::SpiffeId, Grade::Thumbprint, Some(DenyReason::EvidenceTooWeak)),
        (Grade::SpiffeId, Grade::SpiffeId, Some(DenyReason::RotationStrict)),
    ] {
        question.evidence = Some(evidence(&question, grade));
        question.demands.least_evidence = least;
        assert_eq!(question.reason(), reason, "{grade:?} where {least:?} is the least");
        if let Decision::Allow(verdict) = question.decide() {
            assert_eq!(verdict.grade, grade);
        }
    }
}

#[test]
fn a_resource_that_names_trust_domains_accepts_the_workloads_of_these_only() {
    let mut question = Question::new();
    let names = |names: &[&str]| names.iter().map(|name| TrustDomain::new(name).unwrap()).collect();
    for (accepted, holder, accepts) in [
        (&["prod.example"][..], CHECKOUT, true),
        (&["other.example", "prod.example"], CHECKOUT, true),
        (&["other.example"], CHECKOUT, false),
        (&["prod.example"], "spiffe://prod.example.evil/checkout", false),
        (&["prod.example"], "spiffe://xprod.example/checkout", false),
        // A client without a SPIFFE ID is of no trust domain.
        (&["prod.example"], "billing", false),
        (&[], "billing", true),
    ] {
        question.demands.trust_domains = names(accepted);
        holder.clone_into(&mut question.claims.client_id);
        let reason = (!accepts).then_some(DenyReason::TrustDomainNotAccepted);
        assert_eq!(question.reason(), reason, "{holder} where {accepted:?} is accepted");
    }
}

#[test]
fn a_delegated_use_is_allowed_where_holder_and_subject_are_of_accepted_trust_domains() {
    let mut question = Question::new();
    question.delegate(CHECKOUT);
    let names = |names: &[&str]| names.iter().map(|name| TrustDomain::new(name).unwrap()).collect();
    for (accepted, subject, reason) in [
        (&[][..], "spiffe://prod.example/frontend", None),
        (&[], "billing", None),
        (&["prod.example"], "spiffe://prod.example/frontend", None),
        (&["prod.example"], "spiffe://other.example/frontend", Some(DenyReason::TrustDomainNotAccepted)),
        (&["prod.example"], "billing", Some(DenyReason::TrustDomainNotAccepted)),
        (&["other.example"], "spiffe://other.example/frontend", Some(DenyReason::TrustDomainNotAccepted)),
        (&["other.example", "prod.example"], "spiffe://other.example/frontend", None),
    ] {
        question.demands.trust_domains = names(accepted);
        subject.clone_into(&mut question.claims.sub);
        assert_eq!(question.reason(), reason, "{subject} where {accepted:?}");
    }
}

#[test]
fn claims_of_a_delegation_that_contradict_each_other_deny() {
    let mut question = Question::new();
    question.delegate(CHECKOUT);
    assert_eq!(question.reason(), None);
    question.claims.lanyard_from = Ancestry::default();
    assert_eq!(question.reason(), Some(DenyReason::TokenMalformed));
    question.delegate(CHECKOUT);
    question.claims.act = None;
    assert_eq!(question.reason(), Some(DenyReason::TokenMalformed));
}

#[test]
fn a_verdict_may_be_kept_until_the_first_of_its_bounds() {
    let cache_until = |question: &Question| match question.decide() {
        Decision::Allow(verdict) => verdict.cache_until,
        Decision::Deny(reason) => panic!("{reason}"),
    };
    let mut question = Question::new();
    assert_eq!(cache_until(&question), Timestamp(NOW.0 + 5));
    question.claims.exp = Timestamp(NOW.0 + 3);
    assert_eq!(cache_until(&question), Timestamp(NOW.0 + 3));
    question.claims.exp = Timestamp(u64::MAX);
    question.verdict_ttl = Duration::MAX;
    assert_eq!(cache_until(&question), NOW.after(VALID_FOR));
    question.evidence = Some(Evidence::Thumbprint(question.mint.leaf.thumbprint()));
    assert_eq!(cache_until(&question), Timestamp(u64::MAX));
    question.verdict_ttl = Duration::ZERO;
    assert_eq!(cache_until(&question), NOW);
}

// The server cannot determine which of several registrations is meant
#[test]
fn an_ambiguous_client_is_an_unknown_one() {
    let mut question = Question::new();
    question.client = ClientStatus::Ambiguous;
    assert_eq!(question.reason(), Some(DenyReason::ClientUnknown));
}

#[test]
fn a_use_that_needs_no_scope_is_allowed_to_a_token_without_one_and_no_other_is() {
    let mut question = Question::new();
    question.claims.scope = None;
    assert_eq!(question.reason(), Some(DenyReason::InsufficientScope));
    question.demands.scope = Scope::default();
    assert_eq!(question.reason(), None);
    question.claims.scope = Some("orders.read".to_owned());
    for scope in ["Orders.read", "orders", "orders.read.all"] {
        question.demands.scope = Scope::parse(scope).unwrap();
        assert_eq!(question.reason(), Some(DenyReason::InsufficientScope), "{scope}");
    }
}
