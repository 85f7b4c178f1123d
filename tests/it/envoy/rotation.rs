//! Rotation through a real Envoy: the verdict about each certificate that a client can show, and each grade of evidence.

use lanyard::authority::clock::Timestamp;
use lanyard::proto::AnnounceRotationRequest;
use lanyard::proto::Client;
use lanyard::proto::UpdateClientRequest;
use tonic::Code;

use crate::rotation::policies::hour;
use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::mesh::Mesh;
use crate::support::mesh::get;
use crate::support::mesh::reason;
use crate::support::mesh::seen;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// Only the hash, as an Istio sidecar sends.
fn hash_only() -> Vec<(&'static str, String)> {
    vec![
        ("include_peer_certificate: true", "include_peer_certificate: false".to_owned()),
        (
            "set_current_client_cert_details: {cert: true, uri: true}",
            "set_current_client_cert_details: {uri: true}".to_owned(),
        ),
    ]
}

/// Only the SPIFFE ID, as a waypoint sends.
fn principal_only() -> Vec<(&'static str, String)> {
    vec![
        ("include_peer_certificate: true", "include_peer_certificate: false".to_owned()),
        ("forward_client_cert_details: SANITIZE_SET", "forward_client_cert_details: SANITIZE".to_owned()),
    ]
}

/// A mesh whose workload `checkout` is registered with this rotation, and a token of it.
struct Rotating {
    mesh: Mesh,
    from: Timestamp,
}

impl Rotating {
    async fn start(rotation: &str, least: &str, changes: Vec<(&'static str, String)>) -> Option<Self> {
        let least = least.to_owned();
        let mut mesh = Mesh::start(changes, |resource| resource.least_evidence = least).await?;
        let present = mesh.server.server.authority().client(CHECKOUT).unwrap();
        let client = Client {
            rotation: rotation.to_owned(),
            access_token_ttl: hour(),
            etag: present.revision.0.to_string(),
            ..spiffe_client(CHECKOUT)
        };
        let request = UpdateClientRequest { client: Some(client), ..UpdateClientRequest::default() };
        mesh.server.registry(&mesh.server.svid("/admin")).update_client(request).await.unwrap();
        mesh.token = mesh.server.token(&mesh.checkout).await;
        let from = mesh.server.now();
        Some(Self { mesh, from })
    }

    /// A certificate of the same SPIFFE ID that is valid from so many seconds after the first.
    fn another(&self, later: i64, key: Option<&Leaf>) -> Leaf {
        let builder = self.mesh.server.setup.ca.svid(CHECKOUT);
        let builder = if let Some(leaf) = key { builder.key(&leaf.key) } else { builder };
        let from = Timestamp((self.from.0 - 60).checked_add_signed(later).unwrap());
        builder.between(from, Timestamp(self.from.0 + 3600)).issue()
    }

    /// How it matched, or why not.
    async fn verdict(&self, leaf: &Leaf) -> String {
        let reply = self.mesh.send(leaf, get("/orders/1", &self.mesh.token)).await;
        if reply.status == 200 { seen(&reply, "x-lanyard-binding").join(",") } else { reason(&reply) }
    }

    async fn announce(&self, present: &Leaf, next: &Leaf) -> Result<(), tonic::Status> {
        let certificate = next.certificate().to_vec();
        let request = AnnounceRotationRequest { certificate, intermediates: Vec::new() };
        self.mesh.server.tokens(present).announce_rotation(request).await.map(drop)
    }
}

const MISMATCH: &str = "CERTIFICATE_MISMATCH";
const RENEWED: &str = "CERTIFICATE_RENEWED";

#[tokio::test]
async fn by_certificate_each_rotation_has_its_verdict_about_each_certificate() {
    for (rotation, renewed) in [("strict", RENEWED), ("identity", "same-identity"), ("lineage", RENEWED)] {
        let Some(rotating) = Rotating::start(rotation, "thumbprint", Vec::new()).await else { return };
        let checkout = rotating.mesh.checkout.clone();
        for (name, leaf, expected) in [
            ("the same", checkout.clone(), "exact"),
            ("renewed with the same key", rotating.another(10, Some(&checkout)), renewed),
            ("renewed with a new key", rotating.another(10, None), renewed),
            ("a sibling", rotating.another(0, None), RENEWED),
            ("an older sibling, with the stolen token", rotating.another(-30, None), RENEWED),
            ("another workload's", rotating.mesh.thief.clone(), MISMATCH),
        ] {
            assert_eq!(rotating.verdict(&leaf).await, expected, "{rotation}: {name}");
        }
    }
}

#[tokio::test]
async fn by_hash_and_by_name_only_what_the_rotation_and_the_resource_let_pass_does() {
    let weak = "EVIDENCE_TOO_WEAK";
    for (rotation, least, changes, same, renewed) in [
        ("strict", "thumbprint", hash_only(), "exact", RENEWED),
        ("identity", "thumbprint", hash_only(), "exact", RENEWED),
        ("lineage", "thumbprint", hash_only(), "exact", RENEWED),
        ("strict", "spiffe_id", principal_only(), "ROTATION_STRICT", "ROTATION_STRICT"),
        ("identity", "spiffe_id", principal_only(), "same-identity", "same-identity"),
        ("identity", "thumbprint", principal_only(), weak, weak),
        ("lineage", "spiffe_id", principal_only(), "ROTATION_STRICT", "ROTATION_STRICT"),
    ] {
        let Some(rotating) = Rotating::start(rotation, least, changes).await else { return };
        let checkout = rotating.mesh.checkout.clone();
        assert_eq!(rotating.verdict(&checkout).await, same, "{rotation} {least}");
        assert_eq!(rotating.verdict(&rotating.another(10, None)).await, renewed, "{rotation} {least}");
        let thief = rotating.verdict(&rotating.mesh.thief).await;
        assert!(
            !["exact", "same-identity", "lineage", RENEWED].contains(&thief.as_str()),
            "{rotation} {least}: {thief}"
        );
    }
}

#[tokio::test]
async fn a_lineage_passes_by_certificate_and_by_hash_within_its_window_and_generations() {
    for changes in [Vec::new(), hash_only()] {
        let Some(rotating) = Rotating::start("lineage", "thumbprint", changes).await else { return };
        let mut present = rotating.mesh.checkout.clone();
        let mut descendants = Vec::new();
        for generation in 1..=5_i64 {
            let next = rotating.another(generation * 5, None);
            assert_eq!(rotating.verdict(&next).await, RENEWED, "not announced yet");
            rotating.announce(&present, &next).await.unwrap();
            let second = rotating.announce(&present, &rotating.another(50, None)).await;
            assert_eq!(refusal(second), (Code::Aborted, "SUCCESSOR_TAKEN".to_owned()));
            let expected = match generation {
                1..=3 => "lineage",
                4 => "LINEAGE_OVER",
                _ => RENEWED,
            };
            assert_eq!(rotating.verdict(&next).await, expected, "{generation}");
            descendants.push(next.clone());
            present = next;
        }
        assert_eq!(rotating.verdict(&rotating.another(55, None)).await, RENEWED, "a sibling of them all");
        rotating.mesh.server.advance(std::time::Duration::from_mins(15));
        rotating.mesh.server.is_fresh_again().await;
        assert_eq!(rotating.verdict(&descendants[0]).await, "LINEAGE_OVER");
        assert_eq!(rotating.verdict(&rotating.mesh.checkout).await, "exact");
    }
}
