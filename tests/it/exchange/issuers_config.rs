//! The section `chaining`, and `exchange` of trusted issuers: what can stand in them.

use std::time::Duration;

use lanyard::authority::registration::ToldActors;
use lanyard::authority::trust::Proves;
use lanyard::authority::trust::SubjectKind;
use lanyard::config;
use lanyard::config::Config;

use crate::support::server::ISSUER;
use crate::support::server::Setup;

const TO: &str = "{issuer: 'https://partner.example', clients: [checkout], subjects: ['spiffe://prod.example/*'], \
                  grants: [{needs: a, gives: b}]}";
const FROM: &str = "{name: partner, issuer: 'https://partner.example', jwks: partner.json, trust_domain: partner.example, \
                    clients: [checkout], subjects: ['spiffe://partner.example/*'], grants: [{needs: a, gives: b}], \
                    audience: ['https://orders.prod.example']}";
const ENTRY: &str = "{name: idp, issuer: 'https://idp.example', jwks: idp.json, exchange: {scope_claim: /scope}}";

fn loaded(chaining: &str, issuers: &str) -> Result<Config, String> {
    let exchange = format!("{{enabled: true}}\nchaining: {chaining}");
    let setup = Setup { exchange, trusted_issuers: issuers.to_owned(), ..Setup::default() };
    setup.write();
    config::load(&setup.path("lanyard.yaml")).map_err(|error| error.to_string())
}

fn problem(chaining: &str, issuers: &str) -> String {
    loaded(chaining, issuers).err().unwrap_or_default()
}

/// One of these with a part of it changed.
fn with(written: &str, from: &str, to: &str) -> String {
    assert!(written.contains(from), "{from} is not in {written}");
    written.replacen(from, to, 1)
}

#[test]
fn the_sections_say_what_they_say_and_have_defaults() {
    let config = loaded(&format!("{{to: [{TO}], from: [{FROM}]}}"), &format!("[{ENTRY}]")).unwrap();
    let [target] = config.policy.chaining.as_slice() else { panic!("{:?}", config.policy.chaining) };
    assert_eq!(
        (target.ttl, target.told, target.typ.as_str()),
        (Duration::from_mins(1), ToldActors::Last, "authorization-grant+jwt")
    );
    assert!(target.presented_at.is_empty());
    let [(idp, _), (partner, _)] = config.trust.issuers.as_slice() else { panic!("{:?}", config.trust.issuers) };
    let Proves::Subjects(terms) = &idp.proves else { panic!("{idp:?}") };
    assert_eq!((terms.kinds.as_slice(), terms.typ.as_ref()), ([SubjectKind::AccessToken].as_slice(), None));
    let Proves::Grants(terms) = &partner.proves else { panic!("{partner:?}") };
    assert_eq!(
        (partner.max_age, terms.ttl, terms.once_strict),
        (Duration::from_mins(1), Duration::from_mins(1), false)
    );
    assert_eq!(partner.audience, ISSUER);
    assert!(terms.token_endpoint.ends_with("/oauth2/token"), "{}", terms.token_endpoint);
}

#[test]
fn an_entry_of_chaining_that_cannot_stand_is_refused_by_the_name_of_its_key() {
    let to = |from: &str, to: &str| format!("{{to: [{}]}}", with(TO, from, to));
    let from = |from: &str, to: &str| format!("{{from: [{}]}}", with(FROM, from, to));
    let own = format!("'{ISSUER}'");
    for right in [
        "{}".to_owned(),
        to(
            "clients: [checkout]",
            "clients: [checkout], ttl: 30s, tell_actors: all, typ: JWT, presented_at: ['https://a']",
        ),
        from("jwks:", "ttl: 5m, max_age: 5m, once: strict, typ: JWT, jwks:"),
        from("trust_domain: partner.example, ", ""),
        format!("{{to: [{TO}], from: [{FROM}]}}"),
    ] {
        assert_eq!(problem(&right, "[]"), "", "{right}");
    }
    for (chaining, said) in [
        (to("'https://partner.example'", "partner"), "chaining.to.issuer: "),
        (to("'https://partner.example'", "'https://partner.example#a'"), "chaining.to.issuer: "),
        (to("'https://partner.example'", &own), "chaining.to.issuer: "),
        (to("clients: [checkout]", "clients: []"), "chaining.to.clients: "),
        (to("clients: [checkout], ", ""), "missing field `clients`"),
        (to("'spiffe://prod.example/*'", "'*'"), "chaining.to.subjects: "),
        (to("{needs: a, gives: b}", ""), "chaining.to.grants: "),
        (to("needs: a", "needs: '*'"), "chaining.to.grants: "),
        (to("gives: b", "gives: ''"), "chaining.to.grants: "),
        (to("clients:", "ttl: 61s, clients:"), "chaining.to.ttl: "),
        (to("clients:", "ttl: 1500ms, clients:"), "chaining.to.ttl: "),
        (to("clients:", "typ: at+jwt, clients:"), "chaining.to.typ: "),
        (to("clients:", "typ: application/txntoken+jwt, clients:"), "chaining.to.typ: "),
        (to("clients:", "typ: '', clients:"), "chaining.to.typ: "),
        (to("clients:", "presented_at: [orders], clients:"), "chaining.to.presented_at: "),
        (to("clients:", "tell_actors: some, clients:"), "unknown variant `some`"),
        (to("clients:", "keys: a, clients:"), "unknown field `keys`"),
        (format!("{{to: [{TO}, {TO}]}}"), "chaining.to.issuer: https://partner.example: appears here twice"),
        (from("name: partner", "name: Partner"), "chaining.from.name: "),
        (from("'https://partner.example'", &own), "chaining.from.issuer: is this server's own issuer"),
        (from("'https://partner.example'", "'https://partner.example#a'"), "chaining.from.issuer: "),
        (
            from("trust_domain: partner.example", "trust_domain: 'spiffe://partner.example'"),
            "chaining.from.trust_domain: ",
        ),
        (from("clients: [checkout]", "clients: ['*']"), "chaining.from.clients: "),
        (from("subjects: ['spiffe://partner.example/*']", "subjects: []"), "chaining.from.subjects: "),
        (from("audience: ['https://orders.prod.example']", "audience: []"), "chaining.from.audience: "),
        (from("audience: ['https://orders.prod.example']", "audience: [orders]"), "chaining.from.audience: "),
        (from("jwks:", "ttl: 301s, jwks:"), "chaining.from.ttl: "),
        (from("jwks:", "max_age: 301s, jwks:"), "chaining.from.max_age: "),
        (from("jwks:", "once: effect, jwks:"), "unknown variant `effect`"),
        (from("jwks:", "typ: token-introspection+jwt, jwks:"), "chaining.from.typ: "),
        (from("jwks: partner.json, ", ""), "chaining.from.jwks: partner: needs either jwks"),
        (
            from("jwks: partner.json", "jwks_uri: 'http://partner.example/'"),
            "chaining.from.jwks_uri: must be an https URL",
        ),
        (from("jwks: partner.json", "jwks_uri: 'https://partner.example/'"), "is not one of jwks_uri.allowed_hosts"),
        (
            format!("{{from: [{FROM}, {FROM}]}}"),
            "chaining.from.issuer: partner: the name or the issuer appears here twice",
        ),
    ] {
        let problem = problem(&chaining, "[]");
        assert!(problem.contains(said), "{said:?} is not in {problem:?} for {chaining}");
    }
    // One issuer, one use.
    let both =
        problem(&format!("{{from: [{}]}}", with(FROM, "partner.example'", "idp.example'")), &format!("[{ENTRY}]"));
    assert!(both.contains("appears here twice"), "{both}");
}

#[test]
fn how_tokens_are_exchanged_of_an_issuer_is_refused_by_the_name_of_its_key() {
    let entry = |from: &str, to: &str| format!("[{}]", with(ENTRY, from, to));
    for right in [
        entry("{scope_claim: /scope}", "{}"),
        entry("{scope_claim", "{kinds: [jwt, access_token], typ: JWT, scope_claim"),
        entry("/scope", "/realm_access/roles"),
    ] {
        assert_eq!(problem("{}", &right), "", "{right}");
    }
    for (issuers, said) in [
        (entry("/scope", "scope"), "trusted_issuers.exchange.scope_claim: "),
        (entry("/scope", "''"), "trusted_issuers.exchange.scope_claim: "),
        (entry("{scope_claim", "{typ: '', scope_claim"), "trusted_issuers.exchange.typ: "),
        (entry("{scope_claim", "{kinds: [id_token], scope_claim"), "unknown variant `id_token`"),
        (entry("{scope_claim", "{subjects: ['*'], scope_claim"), "unknown field `subjects`"),
        (entry("'https://idp.example'", "'https://idp.example#a'"), "trusted_issuers.issuer: "),
        (entry("'https://idp.example'", "'spiffe://prod.example/idp'"), "trusted_issuers.issuer: "),
        (entry("'https://idp.example'", "'an issuer'"), "trusted_issuers.issuer: "),
    ] {
        let problem = problem("{}", &issuers);
        assert!(problem.contains(said), "{said:?} is not in {problem:?} for {issuers}");
    }
}
