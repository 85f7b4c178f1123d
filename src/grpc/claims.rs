//! A token's claims as protobuf messages.

use prost_types::Struct;
use prost_types::Value;
use prost_types::value::Kind;

use crate::authority::tokens::AccessTokenClaims;
use crate::authority::tokens::Actors;
use crate::authority::tokens::Audience;

/// The claims, in the form that they have in the token.
pub(super) fn print(claims: &AccessTokenClaims) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    // A NumericDate is far below the 2^53 up to which a double is exact.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let number = |seconds: u64| Value { kind: Some(Kind::NumberValue(seconds as f64)) };
    let audience = match &claims.aud {
        Audience::One(one) => text(one),
        Audience::Several(several) => {
            let values = several.iter().map(|one| text(one)).collect();
            Value { kind: Some(Kind::ListValue(prost_types::ListValue { values })) }
        }
    };
    let confirmation = claims.cnf.as_ref().map(|cnf| {
        let fields = cnf.x5t_s256.iter().map(|thumbprint| ("x5t#S256".to_owned(), text(thumbprint))).collect();
        Value { kind: Some(Kind::StructValue(Struct { fields })) }
    });
    let bound = claims.lanyard_bound.as_ref().map(|bound| {
        let fields = [("nbf".to_owned(), number(bound.nbf.0)), ("spki".to_owned(), text(&bound.spki))].into();
        Value { kind: Some(Kind::StructValue(Struct { fields })) }
    });
    let fields = [
        ("iss", Some(text(&claims.iss))),
        ("sub", Some(text(&claims.sub))),
        ("aud", Some(audience)),
        ("exp", Some(number(claims.exp.0))),
        ("iat", Some(number(claims.iat.0))),
        ("nbf", Some(number(claims.nbf.0))),
        ("jti", Some(text(&claims.jti))),
        ("client_id", Some(text(&claims.client_id))),
        ("scope", claims.scope.as_deref().map(text)),
        ("cnf", confirmation),
        ("lanyard_bound", bound),
        ("lanyard_spiffe_id", claims.lanyard_spiffe_id.as_deref().map(text)),
        ("lanyard_creation", Some(text(&claims.lanyard_creation))),
        // Where the token comes from is nobody else's to know.
        ("act", claims.act.as_ref().map(actors)),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Struct { fields }
}

fn actors(actors: &Actors) -> Value {
    let text = |name: &str, text: &str| (name.to_owned(), Value { kind: Some(Kind::StringValue(text.to_owned())) });
    let sub = text("sub", &actors.sub);
    let iss = actors.iss.as_deref().map(|iss| text("iss", iss));
    let earlier = actors.act.as_ref().map(|earlier| ("act".to_owned(), self::actors(earlier)));
    Value { kind: Some(Kind::StructValue(Struct { fields: [sub].into_iter().chain(iss).chain(earlier).collect() })) }
}
