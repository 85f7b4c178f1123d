//! Compact JWS: access tokens with their claims, JWT-SVIDs, and assertions of trusted issuers.

use std::sync::Arc;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use spiffe::TrustDomain;

use crate::authority::fuzzing::now::NOW;
use crate::authority::json::Object;
use crate::authority::keys::CompactJws;
use crate::authority::keys::KeyStage;
use crate::authority::keys::Signer;
use crate::authority::keys::Signing;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::authority::keys::SigningKey;
use crate::authority::keys::SigningKeys;
use crate::authority::keys::StoredKey;
use crate::authority::store::Revision;
use crate::authority::tokens;
use crate::authority::tokens::AccessTokenClaims;
use crate::authority::trust::BundleDocument;
use crate::authority::trust::IssuerKeys;
use crate::authority::trust::MAX_ASSERTION_AGE;
use crate::authority::trust::Proves;
use crate::authority::trust::SubjectKind;
use crate::authority::trust::SubjectTerms;
use crate::authority::trust::TrustBundles;
use crate::authority::trust::TrustedIssuer;

/// The public half of the key that signed the seeds. Its private half is lost, so that nothing else verifies.
const SIGNING_KEY: &[u8] = include_bytes!("../../../fuzz/keys/signing-key.spki.der");

/// A bundle with the key of the JWT-SVIDs among the seeds. Its private half is lost.
const BUNDLE: &[u8] = include_bytes!("../../../fuzz/keys/bundle.json");

/// The keys of the issuer of the assertions among the seeds. The private halves are lost.
const ISSUER_KEYS: &[u8] = include_bytes!("../../../fuzz/keys/issuer-jwks.json");

const AUDIENCE: &str = "https://lanyard.prod.example";
const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

static KEYS: LazyLock<SigningKeys> = LazyLock::new(keys);

static TRUST: LazyLock<TrustBundles> = LazyLock::new(|| trust(Proves::Clients));

/// The same where the tokens of the issuer are exchanged.
static SUBJECTS: LazyLock<TrustBundles> = LazyLock::new(|| {
    let scope_claim = Some("/scope".to_owned());
    trust(Proves::Subjects(SubjectTerms { kinds: vec![SubjectKind::Jwt], typ: None, scope_claim }))
});

/// The input as an access token, and as the claims of one.
pub(crate) fn access_tokens(input: &[u8]) {
    if let Ok(Object::<AccessTokenClaims>(claims)) = serde_json::from_slice(input) {
        let printed = serde_json::to_vec(&claims).unwrap_or_default();
        let again = serde_json::from_slice(&printed).map(|Object::<AccessTokenClaims>(claims)| claims);
        assert_eq!(again.ok().as_ref(), Some(&claims));
        // A thumbprint has one text.
        let written = claims.cnf.as_ref().and_then(|confirmation| confirmation.x5t_s256.as_ref());
        assert!(claims.bound_to().is_none_or(|bound| Some(&bound.to_string()) == written));
        assert!(claims.aud.all().iter().all(|audience| claims.aud.includes(audience)));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Some(jws) = CompactJws::parse(text) {
        // base64url has one spelling here: another token with the same bytes would escape the revocation by its hash.
        let parts = [&jws.header, &jws.payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        assert!(text.starts_with(&format!("{}.", parts.join("."))));
    }
    if let Ok(token) = tokens::verify(&KEYS, text) {
        assert_eq!((&*token.claims.sub, &*token.claims.jti), ("checkout", "AAAAAAAAAAAAAAAAAAAAAA"));
        assert!(TRUST.prove_jwt_svid(text, AUDIENCE, NOW).is_err());
    }
}

/// The input as a JWT-SVID.
pub(crate) fn jwt_svids(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(svid) = TRUST.prove_jwt_svid(text, AUDIENCE, NOW) else { return };
    assert_eq!(svid.spiffe_id().to_string(), "spiffe://prod.example/checkout");
    assert!(tokens::verify(&KEYS, text).is_err());
    assert!(TRUST.prove_jwt_svid(text, "https://elsewhere.example", NOW).is_err());
    assert!(TrustBundles::default().prove_jwt_svid(text, AUDIENCE, NOW).is_err());
}

/// The input as an assertion of a trusted issuer, and as a token of one that is exchanged.
pub(crate) fn issuer_jwts(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(token) = SUBJECTS.prove_subject_token(text, SubjectKind::Jwt, NOW) {
        assert!(token.subject.as_str().strip_prefix(CLUSTER).is_some_and(|subject| subject.starts_with('#')));
        assert!(token.actors.is_none_or(|actors| actors.all().all(|actor| actor.contains('#'))));
        assert!(SUBJECTS.prove_issuer_jwt(text, NOW).is_err() && SUBJECTS.prove_grant(text, NOW).is_err());
    }
    let Ok(jwt) = TRUST.prove_issuer_jwt(text, NOW) else { return };
    assert_eq!((jwt.issuer(), jwt.subject()), (CLUSTER, "system:serviceaccount:shop:checkout"));
    assert!(NOW < jwt.expires() && jwt.expires() <= NOW.after(MAX_ASSERTION_AGE).after(MAX_ASSERTION_AGE));
    assert!(tokens::verify(&KEYS, text).is_err() && TRUST.prove_jwt_svid(text, AUDIENCE, NOW).is_err());
    assert!(TRUST.prove_issuer_jwt(text, jwt.expires()).is_err());
    assert!(TrustBundles::default().prove_issuer_jwt(text, NOW).is_err());
}

fn keys() -> SigningKeys {
    let Ok(key) = SigningKey::new(Arc::new(LostKey), NOW) else { unreachable!("the key of the seeds is one") };
    let mut keys = SigningKeys::new(SigningAlgorithm::Es256);
    keys.insert(StoredKey::opened(key, KeyStage::ByAge), Revision(1));
    keys
}

fn trust(proves: Proves) -> TrustBundles {
    let (Ok(document), Ok(domain)) = (BundleDocument::parse(BUNDLE), TrustDomain::new("prod.example")) else {
        unreachable!("the bundle of the seeds is one")
    };
    let Ok(keys) = BundleDocument::parse(ISSUER_KEYS) else { unreachable!("the keys of the seeds are a JWK Set") };
    let trusted = TrustedIssuer {
        name: "cluster".to_owned(),
        issuer: CLUSTER.to_owned(),
        audience: AUDIENCE.to_owned(),
        max_age: MAX_ASSERTION_AGE,
        proves,
    };
    let keys = IssuerKeys { trusted: Arc::new(trusted), keys: keys.signing, confirmed: None, good_until: None };
    TrustBundles {
        trust_domains: [(domain, document.bundle)].into(),
        issuers: [(CLUSTER.to_owned(), keys)].into(),
        ..TrustBundles::default()
    }
}

#[derive(Debug)]
struct LostKey;

impl Signer for LostKey {
    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::Es256
    }

    fn public_key(&self) -> &[u8] {
        SIGNING_KEY
    }

    fn sign<'a>(&'a self, _: &'a [u8]) -> Signing<'a> {
        Box::pin(std::future::ready(Err(SigningFailed::Failed)))
    }
}
