//! The rules of places, without a server.

use std::net::IpAddr;
use std::pin::pin;

use futures_util::FutureExt as _;

use super::*;

#[expect(clippy::unnecessary_wraps, reason = "connections over Unix sockets have none")]
fn origin(last: u8) -> Option<Origin> {
    Some(Origin::from(IpAddr::from([10, 0, 0, last])))
}

fn is_displaced(place: &mut Place) -> bool {
    matches!(place.displaced.try_recv(), Err(oneshot::error::TryRecvError::Closed))
}

fn displaced_of(held: &mut [Place]) -> Vec<usize> {
    held.iter_mut().enumerate().filter_map(|(place, one)| is_displaced(one).then_some(place)).collect()
}

#[tokio::test]
async fn the_oldest_goes_first_and_only_when_all_places_are_taken() {
    let places = Places::new(4, Duration::ZERO);
    let mut held: Vec<_> = (0..4).map(|number| places.take_at_once(origin(number))).collect();
    assert_eq!((displaced_of(&mut held), places.taken()), (vec![], 4));
    let _next = places.take_at_once(origin(9));
    assert_eq!((displaced_of(&mut held), places.taken()), (vec![0], 4));
    // A place that is given back is taken before another is given away.
    drop(held.remove(2));
    let _next = places.take_at_once(origin(10));
    assert_eq!((displaced_of(&mut held), places.taken()), (vec![0], 4));
    let _next = places.take_at_once(None);
    assert_eq!((displaced_of(&mut held), places.taken()), (vec![0, 1], 4));
    assert_eq!(Displaced::ALL.map(|why| places.displaced(why)), [2, 0]);
    // Whoever was displaced gives nothing back.
    drop(held);
    assert_eq!(places.taken(), 3);
    assert!(!places.make_room(Duration::from_hours(1)) && places.make_room(Duration::ZERO));
    assert_eq!(places.taken(), 2);
}

#[tokio::test]
async fn beyond_its_share_an_origin_loses_its_own_oldest_once_half_are_taken() {
    let places = Places::new(32, Duration::ZERO);
    // Below half it may have as many as it wants.
    let mut many: Vec<_> = (0..16).map(|_| places.take_at_once(origin(1))).collect();
    assert_eq!(displaced_of(&mut many), Vec::<usize>::new());
    many.push(places.take_at_once(origin(1)));
    assert_eq!((displaced_of(&mut many), places.taken()), (vec![0], 16));
    let mut others: Vec<_> = (2..16).map(|number| places.take_at_once(origin(number))).collect();
    others.push(places.take_at_once(None));
    others.push(places.take_at_once(None));
    assert_eq!((displaced_of(&mut many).len(), displaced_of(&mut others), places.taken()), (1, vec![], 32));
    // Two each is the share.
    others.push(places.take_at_once(origin(2)));
    assert_eq!((displaced_of(&mut many).len(), displaced_of(&mut others)), (2, vec![]));
    others.push(places.take_at_once(origin(2)));
    assert_eq!((displaced_of(&mut many).len(), displaced_of(&mut others)), (2, vec![0]));
    assert_eq!(Displaced::ALL.map(|why| places.displaced(why)), [1, 2]);
}

#[tokio::test]
async fn a_place_whose_origin_is_learnt_later_counts_for_it() {
    let places = Places::new(4, Duration::ZERO);
    let mut held: Vec<_> = (0..2).map(|_| places.take_at_once(None)).collect();
    held[1].belongs_to(origin(1));
    let _other = places.take_at_once(origin(1));
    assert_eq!(displaced_of(&mut held), [1]);
    held[0].belongs_to(origin(2));
    held[0].belongs_to(None);
    let _other = places.take_at_once(origin(2));
    assert_eq!(displaced_of(&mut held), [1]);
    assert_eq!(places.lock().of_origins.len(), 2);
}

#[tokio::test]
async fn whoever_was_displaced_is_waited_for_until_it_has_gone() {
    let places = Places::new(1, Duration::ZERO);
    let first = places.take_at_once(None);
    let (departure, hour) = (first.departure(), Duration::from_hours(1));
    assert!(!places.make_room(hour));
    let second = places.take_at_once(None);
    assert!(places.make_room(hour));
    drop(first);
    assert!(places.make_room(hour));
    drop(departure);
    assert!(!places.make_room(hour));
    drop(second);
    assert!(!places.make_room(Duration::ZERO));
}

#[tokio::test]
async fn a_place_is_kept_for_its_time_and_others_wait_for_it_or_for_one_given_back() {
    let places = Places::new(2, Duration::from_hours(1));
    let (mut first, second) = (places.take(origin(1)).await, places.take(origin(2)).await);
    let mut third = pin!(places.take(origin(3)));
    assert!(third.as_mut().now_or_never().is_none());
    drop(second);
    let _third = third.await;
    // Beyond its share it waits for a place of its own alone.
    assert!(places.take(origin(1)).now_or_never().is_none());
    assert_eq!((is_displaced(&mut first), places.taken()), (false, 2));

    let places = Places::new(2, Duration::from_millis(1));
    let mut held = vec![places.take(origin(1)).await, places.take(origin(2)).await];
    let _third = places.take(origin(3)).await;
    assert_eq!(displaced_of(&mut held), [0]);
    let _fourth = places.take(origin(2)).await;
    assert_eq!(displaced_of(&mut held), [0, 1]);
    assert_eq!(Displaced::ALL.map(|why| places.displaced(why)), [1, 1]);
}

#[tokio::test]
async fn whoever_has_what_it_waited_for_is_not_ended() {
    let places = Places::new(1, Duration::ZERO);
    let mut place = places.take_at_once(None);
    let (send, receive) = oneshot::channel();
    let _next = places.take_at_once(None);
    send.send(7).unwrap();
    assert_eq!(place.during(pin!(receive)).await, Some(Ok(7)));
    let (_held, receive) = oneshot::channel::<()>();
    assert_eq!(place.during(pin!(receive)).await, None);
}
