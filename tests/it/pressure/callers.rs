//! Shares without a server: who has which, what is remembered, and which connections go first.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::CallerIdentity;
use lanyard::authority::access::Limit;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::limits::CallerRole;
use lanyard::limits::Callers;
use lanyard::limits::Config;
use lanyard::limits::Connection;
use lanyard::limits::Machine;
use lanyard::limits::REQUEST_BYTES;
use lanyard::limits::Reserve;
use lanyard::limits::Selector;
use lanyard::limits::SetBounds;
use lanyard::limits::SetCallerBounds;
use lanyard::limits::Shares;

use crate::support::authority::TestAuthority;

const MACHINE: Machine = Machine { memory_bytes: 512 * 1024 * 1024, cores: 2 };

fn connections(address: usize, identity: usize) -> SetCallerBounds {
    let of = |connections| SetBounds { connections: NonZero::new(connections), ..SetBounds::default() };
    SetCallerBounds { address: of(address), identity: of(identity) }
}

fn shares(entries: Vec<(Selector, SetCallerBounds)>, tracked: usize, idle_after: Duration) -> Arc<Shares> {
    let callers = Callers::new(entries, 10_000, MACHINE);
    let config = Config { queue_delay: Duration::from_millis(5), idle_after, buffered_bytes: 1 << 30, callers };
    Shares::new(config, tracked)
}

#[expect(clippy::unnecessary_wraps, reason = "shares take an Option")]
fn address(number: u8) -> Option<IpAddr> {
    Some(Ipv4Addr::new(10, 0, 0, number).into())
}

const NEVER: Duration = Duration::from_hours(1);

struct Fixture {
    authority: TestAuthority,
    reserve: Arc<Reserve>,
}

impl Fixture {
    fn new(places: usize) -> Self {
        Self { authority: TestAuthority::new(), reserve: Arc::new(Reserve::new(places)) }
    }

    fn peer(&self, path: &str) -> CallerIdentity {
        CallerIdentity::Certificate(Arc::new(self.authority.svid(&format!("spiffe://prod.example{path}"))))
    }

    fn open(&self, shares: &Arc<Shares>, peer: &CallerIdentity, role: CallerRole, from: u8) -> Option<Connection> {
        let opened = shares.open(Some(peer), role, address(from), &self.reserve);
        opened.inspect_err(|exceeded| assert_eq!(exceeded.limit, Limit::Connections)).ok()
    }
}

#[test]
fn fifty_replicas_at_addresses_of_their_own_each_have_a_share_and_one_for_all() {
    let entries = vec![(Selector::Role(CallerRole::Workload), connections(2, 100))];
    let (fixture, shares) = (Fixture::new(1000), shares(entries, 1000, NEVER));
    let gateway = fixture.peer("/gateway");
    let mut open = Vec::new();
    for replica in 0..50 {
        for _ in 0..2 {
            open.push(fixture.open(&shares, &gateway, CallerRole::Workload, replica).unwrap());
        }
        assert!(fixture.open(&shares, &gateway, CallerRole::Workload, replica).is_none(), "{replica}");
    }
    // The identity has all of its own; others are not concerned.
    assert!(fixture.open(&shares, &gateway, CallerRole::Workload, 50).is_none());
    assert!(fixture.open(&shares, &fixture.peer("/other"), CallerRole::Workload, 0).is_some());
    drop(open.pop());
    assert!(fixture.open(&shares, &gateway, CallerRole::Workload, 50).is_some());
}

#[test]
fn a_tenth_of_the_places_is_for_proxies_and_admins_whose_own_shares_count_too() {
    let entries = vec![(Selector::Role(CallerRole::Proxy), connections(2, 2))];
    let (fixture, shares) = (Fixture::new(40), shares(entries, 1000, NEVER));
    let workloads: Vec<_> = (0..36).map(|number| fixture.peer(&format!("/{number}"))).collect();
    let open = |peer: &CallerIdentity, role| fixture.open(&shares, peer, role, 1);
    let held: Vec<_> = workloads.iter().map(|peer| open(peer, CallerRole::Workload).unwrap()).collect();
    assert!(open(&fixture.peer("/late"), CallerRole::Workload).is_none());
    let proxy = fixture.peer("/proxy");
    let proxies = [open(&proxy, CallerRole::Proxy).unwrap(), open(&proxy, CallerRole::Proxy).unwrap()];
    assert!(open(&proxy, CallerRole::Proxy).is_none());
    assert!(open(&fixture.peer("/admin"), CallerRole::Admin).is_some());
    drop((held, proxies));
    assert!(open(&fixture.peer("/late"), CallerRole::Workload).is_some());
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_goes_first_and_none_with_a_request() {
    let entries = vec![(Selector::Role(CallerRole::Workload), connections(3, 3))];
    let (fixture, shares) = (Fixture::new(1000), shares(entries, 1000, Duration::ZERO));
    let peer = fixture.peer("/checkout");
    let open = || fixture.open(&shares, &peer, CallerRole::Workload, 1);
    let (first, second, third) = (open().unwrap(), open().unwrap(), open().unwrap());
    let busy = first.busy();
    let fourth = open().unwrap();
    // It is told to end, and counts no more; dropping it changes nothing.
    second.superseded().await;
    drop(second);
    let _held = (third.busy(), fourth.busy());
    assert!(open().is_none());
    drop(busy);
    assert!(open().is_some());
    first.superseded().await;
}

#[test]
fn a_connection_that_has_just_had_a_request_is_not_idle() {
    let entries = vec![(Selector::Role(CallerRole::Workload), connections(1, 1))];
    let (fixture, shares) = (Fixture::new(1000), shares(entries, 1000, NEVER));
    let peer = fixture.peer("/checkout");
    let held = fixture.open(&shares, &peer, CallerRole::Workload, 1).unwrap();
    drop(held.busy());
    assert!(fixture.open(&shares, &peer, CallerRole::Workload, 1).is_none());
}

#[test]
fn callers_are_remembered_up_to_a_bound_and_one_that_holds_something_always() {
    let (fixture, shares) = (Fixture::new(1000), shares(Vec::new(), 64, NEVER));
    let peer = fixture.peer("/checkout");
    let held = fixture.open(&shares, &peer, CallerRole::Workload, 1).unwrap();
    let under_way = shares.share(Some(&fixture.peer("/busy")), CallerRole::Workload, address(1)).begin(0).unwrap();
    for number in 0..1000_u32 {
        let address = Some(Ipv4Addr::from(number).into());
        drop(shares.share(Some(&peer), CallerRole::Workload, address));
        assert!(shares.tracked() <= 64, "{number}");
    }
    let again = shares.share(Some(&peer), CallerRole::Workload, address(1));
    assert!(Arc::ptr_eq(held.share(), &again));
    let busy = shares.share(Some(&fixture.peer("/busy")), CallerRole::Workload, address(1));
    assert!(Arc::ptr_eq(under_way.share(), &busy));
    // Where all are needed, the bound gives way and not they.
    let all: Vec<_> = (0..100).map(|number| shares.share(Some(&peer), CallerRole::Workload, address(number))).collect();
    assert!(shares.tracked() >= 100);
    drop(all);
    drop(shares.share(Some(&peer), CallerRole::Workload, address(200)));
    assert!(shares.tracked() <= 64);
}

#[test]
fn the_most_specific_entry_is_a_callers_share() {
    let fixture = Fixture::new(10);
    let pattern = |text: &str| Selector::Holder(RoleHolder::Spiffe(SpiffeIdPattern::parse(text).unwrap()));
    let peer = fixture.peer("/shop/checkout");
    let mut entries = vec![(Selector::Role(CallerRole::Workload), connections(1, 10))];
    let bounds = |entries: &[(Selector, SetCallerBounds)], role| {
        Callers::new(entries.to_vec(), 10_000, MACHINE).bounds_of(Some(&peer), role).address.connections
    };
    assert_eq!(bounds(&entries, CallerRole::Workload), 1);
    let default = bounds(&[], CallerRole::Proxy);
    assert_eq!(bounds(&entries, CallerRole::Proxy), default);
    for (connections_of, selector) in [
        (2, pattern("spiffe://prod.example/*")),
        (3, pattern("spiffe://prod.example/shop/*")),
        (4, pattern("spiffe://prod.example/shop/checkout")),
        (5, Selector::Holder(RoleHolder::Thumbprint(peer.certificate().unwrap().thumbprint()))),
    ] {
        // In whatever order they are listed.
        entries.insert(0, (selector, connections(connections_of, 10)));
        assert_eq!(bounds(&entries, CallerRole::Proxy), connections_of);
        assert_eq!(bounds(&entries.iter().rev().cloned().collect::<Vec<_>>(), CallerRole::Workload), connections_of);
    }
    entries.insert(0, (pattern("spiffe://prod.example/shop/other"), connections(6, 10)));
    assert_eq!(bounds(&entries, CallerRole::Workload), 5);
}

#[test]
fn bytes_and_requests_are_released_when_they_are_done_and_by_nobody_twice() {
    let bytes = |requests: usize| requests * REQUEST_BYTES;
    let of = |most| SetBounds {
        requests: NonZero::new(most),
        buffered_bytes: NonZero::new(bytes(most)),
        ..SetBounds::default()
    };
    let set = SetCallerBounds { address: of(100), identity: of(150) };
    let (fixture, shares) = (Fixture::new(10), shares(vec![(Selector::Role(CallerRole::Workload), set)], 64, NEVER));
    let peer = fixture.peer("/checkout");
    let share = |from| shares.share(Some(&peer), CallerRole::Workload, address(from));
    let (one, two) = (share(1), share(2));
    let (mut first, mut second) = (one.hold(), two.hold());
    first.add(bytes(100)).unwrap();
    assert_eq!(first.add(1).unwrap_err().limit, Limit::BufferedBytes);
    // Of the identity's 150 requests, 50 are left, at whatever address.
    assert!(second.add(bytes(50) + 1).is_err() && second.add(bytes(50)).is_ok());
    first.keep(10);
    second.add(bytes(50)).unwrap();
    // What is there already is held beyond the bounds too, and released as the rest.
    first.add_anyway(bytes(500));
    assert_eq!((first.bytes(), second.bytes()), (bytes(500) + 10, bytes(100)));
    assert!(second.add(1).is_err());
    drop(first);
    drop(second);
    assert!(one.hold().add(bytes(100)).is_ok() && two.hold().add(bytes(50)).is_ok());
    let held: Vec<_> = (0..100).map(|_| one.begin(0).unwrap()).collect();
    assert_eq!(one.begin(0).unwrap_err().limit, Limit::Requests);
    let others: Vec<_> = (0..50).map(|_| two.begin(0).unwrap()).collect();
    assert_eq!(two.begin(0).unwrap_err().limit, Limit::Requests);
    drop((held, others));
    // A request that is under way takes bytes, and its head.
    let mut rest = one.hold();
    rest.add(bytes(99)).unwrap();
    assert_eq!(one.begin(1).unwrap_err().limit, Limit::BufferedBytes);
    drop(rest);
    assert!(one.begin(0).is_ok() && two.begin(0).is_ok());
}
