//! Who approves, rejects and sees a proposal: another admin, and never the same one by another certificate.

use lanyard::authority::access::ControlledKind;
use lanyard::authority::access::GrantMetadata;
use lanyard::authority::access::RoleGrants;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::ProposalError;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::state::Caller;

use super::support::SECOND;
use super::support::all_of;
use super::support::approve;
use super::support::by;
use super::support::caller;
use super::support::clients;
use super::support::proposed;
use super::support::reject;
use super::support::waiting;
use super::support::with;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::ca::self_signed;

const TEAM: &str = "spiffe://prod.example/ns/shop-admins/ci";

fn create(fixture: &TestAuthority, caller: &Caller, metadata: ClientMetadata) -> Result<(), RegistryError> {
    ready(fixture.authority.create_client(caller.author(None), metadata, false)).map(drop)
}

fn thumbprint_of(peer: &PeerIdentity) -> RoleHolder {
    RoleHolder::Thumbprint(peer.thumbprint())
}

/// Names the admins anew.
fn admins(fixture: &TestAuthority, admins: Vec<RoleHolder>) {
    fixture.authority.replace_roles(RoleGrants { admins, ..RoleGrants::default() });
}

fn spiffe(id: &str) -> RoleHolder {
    RoleHolder::Spiffe(SpiffeIdPattern::parse(id).unwrap())
}

#[test]
fn who_proposed_does_not_approve_with_the_same_certificate_nor_with_a_renewed_one() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let admin = by(&fixture, ADMIN);
    let id = proposed(create(&fixture, &admin, spiffe_client(CHECKOUT)));
    assert_eq!(approve(&fixture, &admin, &id), Err(ProposalError::OwnProposal));
    let renewed = by(&fixture, ADMIN);
    assert_ne!(renewed.identity.thumbprint(), admin.identity.thumbprint());
    assert_eq!(approve(&fixture, &renewed, &id), Err(ProposalError::OwnProposal));
    assert!(fixture.authority.client(CHECKOUT).is_err());
    approve(&fixture, &by(&fixture, SECOND), &id).unwrap();
}

#[test]
fn admins_by_certificate_are_the_same_by_the_names_in_it_or_by_a_client_that_both_are() {
    let fixture = with(clients(&[CHECKOUT]));
    let leaves = [
        self_signed("ops").issue(),
        self_signed("ops").issue(),
        self_signed("night").issue(),
        self_signed("day").issue(),
    ];
    let named = |index: usize| {
        let client = self_signed_client("shift", &format!("{}{}", leaves[2].pem(), leaves[index].pem()));
        create(&fixture, &by(&fixture, ADMIN), client)
    };
    // Both shifts are one client.
    named(3).unwrap();
    let holders = leaves.iter().map(|leaf| {
        let der = leaf.certificate();
        RoleHolder::Thumbprint(lanyard::authority::identity::CertificateThumbprint::of(der))
    });
    admins(&fixture, holders.chain([spiffe(ADMIN)]).collect());
    let peers = leaves.each_ref().map(|leaf| fixture.peer(leaf));
    let [first, renewed, night, day] = peers.each_ref().map(|peer| caller(&fixture, peer));
    let id = proposed(create(&fixture, &first, spiffe_client(CHECKOUT)));
    assert_eq!(approve(&fixture, &renewed, &id), Err(ProposalError::OwnProposal));
    reject(&fixture, &night, &id).unwrap();
    let id = proposed(create(&fixture, &night, spiffe_client(CHECKOUT)));
    assert_eq!(approve(&fixture, &day, &id), Err(ProposalError::OwnProposal));
    approve(&fixture, &first, &id).unwrap();
    assert_eq!(thumbprint_of(&peers[0]), RoleHolder::Thumbprint(first.identity.thumbprint()));
}

#[test]
fn two_admins_below_the_same_pattern_are_two() {
    let fixture = with(clients(&[CHECKOUT]));
    create(&fixture, &by(&fixture, ADMIN), named_spiffe_client("ops", "spiffe://prod.example/ns/ops/*")).unwrap();
    let id = proposed(create(&fixture, &by(&fixture, ADMIN), spiffe_client(CHECKOUT)));
    approve(&fixture, &by(&fixture, SECOND), &id).unwrap();
}

#[test]
fn what_somebody_proposed_who_is_no_admin_any_more_or_is_revoked_is_not_made() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let id = proposed(create(&fixture, &by(&fixture, ADMIN), spiffe_client(CHECKOUT)));
    admins(&fixture, vec![spiffe(SECOND)]);
    assert_eq!(approve(&fixture, &by(&fixture, SECOND), &id), Err(ProposalError::ProposerNotAllowed));
    admins(&fixture, vec![spiffe(SECOND), spiffe(ADMIN)]);
    let second = by(&fixture, SECOND);
    let requester =
        lanyard::authority::access::Requester { client_id: None, roles: second.roles.clone(), sender: second.sender() };
    let revoked = lanyard::authority::registration::ClientId::parse(ADMIN).unwrap();
    let request = RevokeRequest::Client(revoked, None);
    ready(fixture.authority.revoke(&second, &requester, request, LastAdmin::Stays)).unwrap();
    assert_eq!(approve(&fixture, &by(&fixture, SECOND), &id), Err(ProposalError::ProposerNotAllowed));
    assert!(fixture.authority.client(CHECKOUT).is_err());
}

fn shop(scope: &str) -> GrantMetadata {
    GrantMetadata {
        name: "shop".to_owned(),
        admins: vec!["spiffe://prod.example/ns/shop-admins/*".to_owned()],
        spiffe_ids: vec!["spiffe://prod.example/ns/shop/*".to_owned()],
        audiences: vec![crate::support::authority::ORDERS.to_owned()],
        scope: scope.to_owned(),
        owners: vec!["team-shop".to_owned()],
        ..GrantMetadata::default()
    }
}

fn of_shop() -> ClientMetadata {
    ClientMetadata { owner: Some("team-shop".to_owned()), ..spiffe_client(CHECKOUT) }
}

#[test]
fn what_a_team_proposes_is_within_its_grant_when_it_is_proposed_and_when_it_is_approved() {
    let fixture = with(all_of(&[ControlledKind::Client]));
    let grant = |scope: &str| {
        let (admin, present) = (by(&fixture, ADMIN), fixture.authority.view().snapshot.grants.named("shop").cloned());
        match present {
            None => ready(fixture.authority.create_grant(admin.author(None), shop(scope), false)),
            Some(present) => {
                ready(fixture.authority.update_grant(admin.author(None), shop(scope), present.revision, false))
            }
        }
        .unwrap();
    };
    grant("orders.read orders.write");
    let team = by(&fixture, TEAM);
    let beyond = ClientMetadata { scope: "orders.admin".to_owned(), ..of_shop() };
    assert!(matches!(create(&fixture, &team, beyond), Err(RegistryError::NotGranted(_))));
    let id = proposed(create(&fixture, &team, of_shop()));
    // No team's admin approves: a grant names them by patterns.
    let another = by(&fixture, "spiffe://prod.example/ns/shop-admins/other");
    assert_eq!((waiting(&fixture, &team), waiting(&fixture, &another)), (vec![id.clone()], vec![]));
    assert_eq!(reject(&fixture, &another, &id), Err(ProposalError::NotYours));
    grant("orders.read");
    let refused = approve(&fixture, &by(&fixture, SECOND), &id).unwrap_err();
    assert!(matches!(refused, ProposalError::Registry(RegistryError::NotGranted(_))), "{refused:?}");
    grant("orders.read orders.write");
    approve(&fixture, &by(&fixture, SECOND), &id).unwrap();
    assert_eq!(&*fixture.authority.client(CHECKOUT).unwrap().record.created_by, TEAM);
    // One that it withdraws.
    let less = ClientMetadata { scope: "orders.read".to_owned(), ..of_shop() };
    let from = fixture.authority.client(CHECKOUT).unwrap().revision;
    let id = proposed(ready(fixture.authority.update_client(team.author(None), less, from, false)));
    reject(&fixture, &by(&fixture, TEAM), &id).unwrap();
    assert_eq!(approve(&fixture, &by(&fixture, SECOND), &id), Err(ProposalError::NotFound));
}
