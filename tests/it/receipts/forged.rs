//! Only what this server made is accepted: no other payload, no other tag, no other key, no other kind of text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Timestamp;
use lanyard::authority::evidence::EvidenceGrade;
use lanyard::authority::identity::CertificateThumbprint;
use lanyard::authority::keys::ReceiptKey;
use lanyard::authority::keys::ReceiptKeys;
use lanyard::authority::registration::ClientId;
use lanyard::authority::store::Revision;
use lanyard::authority::tokens::Actors;
use lanyard::authority::tokens::Ancestor;
use lanyard::authority::tokens::Ancestry;
use lanyard::authority::tokens::PresentationMatch;
use lanyard::authority::tokens::PresentedRoute;
use lanyard::authority::tokens::PresentedToken;
use lanyard::authority::tokens::Receipt;
use lanyard::authority::tokens::ReceiptError;
use lanyard::authority::tokens::ReceiptId;
use lanyard::authority::tokens::TokenHash;
use lanyard::authority::tokens::verify_receipt;

use super::support::CHECKOUT;
use super::support::FRONTEND;
use super::support::Shop;
use super::support::orders;
use super::support::receipts;
use crate::support::authority::ORDERS;

fn shop() -> Shop {
    Shop::new(orders(Some(receipts(&[CHECKOUT]))))
}

fn code(shop: &Shop, text: &str) -> &'static str {
    shop.read(text).map_or_else(|code| code, |_| "")
}

/// A change of one member.
type Change = fn(&mut Receipt<'static>);

/// A change of each member of a receipt that has all of them.
const CHANGES: [(&str, Change); 23] = [
    ("jti", |receipt| receipt.jti = ReceiptId([1; 16])),
    ("iat", |receipt| receipt.iat = Timestamp(receipt.iat.0 - 1)),
    ("exp", |receipt| receipt.exp = Timestamp(receipt.exp.0 + 1)),
    ("ath", |receipt| receipt.ath = TokenHash::of("another token")),
    ("at", |receipt| receipt.at = "https://stock.prod.example".into()),
    ("by", |receipt| receipt.by = "spiffe://prod.example/proxies".into()),
    ("independent", |receipt| receipt.independent = !receipt.independent),
    ("grade", |receipt| receipt.grade = EvidenceGrade::SpiffeId),
    ("match", |receipt| receipt.matched = PresentationMatch::Lineage),
    ("shown", |receipt| receipt.shown = None),
    ("for", |receipt| receipt.exchanger = Some(OTHER.into())),
    ("route", |receipt| receipt.route = None),
    ("method", |receipt| receipt.route.as_mut().unwrap().method = "POST".into()),
    ("path", |receipt| receipt.route.as_mut().unwrap().path = "/orders".into()),
    ("token jti", |receipt| receipt.token.jti = "another".into()),
    ("token iat", |receipt| receipt.token.iat = Timestamp(receipt.token.iat.0 - 1)),
    ("token exp", |receipt| receipt.token.exp = Timestamp(receipt.token.exp.0 + 1)),
    ("kid", |receipt| receipt.token.kid = "A".repeat(43).into()),
    ("sub", |receipt| receipt.token.sub = OTHER.into()),
    ("client_id", |receipt| receipt.token.client_id = OTHER.into()),
    ("creation", |receipt| receipt.token.creation = "A".repeat(22).into()),
    ("scope", |receipt| receipt.token.scope = Some("orders.write".into())),
    ("x5t#S256", |receipt| receipt.token.x5t_s256 = CertificateThumbprint::of(b"another")),
];

const OTHER: &str = "spiffe://prod.example/ns/web/sa/other";

/// A key of the tests alone, and the ring that has it.
fn own_key() -> (ReceiptKey, ReceiptKeys) {
    let (key, mut keys) = (ReceiptKey::new("k", Timestamp(0), &[7; 32]), ReceiptKeys::default());
    keys.insert(key.clone(), Revision(1));
    (key, keys)
}

/// The receipt with the payload of another one and the tag that it has.
fn with_payload_of(receipt: &str, other: &str) -> String {
    let [one, other]: [Vec<&str>; 2] = [receipt, other].map(|text| text.split('.').collect());
    [one[0], one[1], other[2], one[3]].join(".")
}

#[test]
fn a_receipt_with_one_member_changed_is_refused() {
    let shop = shop();
    let (key, keys) = own_key();
    // The proxy tells for whom the request is, so that each member is there.
    let receipt = shop.check_by(shop.fixture.proxy(), CHECKOUT, "/orders/1").unwrap();
    assert_eq!(code(&shop, &receipt), "");
    let said = shop.read(&receipt).unwrap().receipt;
    let same = said.authenticated(&key).unwrap();
    assert_eq!(code(&shop, &with_payload_of(&receipt, same.as_str())), "", "nothing is changed");
    for (member, change) in CHANGES {
        let mut changed = said.clone();
        change(&mut changed);
        assert_ne!(changed, said, "{member}");
        let made = changed.authenticated(&key).unwrap();
        let forged = with_payload_of(&receipt, made.as_str());
        assert_eq!(code(&shop, &forged), "RECEIPT_FORGED", "{member}");
        // It is the tag alone by which it is refused: under its own it says what was changed.
        let read = verify_receipt(&keys, made.as_str(), said.iat).unwrap().receipt;
        assert_eq!(read, changed, "{member}");
    }
    // The receipt of the same token elsewhere, or of another token.
    let other = self::shop();
    assert_eq!(code(&shop, &other.receipt()), "RECEIPT_KEY_UNKNOWN");
}

#[test]
fn no_text_of_a_receipt_in_which_a_bit_is_flipped_is_accepted() {
    let shop = shop();
    let receipt = shop.receipt();
    let mut tried = 0;
    for at in 0..receipt.len() {
        for bit in 0..8 {
            let mut bytes = receipt.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // What is no text is refused before.
            let Ok(text) = String::from_utf8(bytes) else { continue };
            tried += 1;
            assert_ne!(code(&shop, &text), "", "{at} {bit}");
        }
    }
    assert!(tried > 2500, "{tried}");
}

#[test]
fn a_text_of_another_form_is_refused_before_anything_of_it_is_read() {
    let shop = shop();
    let receipt = shop.receipt();
    let parts: Vec<&str> = receipt.split('.').collect();
    let [head, id, payload, tag] = parts.try_into().unwrap();
    let empty_tag = format!("{head}.{id}.{payload}.");
    for (text, expected) in [
        (String::new(), "RECEIPT_MALFORMED"),
        (format!("{receipt}."), "RECEIPT_MALFORMED"),
        (format!("{receipt}="), "RECEIPT_MALFORMED"),
        (format!(" {receipt}"), "RECEIPT_MALFORMED"),
        (format!("{receipt}\n"), "RECEIPT_MALFORMED"),
        (receipt.replacen("lr1.", "lr2.", 1), "RECEIPT_MALFORMED"),
        (receipt.replacen("lr1.", "LR1.", 1), "RECEIPT_MALFORMED"),
        (format!("{head}.{id}.{payload}"), "RECEIPT_MALFORMED"),
        (format!("{head}..{payload}.{tag}"), "RECEIPT_KEY_UNKNOWN"),
        (format!("{head}.{}.{payload}.{tag}", id.to_lowercase() + "x"), "RECEIPT_KEY_UNKNOWN"),
        (empty_tag, "RECEIPT_FORGED"),
        (format!("{head}.{id}.{payload}.{}", &tag[..tag.len() - 2]), "RECEIPT_FORGED"),
        (format!("{head}.{id}.{payload}.{tag}AAAAAAAAAAAAAAAAAAAAA"), "RECEIPT_FORGED"),
        (format!("{head}.{id}..{tag}"), "RECEIPT_FORGED"),
        ("x".repeat(5000), "RECEIPT_MALFORMED"),
        // A token is no receipt.
        (shop.token.clone(), "RECEIPT_MALFORMED"),
    ] {
        assert_eq!(code(&shop, &text), expected, "{text:.80}");
    }
    // And a receipt is no token.
    let fixture = &shop.fixture;
    assert!(matches!(
        fixture.evaluate(&receipt, &shop.frontend),
        lanyard::authority::decision::Decision::Deny(lanyard::authority::deny_reason::DenyReason::TokenMalformed)
    ));
}

/// A receipt whose token has two actors and two ancestors.
fn delegated() -> Receipt<'static> {
    let ids = [FRONTEND, CHECKOUT, "stock"].map(|id| ClientId::parse(id).unwrap());
    let x5t = CertificateThumbprint::of(b"a certificate");
    let ancestor = |holder: &ClientId, jti: &str| Ancestor {
        jti: jti.to_owned(),
        iat: Timestamp(5),
        client_id: holder.to_string(),
        creation: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        x5t: x5t.to_string(),
        iss: None,
    };
    // What came first is of another issuer, as is who acted then.
    let partner = || Some("https://partner.example".to_owned());
    let elsewhere = Actors { sub: "till".to_owned(), iss: partner(), act: None };
    let first = Ancestor { creation: String::new(), x5t: String::new(), iss: partner(), ..ancestor(&ids[0], "one") };
    Receipt {
        jti: ReceiptId([3; 16]),
        iat: Timestamp(10),
        exp: Timestamp(40),
        ath: TokenHash::of("a token"),
        token: PresentedToken {
            jti: "t".into(),
            iat: Timestamp(6),
            exp: Timestamp(99),
            kid: "s".into(),
            sub: FRONTEND.into(),
            client_id: ids[2].to_string().into(),
            creation: "c".into(),
            scope: None,
            x5t_s256: x5t,
            act: Some(Cow::Owned(Actors::then(Some(Actors::then(Some(elsewhere), &ids[1])), &ids[2]))),
            lanyard_from: Cow::Owned(Ancestry(vec![first, ancestor(&ids[1], "another")])),
        },
        at: ORDERS.into(),
        route: Some(PresentedRoute { method: "GET".into(), path: "/orders/{id}".into() }),
        by: format!("x5t#S256:{x5t}").into(),
        independent: true,
        grade: EvidenceGrade::Thumbprint,
        matched: PresentationMatch::SameIdentity,
        shown: Some(CertificateThumbprint::of(b"its successor")),
        exchanger: None,
    }
}

#[test]
fn a_payload_that_this_version_would_not_write_is_refused_though_its_tag_verifies() {
    let (key, keys) = own_key();
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    let signed = |payload: &[u8]| {
        let text = format!("lr1.k.{}", URL_SAFE_NO_PAD.encode(payload));
        let tag = aws_lc_rs::hmac::sign(&hmac, text.as_bytes());
        let text = format!("{text}.{}", URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16]));
        let read = verify_receipt(&keys, &text, Timestamp(10)).map(|verified| verified.receipt);
        (text, read.map_err(ReceiptError::code))
    };
    let all = delegated();
    let made = all.authenticated(&key).unwrap();
    let good = URL_SAFE_NO_PAD.decode(made.as_str().split('.').nth(2).unwrap()).unwrap();
    assert_eq!(signed(&good), (made.as_str().to_owned(), Ok(all.clone())));
    assert_eq!(signed(&[&good[..], &[0]].concat()).1, Err("RECEIPT_MALFORMED"), "trailing");
    assert_eq!(signed(b"{}").1, Err("RECEIPT_MALFORMED"), "a payload of JSON");
    for end in 0..good.len() {
        assert_eq!(signed(&good[..end]).1, Err("RECEIPT_MALFORMED"), "{end}");
    }
    let mut refused = 0;
    for at in 0..good.len() {
        let flipped = (0..8).map(|bit| good[at] ^ (1 << bit));
        for byte in flipped.chain([0, 1, 2, 0x7f, 0x80, 0xff]) {
            let mut changed = good.clone();
            changed[at] = byte;
            let (text, read) = signed(&changed);
            match read {
                // It says something else, and nothing but this is written to say so.
                Ok(said) => assert_eq!(said.authenticated(&key).unwrap().as_str(), text, "{at} {byte}"),
                Err("RECEIPT_MALFORMED") => refused += 1,
                Err(code) => assert!(["RECEIPT_EXPIRED", "RECEIPT_NOT_YET_VALID"].contains(&code), "{at} {byte}"),
            }
        }
    }
    // Kinds that are not known, lengths and counts that are too large, texts that are none, numbers written in two ways.
    assert!(refused > 500, "{refused}");
    let at = |iat: u64, exp: u64| {
        let made = Receipt { iat: Timestamp(iat), exp: Timestamp(exp), ..all.clone() }.authenticated(&key).unwrap();
        verify_receipt(&keys, made.as_str(), Timestamp(10)).map(drop).map_err(ReceiptError::code)
    };
    assert_eq!(at(10, 10), Err("RECEIPT_EXPIRED"));
    assert_eq!(at(10, 11), Ok(()));
    assert_eq!(at(15, 40), Ok(()), "the clock of another replica is ahead");
    assert_eq!(at(16, 40), Err("RECEIPT_NOT_YET_VALID"));
}
