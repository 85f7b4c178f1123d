//! Whose certificate decides a check.

use lanyard::proto::EvidenceFrom;
use lanyard::proto::ProtectedResource;

use crate::support::check::Asked;
use crate::support::check::hex;
use crate::support::check::orders;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;

const CHECKOUT: &str = "spiffe://prod.example/checkout";
const GATEWAY: &str = "spiffe://prod.example/gateway";
const PROXY: &str = "spiffe://prod.example/proxy";

struct Shop {
    server: TestServer,
    checkout: Leaf,
    thief: Leaf,
    token: String,
}

impl Shop {
    async fn new(least: &str, via: &[&str]) -> Self {
        let server = TestServer::start().await;
        let via: Vec<String> = via.iter().map(|&id| id.to_owned()).collect();
        let evidence_from = (!via.is_empty()).then_some(EvidenceFrom { via, header: false });
        let resource = ProtectedResource { least_evidence: least.to_owned(), evidence_from, ..orders() };
        server.protect(resource).await.unwrap();
        let (checkout, thief) = (server.workload("/checkout").await, server.workload("/thief").await);
        let token = server.token(&checkout).await;
        Self { server, checkout, thief, token }
    }

    /// The token, with whatever the proxy saw of the connection.
    fn presented(&self, principal: &str, forwarded: &str) -> Asked {
        let asked = Asked::anonymous().header("authorization", &format!("Bearer {}", self.token)).principal(principal);
        if forwarded.is_empty() { asked } else { asked.header("x-forwarded-client-cert", forwarded) }
    }

    async fn reason(&self, asked: Asked) -> String {
        self.server.check(asked).await.reason().to_owned()
    }
}

#[tokio::test]
async fn each_grade_of_evidence_is_enough_or_too_weak_as_the_resource_says() {
    for (least, certificate, thumbprint, spiffe_id) in [
        ("certificate", "", "EVIDENCE_TOO_WEAK", "EVIDENCE_TOO_WEAK"),
        ("thumbprint", "", "", "EVIDENCE_TOO_WEAK"),
        ("spiffe_id", "", "", "ROTATION_STRICT"),
    ] {
        let shop = Shop::new(least, &[]).await;
        let hash = format!("By={PROXY};Hash={};Subject=\"\";URI={CHECKOUT}", hex(&shop.checkout));
        let cert =
            format!("By={PROXY};Hash={};Cert=\"{}\";URI={CHECKOUT}", hex(&shop.checkout), url_encoded(&shop.checkout));
        for (asked, reason) in [
            (shop.presented("", "").certificate(&shop.checkout), certificate),
            (shop.presented(CHECKOUT, &cert), certificate),
            (shop.presented(CHECKOUT, &hash), thumbprint),
            (shop.presented("", &hash), "EVIDENCE_MISSING"),
            (shop.presented(CHECKOUT, ""), spiffe_id),
            (shop.presented(CHECKOUT, &format!("By={PROXY};URI={CHECKOUT}")), spiffe_id),
            (shop.presented("", &format!("By={PROXY};URI={CHECKOUT}")), "EVIDENCE_MISSING"),
            (shop.presented("", ""), "EVIDENCE_MISSING"),
        ] {
            assert_eq!(shop.reason(asked.clone()).await, reason, "{least}: {:?}", asked.attributes);
        }
    }
}

// The connection first, then what the proxy itself wrote, and never what a client wrote
#[tokio::test]
async fn what_a_client_writes_is_no_evidence() {
    let shop = Shop::new("spiffe_id", &[]).await;
    let (own, thief) = (hex(&shop.checkout), hex(&shop.thief));
    let thief_id = "spiffe://prod.example/thief";
    for (asked, reason) in vec![
        // The thief's connection, with the victim's certificate in every header that comes to mind.
        (shop.presented("", &format!("By={PROXY};Hash={own}")).certificate(&shop.thief), "CERTIFICATE_MISMATCH"),
        (shop.presented(thief_id, &format!("Hash={own},By={PROXY};Hash={thief}")), "CERTIFICATE_MISMATCH"),
        (shop.presented(thief_id, &format!("By={PROXY};Hash={own},By={PROXY};Hash={thief}")), "EVIDENCE_MALFORMED"),
        // A name with a comma in it, behind the true element: as a URI, and as a DNS name.
        (
            shop.presented(
                &format!("{thief_id},By={PROXY};Hash={own}"),
                &format!("By={PROXY};Hash={thief};URI={thief_id},By={PROXY};Hash={own}"),
            ),
            "EVIDENCE_MALFORMED",
        ),
        (
            shop.presented(
                thief_id,
                &format!("By={PROXY};Hash={thief};URI={thief_id};DNS=x,By={PROXY};Hash={own};URI={thief_id}"),
            ),
            "EVIDENCE_MALFORMED",
        ),
        // Not the proxy's element: what is left is the principal.
        (shop.presented(thief_id, &format!("Hash={own}")), "ROTATION_STRICT"),
        (shop.presented("", &format!("Hash={own}")), "EVIDENCE_MISSING"),
        (shop.presented("", &format!("By={PROXY}x;Hash={own}")), "EVIDENCE_MISSING"),
        (shop.presented("", &format!("By={PROXY};Hash={own},By={GATEWAY};Hash={own}")), "EVIDENCE_MISSING"),
        (shop.presented("", "").header("client-cert", &format!(":{}:", "AAAA")), "EVIDENCE_MISSING"),
        (shop.presented("", "").header("x-ssl-client-cert", &url_encoded(&shop.checkout)), "EVIDENCE_MISSING"),
        // A principal of another kind is none.
        (shop.presented("checkout.prod.example", ""), "EVIDENCE_MISSING"),
        (shop.presented("CN=checkout", ""), "EVIDENCE_MISSING"),
        // What cannot be read, or contradicts itself, is not passed over.
        (shop.presented(CHECKOUT, "By="), "ROTATION_STRICT"),
        (shop.presented(CHECKOUT, "garbage"), "EVIDENCE_MALFORMED"),
        (shop.presented(CHECKOUT, &format!("By={PROXY};Hash={own};Hash={thief}")), "EVIDENCE_MALFORMED"),
        (shop.presented("spiffe://PROD.example/checkout", ""), "EVIDENCE_MALFORMED"),
        (shop.presented("", "").certificate(&shop.checkout).principal(thief_id), "EVIDENCE_MALFORMED"),
        (shop.presented(thief_id, &format!("By={PROXY};URI={CHECKOUT}")), "EVIDENCE_MALFORMED"),
        (shop.presented(thief_id, &format!("By={PROXY};Hash={own};URI={CHECKOUT}")), "EVIDENCE_MALFORMED"),
    ] {
        assert_eq!(shop.reason(asked.clone()).await, reason, "{:?}", asked.attributes);
    }
    let mut unreadable = shop.presented("", "");
    unreadable.source().certificate = "-----BEGIN CERTIFICATE-----".to_owned();
    assert_eq!(shop.reason(unreadable).await, "EVIDENCE_MALFORMED");
}

/// What two proxies in a row write: the gateway of its client, and the proxy of the gateway.
fn row(client: &str, gateway: &str) -> String {
    format!("By={GATEWAY};Hash={client},By={PROXY};Hash={gateway};Subject=\"\";URI={GATEWAY}")
}

#[tokio::test]
async fn behind_a_gateway_the_evidence_is_what_the_gateway_saw() {
    let shop = Shop::new("thumbprint", &[GATEWAY]).await;
    let gateway = shop.server.svid("/gateway");
    let (own, thief, at_gate) = (hex(&shop.checkout), hex(&shop.thief), hex(&gateway));
    let seen = |forwarded: &str| shop.presented(GATEWAY, forwarded);
    for (asked, reason) in vec![
        (seen(&row(&own, &at_gate)), ""),
        (seen(&row(&own, &at_gate)).certificate(&gateway), ""),
        // The proxy reports no peer, so that anybody may have written all of it.
        (shop.presented("", &row(&own, &at_gate)), "EVIDENCE_MISSING"),
        (seen(&row(&thief, &at_gate)), "CERTIFICATE_MISMATCH"),
        // A longer row: only the last two count.
        (seen(&format!("By=spiffe://prod.example/edge;Hash={own},{}", row(&thief, &at_gate))), "CERTIFICATE_MISMATCH"),
        // One that says twice to be the gateway's: a name with a comma in it.
        (seen(&format!("By={GATEWAY};Hash={thief};DNS=x,{}", row(&own, &at_gate))), "EVIDENCE_MALFORMED"),
        // No client was in front of the gateway, or it wrote nothing.
        (seen(&format!("By={PROXY};Hash={at_gate};URI={GATEWAY}")), "EVIDENCE_MISSING"),
        (seen(""), "EVIDENCE_MISSING"),
        // Not the gateway's element, though before the proxy's.
        (
            seen(&row(&own, &at_gate).replace("By=spiffe://prod.example/gateway", "By=spiffe://prod.example/other")),
            "EVIDENCE_MISSING",
        ),
        (seen(&row(&own, &at_gate).replacen("By=spiffe://prod.example/gateway;", "", 1)), "EVIDENCE_MISSING"),
        // The proxy wrote nothing itself: all of it is the peer's text.
        (seen(&format!("By={GATEWAY};Hash={own}")), "EVIDENCE_MISSING"),
        // The peer is not the gateway, and only says what the gateway would.
        (
            shop.presented(
                "spiffe://prod.example/thief",
                &row(&own, &thief).replace(&format!("URI={GATEWAY}"), "URI=spiffe://prod.example/thief"),
            ),
            "EVIDENCE_MISSING",
        ),
        (seen(&row(&own, &thief)).certificate(&shop.thief), "EVIDENCE_MALFORMED"),
        (seen(&row(&own, &at_gate)).certificate(&shop.thief), "EVIDENCE_MALFORMED"),
        (shop.presented("spiffe://prod.example/thief", &row(&own, &at_gate)), "EVIDENCE_MALFORMED"),
        // The peer's own certificate is none of the resource's business then.
        (shop.presented("", "").certificate(&shop.checkout), "EVIDENCE_MISSING"),
    ] {
        assert_eq!(shop.reason(asked.clone()).await, reason, "{:?}", asked.attributes.source);
    }
    // The same header, presented by the proxy itself, means the same.
    for (header, reason) in [(row(&own, &at_gate), ""), (row(&thief, &at_gate), "CERTIFICATE_MISMATCH")] {
        let evidence = Some(lanyard::proto::validate_binding_request::Evidence::ForwardedClientCert(header));
        let answer = shop.server.validate(&shop.token, evidence).await.unwrap();
        let expected = if reason.is_empty() { "DENY_REASON_UNSPECIFIED" } else { "DENY_REASON_CERTIFICATE_MISMATCH" };
        assert_eq!(answer.reason().as_str_name(), expected);
    }
}

#[tokio::test]
async fn a_gateway_that_the_resource_does_not_name_is_a_peer_like_any_other() {
    let shop = Shop::new("thumbprint", &[]).await;
    let gateway = shop.server.svid("/gateway");
    let asked = shop.presented(GATEWAY, &row(&hex(&shop.checkout), &hex(&gateway)));
    assert_eq!(shop.reason(asked).await, "CERTIFICATE_MISMATCH");
    let other = Shop::new("thumbprint", &["spiffe://prod.example/other-gateway"]).await;
    let asked = other.presented(GATEWAY, &row(&hex(&other.checkout), &hex(&other.server.svid("/gateway"))));
    assert_eq!(other.reason(asked).await, "EVIDENCE_MISSING");
}

// The name beside a hash selects the reason of a denial, and allows nothing
#[tokio::test]
async fn a_hash_with_the_name_of_the_tokens_workload_is_a_renewal_and_with_another_a_mismatch() {
    let shop = Shop::new("thumbprint", &[]).await;
    let (renewed, thief) = (hex(&shop.server.svid("/checkout")), hex(&shop.thief));
    let thief_id = "spiffe://prod.example/thief";
    for (principal, header, reason) in [
        (CHECKOUT, format!("By={PROXY};Hash={renewed}"), "CERTIFICATE_RENEWED"),
        // Without a principal the header is no evidence.
        ("", format!("By={PROXY};Hash={renewed};URI={CHECKOUT}"), "EVIDENCE_MISSING"),
        (thief_id, format!("By={PROXY};Hash={thief}"), "CERTIFICATE_MISMATCH"),
        // A name that a client wrote in front of the proxy's element does not count.
        (thief_id, format!("Hash={thief};URI={CHECKOUT},By={PROXY};Hash={thief}"), "CERTIFICATE_MISMATCH"),
    ] {
        assert_eq!(shop.reason(shop.presented(principal, &header)).await, reason, "{principal} {header}");
    }
    let gateway = shop.server.svid("/gateway");
    let behind = Shop::new("thumbprint", &[GATEWAY]).await;
    let (renewed, at_gate) = (hex(&behind.server.svid("/checkout")), hex(&gateway));
    for (id, reason) in [(CHECKOUT, "CERTIFICATE_RENEWED"), (thief_id, "CERTIFICATE_MISMATCH")] {
        let row = format!("By={GATEWAY};Hash={renewed};URI={id},By={PROXY};Hash={at_gate};URI={GATEWAY}");
        assert_eq!(behind.reason(behind.presented(GATEWAY, &row)).await, reason, "{id}");
    }
}
