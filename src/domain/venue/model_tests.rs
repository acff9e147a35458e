//! A venue against a plain model, driven without an engine: whatever is asked, at whatever time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::slot::Slot;
use super::tests::{decide_at, decide_in, run_at, venue};
use super::*;
use crate::clock::Timestamp;
use crate::layout::SeatIndex;

const LABELS: [&str; 6] = ["A1", "A2", "A3", "B1", "B2", "B3"];

/// A command, but for the tokens, which only a run gives.
#[derive(Clone, Debug)]
enum Ask {
    Of(VenueCommand),
    /// What, by its owner or by somebody else, and about which of the holds so far.
    Hold(Deed, Option<u64>, usize),
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Confirm,
    Extend(u64),
    Release,
}

fn ask() -> impl Strategy<Value = Ask> {
    let seat = prop::sample::select([&LABELS[..], &["Z9"]].concat());
    let cart = || {
        prop::collection::btree_set(seat.clone(), 1..4)
            .prop_flat_map(|cart| Just(cart.into_iter().collect::<Vec<_>>()).prop_shuffle())
    };
    let customer = || 1u64..4;
    let time = || {
        (1u64..12, 0u64..12)
            .prop_map(|(ttl, more)| HoldTime { ttl: micros(ttl), lifetime: micros(ttl + more) })
    };
    let category = prop::option::of(prop::sample::select(vec!["cheap", "dear", "none"]));
    let best = || {
        (1u32..5, category.clone()).prop_map(|(seats, name)| Best { seats, category: name.map(Into::into) })
    };
    let deed = prop_oneof![2 => Just(Deed::Confirm), 2 => (1u64..12).prop_map(Deed::Extend), 1 => Just(Deed::Release)];
    prop_oneof![
        3 => (customer(), cart()).prop_map(|(who, cart)| Ask::Of(VenueCommand::reserve(who, cart))),
        2 => (customer(), cart()).prop_map(|(who, cart)| Ask::Of(VenueCommand::release(who, cart))),
        1 => cart().prop_map(|cart| Ask::Of(VenueCommand::force_release(cart, "because"))),
        4 => (customer(), cart(), time()).prop_map(|(who, cart, time)| Ask::Of(VenueCommand::hold(who, cart, time))),
        1 => (customer(), best()).prop_map(|(who, best)| Ask::Of(VenueCommand::reserve_best(who, best))),
        2 => (customer(), best(), time()).prop_map(|(who, best, time)| Ask::Of(VenueCommand::hold_best(who, best, time))),
        6 => (deed, prop_oneof![3 => Just(None), 1 => customer().prop_map(Some)], any::<usize>())
            .prop_map(|(deed, who, which)| Ask::Hold(deed, who, which)),
    ]
}

fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

#[derive(Clone, Debug)]
struct Held {
    token: HoldToken,
    customer: u64,
    seats: Vec<usize>,
    deadline: u64,
    latest: u64,
    price: u64,
    ended: bool,
}

/// What a venue should do, said in the plainest way.
#[derive(Clone, Debug, Default)]
struct Model {
    limit: Option<u32>,
    sold: BTreeMap<usize, u64>,
    sales: [u32; 6],
    holds: Vec<Held>,
    now: u64,
    /// The time of the last event about a hold.
    known: u64,
}

impl Model {
    fn live(&self) -> impl Iterator<Item = &Held> {
        self.holds.iter().filter(|hold| !hold.ended && self.now < hold.deadline)
    }

    fn held(&self, seat: usize) -> Option<&Held> {
        self.live().find(|hold| hold.seats.contains(&seat))
    }

    fn is_free(&self, seat: usize) -> bool {
        !self.sold.contains_key(&seat) && self.held(seat).is_none()
    }

    fn has(&self, customer: u64) -> (usize, usize) {
        let reserved = self.sold.values().filter(|holder| **holder == customer).count();
        (reserved, self.live().filter(|hold| hold.customer == customer).map(|hold| hold.seats.len()).sum())
    }

    fn fits(&self, customer: u64, more: usize) -> bool {
        let (reserved, held) = self.has(customer);
        self.limit.is_none_or(|limit| reserved + held + more <= limit as usize)
    }

    /// The blocks of the hall that are wanted, the best first.
    fn blocks(best: &Best) -> Vec<Vec<usize>> {
        let mut blocks = Vec::new();
        for (first, category) in [(0_usize, "cheap"), (3, "dear")] {
            let wanted = best.category.as_ref().is_none_or(|name| name == category);
            let length = best.seats as usize;
            let mut starts: Vec<_> = (first..(first + 4).saturating_sub(length).max(first)).collect();
            starts.sort_by_key(|start| ((start * 2 + length - 1).abs_diff(first * 2 + 2), *start));
            blocks
                .extend(starts.into_iter().filter(|_| wanted).map(|start| (start..start + length).collect()));
        }
        blocks
    }

    fn sell(&mut self, customer: u64, seats: &[usize]) {
        for seat in seats {
            self.sold.insert(*seat, customer);
            self.sales[*seat] += 1;
        }
    }

    /// Whether the command is accepted, and what it changes; a block that was chosen, and the token of a hold, are
    /// taken from the events, and judged.
    fn run(&mut self, command: &VenueCommand, events: &[VenueEvent]) -> bool {
        let cart = |labels: &SeatLabels| -> Option<Vec<usize>> {
            labels.iter().map(|label| LABELS.iter().position(|known| known == label)).collect()
        };
        let chosen =
            || events.iter().flat_map(|event| event.seats()).map(|seat| seat.index()).collect::<Vec<_>>();
        match command {
            VenueCommand::Reserve { customer, seats } | VenueCommand::Hold { customer, seats, .. } => {
                let seats = cart(seats);
                let free = |seats: &Vec<usize>| seats.iter().all(|seat| self.is_free(*seat));
                let Some(seats) = seats.filter(|seats| free(seats) && self.fits(*customer, seats.len()))
                else {
                    return false;
                };
                self.take(command, *customer, seats, events);
                true
            }
            VenueCommand::ReserveBest { customer, best } | VenueCommand::HoldBest { customer, best, .. } => {
                let mut free = Self::blocks(best);
                free.retain(|block| block.iter().all(|seat| self.is_free(*seat)));
                if free.is_empty() || !self.fits(*customer, best.seats as usize) {
                    return false;
                }
                let block = chosen();
                let all_known = self
                    .holds
                    .iter()
                    .all(|hold| hold.ended || self.now < hold.deadline || hold.deadline <= self.known);
                assert!(free.contains(&block), "{block:?} of {free:?}");
                assert!(!all_known || block == free[0], "{block:?} of {free:?}");
                self.take(command, *customer, block, events);
                true
            }
            VenueCommand::Release { customer, seats } => {
                let his = |seat: &usize| self.sold.get(seat) == Some(customer);
                let Some(seats) = cart(seats).filter(|seats| seats.iter().all(his)) else { return false };
                self.sold.retain(|seat, _| !seats.contains(seat));
                true
            }
            VenueCommand::ForceRelease { seats, .. } => {
                let Some(seats) = cart(seats).filter(|seats| !seats.iter().any(|seat| self.is_free(*seat)))
                else {
                    return false;
                };
                self.sold.retain(|seat, _| !seats.contains(seat));
                let now = self.now;
                let live = self.holds.iter_mut().filter(|hold| now < hold.deadline);
                for hold in live.filter(|hold| hold.seats.iter().any(|seat| seats.contains(seat))) {
                    hold.ended = true;
                }
                true
            }
            VenueCommand::Confirm { customer, token } => match self.live_hold(*customer, *token) {
                Some(hold) => {
                    hold.ended = true;
                    let (seats, price) = (hold.seats.clone(), hold.price);
                    assert!(
                        matches!(events[0], VenueEvent::Confirmed { price_total, .. } if price_total == price)
                    );
                    assert_eq!(chosen(), seats);
                    self.sell(*customer, &seats);
                    true
                }
                None => false,
            },
            VenueCommand::Extend { customer, token, ttl } => {
                let now = self.now;
                let Some(hold) = self.live_hold(*customer, *token) else { return false };
                let wanted = now + ttl.as_micros() as u64;
                let at_end = hold.deadline == hold.latest && wanted > hold.deadline;
                if wanted > hold.deadline && !at_end {
                    hold.deadline = wanted.min(hold.latest);
                    self.known = now;
                } else {
                    assert!(events.is_empty());
                }
                !at_end
            }
            VenueCommand::ReleaseHold { customer, token } => {
                self.live_hold(*customer, *token).map(|hold| hold.ended = true).is_some()
            }
            VenueCommand::Create { .. } => false,
        }
    }

    fn take(&mut self, command: &VenueCommand, customer: u64, seats: Vec<usize>, events: &[VenueEvent]) {
        let time = match command {
            VenueCommand::Hold { time, .. } | VenueCommand::HoldBest { time, .. } => *time,
            _ => return self.sell(customer, &seats),
        };
        let token = events[0].hold().expect("held").token;
        assert!(self.holds.iter().all(|hold| hold.token != token), "{token} names two holds");
        let price = seats.iter().map(|seat| if *seat < 3 { 5 } else { 300 }).sum();
        let (ttl, lifetime) = (time.ttl.as_micros() as u64, time.lifetime.as_micros() as u64);
        let (deadline, latest) = (self.now + ttl, self.now + lifetime);
        self.holds.push(Held { token, customer, seats, deadline, latest, price, ended: false });
        self.known = self.now;
    }

    fn live_hold(&mut self, customer: u64, token: HoldToken) -> Option<&mut Held> {
        let now = self.now;
        let mut live = self.holds.iter_mut().filter(|hold| !hold.ended && now < hold.deadline);
        live.find(|hold| hold.token == token && hold.customer == customer)
    }

    fn command(&self, ask: &Ask) -> VenueCommand {
        let (deed, who, which) = match ask {
            Ask::Of(command) => return command.clone(),
            Ask::Hold(deed, who, which) => (*deed, *who, *which),
        };
        // Now and then one that never was.
        let hold = self.holds.get(which % (self.holds.len() + 1));
        let token = hold.map_or(HoldToken::from_u64(which as u64), |hold| hold.token);
        let customer = who.or(hold.map(|hold| hold.customer)).unwrap_or(1);
        match deed {
            Deed::Confirm => VenueCommand::confirm(customer, token),
            Deed::Extend(ttl) => VenueCommand::extend(customer, token, micros(ttl)),
            Deed::Release => VenueCommand::release_hold(customer, token),
        }
    }

    fn assert_same(&self, state: &VenueState<u64>) {
        let now = Timestamp(self.now);
        let mut free = 0;
        for (seat, status) in state.statuses(now) {
            let index = seat.index();
            let expected = match (self.sold.get(&index), self.held(index)) {
                (Some(customer), None) => SeatStatus::Reserved { customer },
                (None, Some(Held { customer, deadline, .. })) => {
                    SeatStatus::Held { customer, until: Timestamp(*deadline) }
                }
                (None, None) => SeatStatus::Free,
                both => panic!("{both:?}"),
            };
            assert_eq!((status, state.status(seat, now)), (expected, Some(expected)), "seat {seat}");
            assert_eq!(state.is_free(seat, now), expected == SeatStatus::Free);
            assert_eq!(state.holder(seat), self.sold.get(&index));
            assert_eq!(state.sales(seat), self.sales[index]);
            free += u32::from(expected == SeatStatus::Free);
        }
        assert_eq!((state.sold() as usize, state.available(now)), (self.sold.len(), free));
        for hold in &self.holds {
            let live = !hold.ended && self.now < hold.deadline;
            assert_eq!(state.hold(hold.token, now).is_some(), live, "{hold:?}");
        }
        for customer in 1..4 {
            let (reserved, held) = self.has(customer);
            let limited = |count: usize| self.limit.map(|_| count as u32);
            assert_eq!(state.count(&customer), limited(reserved));
            assert_eq!(state.count_held(&customer, now), limited(held));
        }
    }
}

/// The same state, with everything changed that the scope does not name.
fn perturbed(state: &VenueState<u64>, scope: &Scope, noise: u64, now: Timestamp) -> VenueState<u64> {
    let mut other = state.clone();
    if *scope == Scope::Whole {
        return other;
    }
    let hold = |seat: u64| Hold {
        token: HoldToken::from_u64(seat << 32 | 77),
        customer: noise % 3 + 1,
        seats: SeatList::from_slice(&[SeatIndex(seat as u32)]),
        price_total: 1,
        deadline: Timestamp((now.0 + (noise >> seat & 3)).saturating_sub(1)),
        latest: now,
    };
    for seat in (0..6).filter(|seat| !scope.named().contains(&Part::number(SEAT, *seat))) {
        let (sales, turn) = ((noise & 7) as u16, (noise >> seat & 7) as u32);
        *other.slots.get_mut(seat as usize).unwrap() = match noise >> (3 * seat) & 7 {
            0..2 => Slot::Free { sales, turn },
            customer @ 2..5 => Slot::Reserved { sales, turn, customer },
            _ => Slot::Held { sales, turn, hold: hold(seat).into() },
        };
    }
    if let Some(quota) = &mut other.quota {
        for customer in (1..4).filter(|customer: &u64| !scope.named().contains(&customer.part(CUSTOMER))) {
            let used = (noise >> (3 * customer) & 7) as u32;
            let hold = Hold { customer, ..hold(customer) };
            quota.disturb(customer, used, (noise & 8 > 0).then_some(&hold));
        }
    }
    (other.sold, other.held) = ((noise & 7) as u32, (noise & 7) as u32);
    other.known = Timestamp(noise % (now.0 + 1));
    other
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_venue_does_what_the_model_does_and_depends_on_its_scope_alone(
        limit in prop::option::of(1u32..6),
        asks in prop::collection::vec((ask(), 0u64..6, any::<u64>()), 0..50),
    ) {
        let mut state = venue(limit);
        let mut model = Model { limit, ..Model::default() };
        for (ask, step, noise) in asks {
            model.now += step;
            let now = Timestamp(model.now);
            let command = model.command(&ask);
            prop_assert!(Venue::check(&command, &Limits::default()).is_ok());
            let (before, model_before) = (state.clone(), model.clone());
            let scope = Venue::scope(&state, &command);
            let other = perturbed(&state, &scope, noise, now);
            if super::scope::wish(&command).is_none() {
                prop_assert_eq!(&scope, &Venue::scope(&other, &command));
            }
            let services = VenueServices::default();
            prop_assert_eq!(
                &decide_at(&before, &command, &services, now),
                &decide_in(&other, &command, &services, now, &scope)
            );
            let skipping = skips(&state, &command, noise, now);

            let decision = run_at(&mut state, &command, now);
            let events = decision.as_deref().unwrap_or_default();
            prop_assert_eq!(decision.is_ok(), model.run(&command, events), "{:?}", decision);
            prop_assert!(!skipping || decision.is_ok(), "what can be had without the locked can be had");
            model.assert_same(&state);
            model_before.assert_same(&before);
            if let Ok(events) = decision {
                let bytes = bincode::serde::encode_to_vec(&events[..], bincode::config::standard()).unwrap();
                let (stored, _): (Vec<VenueEvent<u64>>, _) =
                    bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
                prop_assert_eq!(&stored[..], &events[..]);
            }
        }
    }
}

/// Whether a best block is found among seats of which some are locked. It holds to them, and finds one exactly if
/// one is free and unlocked.
fn skips(state: &VenueState<u64>, command: &VenueCommand, noise: u64, now: Timestamp) -> bool {
    let locked: BTreeSet<u64> = (0..6).filter(|seat| noise >> (40 + seat) & 1 > 0).collect();
    let parts = locked.iter().map(|seat| Part::number(SEAT, *seat)).collect();
    let Some((_, best)) = super::scope::wish(command) else {
        assert!(Venue::scope_skipping(state, command, &parts).is_err());
        return false;
    };
    let scope = Venue::scope_skipping(state, command, &parts).unwrap();
    assert!(!scope.named().iter().any(|part| parts.contains(part)), "{scope:?} without {locked:?}");
    let decision = decide_in(state, command, &VenueServices::default(), now, &scope);
    let open =
        |seat: &usize| !locked.contains(&(*seat as u64)) && state.is_free(SeatIndex(*seat as u32), now);
    let exists = Model::blocks(best).iter().any(|block| block.iter().all(open));
    match decision {
        Ok(_) => assert!(exists),
        Err(no) if no.reason() == "limit_reached" => assert!(exists),
        Err(_) => assert!(!exists, "{best:?} without {locked:?}"),
    }
    exists && state.limit_per_customer().is_none()
}
