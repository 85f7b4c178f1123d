//! The steps of a decision, for who asks why: what each compared, and where the decision ended. They are noted by the
//! functions that decide, so that no explanation can differ from its decision.

use std::fmt;

/// The most bytes that are kept of each of the two things that a step compares.
const MAX_BYTES: usize = 256;

/// What a step of a decision looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Check {
    /// Whether the handshake is completed, and a rule accepts the certificate.
    Handshake,
    /// Whether the certificate of the connection is there, and still proven.
    Certificate,
    /// Whether the caller holds a role that the method asks for.
    Role,
    /// Whether the caller is within its share, and the server has time.
    Share,
    /// Whether the request can be read and is one that is served.
    Request,
    /// Whether the snapshot is fresh enough to decide by.
    Freshness,
    /// The protected resource that the request is for.
    Resource,
    /// Whether the path has only one reading.
    Path,
    /// The route of the resource that the request matches.
    Route,
    /// Whether there is one bearer token.
    AccessToken,
    /// Whether the evidence of the certificate can be read.
    EvidenceForm,
    /// The token's form, its key and its signature.
    Signature,
    /// The `iss` claim.
    Issuer,
    /// The `exp` claim.
    Expiry,
    /// The `nbf` and `iat` claims.
    NotBefore,
    /// The registration of the client.
    Client,
    /// Whether what authenticated the client still does.
    Authentication,
    /// What is revoked.
    Revocation,
    /// The tokens that a delegated token comes from.
    Ancestry,
    /// The audience.
    Audience,
    /// Whether the resource is registered, and its record readable.
    ResourceRecord,
    /// Whether the resource takes the delegated token.
    Delegation,
    /// The trust domain of the token's holder, and of its subject.
    TrustDomain,
    /// Whether the token is bound to a certificate.
    Binding,
    /// The grade of the evidence.
    Evidence,
    /// The presented certificate, against the one that the token is bound to.
    BoundCertificate,
    /// The principal that the proxy reports.
    Principal,
    /// The scope.
    Scope,
    /// The transaction token of the request, or the one that the check mints.
    TransactionToken,
    /// The client assertion.
    ClientAssertion,
    /// The name of the client that the request is from.
    ClientId,
    /// What the registration expects of the caller.
    Credentials,
    /// What an operator registered for a client that registered itself.
    OperatorLimit,
    /// Whether the client is registered for the grant.
    GrantType,
    /// What is to be exchanged, and whether it still counts.
    Subject,
    /// What is known of the presentation of what is to be exchanged.
    Presentation,
    /// The rule of the client that is about an exchange.
    ExchangeRule,
    /// The signature of the new token.
    Signing,
    /// Whether the change may be made.
    Change,
}

impl Check {
    /// The fixed name.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

/// One step of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What it looked at.
    pub check: Check,
    /// What was found. Empty where there was nothing.
    pub found: Box<str>,
    /// What was expected. Empty where that has no text.
    pub expected: Box<str>,
    /// Whether the decision went on. The last step of a refusal did not.
    pub passed: bool,
}

/// Is told of each step of a decision before its outcome.
pub trait Walk {
    /// A step begins; `compared` is what is found and what is expected.
    fn at(&mut self, check: Check, compared: impl FnOnce() -> (String, String));
}

/// For decisions that are not explained: notes nothing, and costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unexplained;

impl Walk for Unexplained {
    fn at(&mut self, _: Check, _: impl FnOnce() -> (String, String)) {}
}

/// Notes all steps.
#[derive(Clone, Debug, Default)]
pub struct Steps(Vec<Step>);

impl Walk for Steps {
    fn at(&mut self, check: Check, compared: impl FnOnce() -> (String, String)) {
        let (found, expected) = compared();
        self.0.push(Step { check, found: shortened(found), expected: shortened(expected), passed: true });
    }
}

impl Steps {
    /// The steps of a decision that ended with the last one.
    pub fn refused(mut self) -> Vec<Step> {
        if let Some(last) = self.0.last_mut() {
            last.passed = false;
        }
        self.0
    }

    /// The steps of a decision that went through all of them.
    pub fn allowed(self) -> Vec<Step> {
        self.0
    }
}

/// What a step compares, of values that have a text.
pub(in crate::authority) fn compared(found: impl fmt::Display, expected: impl fmt::Display) -> (String, String) {
    (found.to_string(), expected.to_string())
}

fn shortened(mut text: String) -> Box<str> {
    text.truncate(text.floor_char_boundary(MAX_BYTES));
    text.into()
}
