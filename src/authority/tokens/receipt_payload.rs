//! The payload of a receipt: bytes in the format of postcard, with nothing twice. What else is the subject's name, or begins as
//! it does, is written as that; identifiers and digests are written as their bytes. So an answer with a receipt stays below what
//! HTTP/2 sends in one piece.
//!
//! A payload has one form: what would be written in another way is refused.

use std::borrow::Cow;
use std::iter;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::tokens::delegation::Actors;
use crate::authority::tokens::delegation::Ancestor;
use crate::authority::tokens::delegation::Ancestry;
use crate::authority::tokens::receipt::PresentationMatch;
use crate::authority::tokens::receipt::PresentedRoute;
use crate::authority::tokens::receipt::PresentedToken;
use crate::authority::tokens::receipt::Receipt;
use crate::authority::tokens::receipt::ReceiptId;
use crate::authority::tokens::receipt::TokenHash;

/// Room for the payload of a usual receipt, in bytes.
const USUAL_BYTES: usize = 512;

/// The members of a payload, in their order.
#[derive(Deserialize, Serialize)]
struct Payload<'a> {
    jti: [u8; 16],
    iat: u64,
    /// After `iat`.
    exp: i64,
    ath: [u8; 16],
    token_jti: Word<'a>,
    /// After `iat`.
    token_iat: i64,
    /// After the token's `iat`.
    token_exp: i64,
    kid: Word<'a>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    client_id: Name<'a>,
    creation: Word<'a>,
    scope: Option<Cow<'a, str>>,
    x5t: [u8; 32],
    /// The newest first.
    actors: Vec<Actor<'a>>,
    ancestors: Vec<Origin<'a>>,
    at: Cow<'a, str>,
    route: Option<(Cow<'a, str>, Cow<'a, str>)>,
    by: Name<'a>,
    independent: bool,
    grade: EvidenceGrade,
    matched: PresentationMatch,
    shown: Shown,
    exchanger: Option<Name<'a>>,
}

#[derive(Deserialize, Serialize)]
struct Actor<'a> {
    #[serde(borrow)]
    sub: Name<'a>,
    iss: Option<Cow<'a, str>>,
}

/// A token that another one comes from.
#[derive(Deserialize, Serialize)]
struct Origin<'a> {
    #[serde(borrow)]
    jti: Word<'a>,
    /// After that of the token that was presented.
    iat: i64,
    client_id: Name<'a>,
    creation: Word<'a>,
    x5t: Word<'a>,
    iss: Option<Cow<'a, str>>,
}

/// A text, as the bytes of which it is the base64url where there are 16 or 32 of them: most identifiers and all digests.
#[derive(Deserialize, Serialize)]
enum Word<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Id([u8; 16]),
    Digest([u8; 32]),
}

/// A name that begins with so many bytes of the subject's: names of one trust domain differ at their ends.
#[derive(Deserialize, Serialize)]
struct Name<'a> {
    shared: usize,
    #[serde(borrow)]
    rest: Cow<'a, str>,
}

/// The certificate that was shown.
#[derive(Deserialize, Serialize)]
enum Shown {
    Unknown,
    /// That which the token is bound to.
    Bound,
    Other([u8; 32]),
}

impl Receipt<'_> {
    /// The payload; `None` for what cannot be written.
    pub(in crate::authority) fn payload(&self) -> Option<Vec<u8>> {
        postcard::to_extend(&Payload::of(self), Vec::with_capacity(USUAL_BYTES)).ok()
    }

    /// Reads a payload; `None` for what is none, or is written in another way than this version does.
    pub(in crate::authority) fn from_payload(bytes: &[u8]) -> Option<Receipt<'static>> {
        let receipt = postcard::from_bytes::<Payload<'_>>(bytes).ok()?.receipt()?;
        (receipt.payload()? == bytes).then_some(receipt)
    }
}

impl<'a> Payload<'a> {
    fn of(receipt: &'a Receipt<'_>) -> Self {
        let Receipt { jti, iat, exp, ath, token, at, route, by, .. } = receipt;
        let sub = &*token.sub;
        Self {
            jti: jti.0,
            iat: iat.0,
            exp: after(*iat, *exp),
            ath: ath.0,
            token_jti: Word::of(&token.jti),
            token_iat: after(*iat, token.iat),
            token_exp: after(token.iat, token.exp),
            kid: Word::of(&token.kid),
            sub: sub.into(),
            client_id: Name::of(&token.client_id, sub),
            creation: Word::of(&token.creation),
            scope: token.scope.as_deref().map(Cow::from),
            x5t: *token.x5t_s256.as_bytes(),
            actors: token.act.iter().flat_map(|actors| actors.each()).map(|actor| Actor::of(actor, sub)).collect(),
            ancestors: token.lanyard_from.0.iter().map(|from| Origin::of(from, token)).collect(),
            at: (&**at).into(),
            route: route.as_ref().map(|route| ((&*route.method).into(), (&*route.path).into())),
            by: Name::of(by, sub),
            independent: receipt.independent,
            grade: receipt.grade,
            matched: receipt.matched,
            shown: match receipt.shown {
                None => Shown::Unknown,
                Some(shown) if shown == token.x5t_s256 => Shown::Bound,
                Some(shown) => Shown::Other(*shown.as_bytes()),
            },
            exchanger: receipt.exchanger.as_deref().map(|exchanger| Name::of(exchanger, sub)),
        }
    }

    fn receipt(self) -> Option<Receipt<'static>> {
        let (iat, sub) = (Timestamp(self.iat), self.sub.into_owned());
        let (token_iat, x5t_s256) = (later(iat, self.token_iat), CertificateThumbprint::from_digest(&self.x5t)?);
        let mut act = None;
        for Actor { sub: name, iss } in self.actors.into_iter().rev() {
            act = Some(Actors { sub: name.text(&sub)?, iss: iss.map(Cow::into_owned), act: act.map(Box::new) });
        }
        let ancestor = |from: Origin<'_>| {
            Some(Ancestor {
                jti: from.jti.text(),
                iat: later(token_iat, from.iat),
                client_id: from.client_id.text(&sub)?,
                creation: from.creation.text(),
                x5t: from.x5t.text(),
                iss: from.iss.map(Cow::into_owned),
            })
        };
        let ancestry: Option<Vec<Ancestor>> = self.ancestors.into_iter().map(ancestor).collect();
        let token = PresentedToken {
            jti: self.token_jti.text().into(),
            iat: token_iat,
            exp: later(token_iat, self.token_exp),
            kid: self.kid.text().into(),
            client_id: self.client_id.text(&sub)?.into(),
            creation: self.creation.text().into(),
            scope: self.scope.map(owned),
            x5t_s256,
            act: act.map(Cow::Owned),
            lanyard_from: Cow::Owned(Ancestry(ancestry?)),
            sub: sub.clone().into(),
        };
        let exchanger = match self.exchanger {
            Some(name) => Some(name.text(&sub)?.into()),
            None => None,
        };
        Some(Receipt {
            jti: ReceiptId(self.jti),
            iat,
            exp: later(iat, self.exp),
            ath: TokenHash(self.ath),
            at: owned(self.at),
            route: self.route.map(|(method, path)| PresentedRoute { method: owned(method), path: owned(path) }),
            by: self.by.text(&sub)?.into(),
            independent: self.independent,
            grade: self.grade,
            matched: self.matched,
            shown: match self.shown {
                Shown::Unknown => None,
                Shown::Bound => Some(x5t_s256),
                Shown::Other(digest) => CertificateThumbprint::from_digest(&digest),
            },
            exchanger,
            token,
        })
    }
}

impl<'a> Origin<'a> {
    fn of(from: &'a Ancestor, token: &PresentedToken<'_>) -> Self {
        Self {
            jti: Word::of(&from.jti),
            iat: after(token.iat, from.iat),
            client_id: Name::of(&from.client_id, &token.sub),
            creation: Word::of(&from.creation),
            x5t: Word::of(&from.x5t),
            iss: from.iss.as_deref().map(Cow::from),
        }
    }
}

impl<'a> Actor<'a> {
    fn of(actor: &'a Actors, sub: &str) -> Self {
        Self { sub: Name::of(&actor.sub, sub), iss: actor.iss.as_deref().map(Cow::from) }
    }
}

impl<'a> Word<'a> {
    fn of(text: &'a str) -> Self {
        // Longer than each of the two, as the decoder asks for.
        let mut bytes = [0; 48];
        if !matches!(text.len(), 22 | 43) {
            return Self::Text(text.into());
        }
        let count = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).unwrap_or_default();
        let decoded = bytes.get(..count).unwrap_or_default();
        let id = decoded.try_into().map(Self::Id);
        id.or_else(|_| decoded.try_into().map(Self::Digest)).unwrap_or(Self::Text(text.into()))
    }

    fn text(self) -> String {
        match self {
            Self::Text(text) => text.into_owned(),
            Self::Id(bytes) => URL_SAFE_NO_PAD.encode(bytes),
            Self::Digest(bytes) => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

impl<'a> Name<'a> {
    fn of(name: &'a str, sub: &str) -> Self {
        let same = iter::zip(name.bytes(), sub.bytes()).take_while(|(one, other)| one == other).count();
        let shared = name.floor_char_boundary(same);
        Self { shared, rest: name.get(shared..).unwrap_or_default().into() }
    }

    fn text(self, sub: &str) -> Option<String> {
        Some(format!("{}{}", sub.get(..self.shared)?, self.rest))
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    text.into_owned().into()
}

/// How many seconds a time is after another one. Each two times have such a number.
fn after(one: Timestamp, other: Timestamp) -> i64 {
    other.0.wrapping_sub(one.0).cast_signed()
}

fn later(one: Timestamp, seconds: i64) -> Timestamp {
    Timestamp(one.0.wrapping_add(seconds.cast_unsigned()))
}
