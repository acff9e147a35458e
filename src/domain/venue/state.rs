//! Who has which seat: what a venue's events add up to.

use std::hash::Hash;
use std::sync::Arc;

use super::quota::Quota;
use super::slot::{SeatStatus, Slot};
use super::{CustomerId, Hold, HoldToken, SeatList, VenueEvent};
use crate::clock::Timestamp;
use crate::cow::CowArray;
use crate::layout::{Layout, SeatIndex};

/// A venue as it was at one version. Cloning is O(1), and a clone never changes.
///
/// What depends on holds depends on the time as well, and takes it: a hold that has lapsed at `now` is not there.
/// `now` should not be before the version's last event.
#[derive(Clone, Debug, PartialEq)]
pub struct VenueState<C: Eq + Hash = u64> {
    pub(super) layout: Option<Arc<Layout>>,
    pub(super) slots: CowArray<Slot<C>>,
    pub(super) sold: u32,
    /// How many slots are `Held`, lapsed or not.
    pub(super) held: u32,
    /// The latest time that an event about a hold told. No decision to come is before it.
    pub(super) known: Timestamp,
    pub(super) quota: Option<Quota<C>>,
}

impl<C: Eq + Hash> Default for VenueState<C> {
    fn default() -> Self {
        Self {
            layout: None,
            slots: CowArray::default(),
            sold: 0,
            held: 0,
            known: Timestamp::default(),
            quota: None,
        }
    }
}

impl<C: CustomerId> VenueState<C> {
    /// The chart; `None` before the venue was created.
    pub fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    /// Who has reserved this seat; `None` if nobody has or it does not exist.
    pub fn holder(&self, seat: SeatIndex) -> Option<&C> {
        self.slot(seat)?.holder()
    }

    /// Who has this seat at `now`; `None` if it does not exist.
    ///
    /// ```
    /// use boxoffice::clock::{Clock, SystemClock};
    /// use boxoffice::layout::SeatIndex;
    /// use boxoffice::venue::{SeatStatus, VenueState};
    ///
    /// fn colour(venue: &VenueState, seat: SeatIndex) -> &'static str {
    ///     match venue.status(seat, SystemClock.now()) {
    ///         Some(SeatStatus::Free) => "green",
    ///         Some(SeatStatus::Held { .. }) => "amber",
    ///         _ => "red",
    ///     }
    /// }
    /// assert_eq!(colour(&VenueState::default(), SeatIndex(0)), "red");
    /// ```
    pub fn status(&self, seat: SeatIndex, now: Timestamp) -> Option<SeatStatus<'_, C>> {
        self.slot(seat).map(|slot| slot.status(now))
    }

    /// Whether this seat exists and nobody has it at `now`.
    pub fn is_free(&self, seat: SeatIndex, now: Timestamp) -> bool {
        self.slot(seat).is_some_and(|slot| slot.is_free(now))
    }

    /// The hold by this token, if it is live at `now`.
    pub fn hold(&self, token: HoldToken, now: Timestamp) -> Option<&Hold<C>> {
        self.slot(token.seat())?.hold(token).map(|hold| &**hold).filter(|hold| hold.is_live(now))
    }

    /// The hold that is live on this seat at `now`, with its token: what a customer holds is found again by it.
    pub fn hold_on(&self, seat: SeatIndex, now: Timestamp) -> Option<&Hold<C>> {
        self.slot(seat)?.any_hold().map(|hold| &**hold).filter(|hold| hold.is_live(now))
    }

    /// How often this seat was sold in its life: reserved, or confirmed after a hold. Giving it back takes
    /// nothing off. Counts up to 65,535 and stops there; 0 for a seat that does not exist.
    ///
    /// Makes a rule of "a seat is sold once in its life", whatever commands there are or will be:
    ///
    /// ```
    /// use boxoffice::Engine;
    /// use boxoffice::venue::Venue;
    ///
    /// let builder = Engine::builder().aggregate::<Venue>().policy::<Venue>("sold once", |_, event, after| {
    ///     event.seats().iter().all(|seat| after.sales(*seat) <= 1)
    /// });
    /// # builder.in_memory()?.close()?;
    /// # Ok::<(), boxoffice::Error>(())
    /// ```
    pub fn sales(&self, seat: SeatIndex) -> u32 {
        self.slot(seat).map_or(0, |slot| slot.sales().into())
    }

    /// Every seat in order, with who has reserved it: for audits. One pass over all seats.
    pub fn seats(&self) -> impl Iterator<Item = (SeatIndex, Option<&C>)> {
        (0..).map(SeatIndex).zip(self.slots.iter().map(Slot::holder))
    }

    /// Every seat in order, with who has it at `now`: for maps. One pass over all seats.
    pub fn statuses(&self, now: Timestamp) -> impl Iterator<Item = (SeatIndex, SeatStatus<'_, C>)> {
        (0..).map(SeatIndex).zip(self.slots.iter().map(move |slot| slot.status(now)))
    }

    /// How many seats are reserved.
    pub fn sold(&self) -> u32 {
        self.sold
    }

    /// How many seats nobody has at `now`; 0 before the venue was created. One pass over all seats, unless none
    /// is held.
    pub fn available(&self, now: Timestamp) -> u32 {
        let unsold = self.layout().map_or(0, |layout| layout.len().saturating_sub(self.sold));
        if self.held == 0 {
            return unsold;
        }
        let held = self.slots.iter().filter(|slot| matches!(slot.status(now), SeatStatus::Held { .. }));
        unsold.saturating_sub(u32::try_from(held.count()).unwrap_or(u32::MAX))
    }

    /// Most seats that one customer may have, reserved and held together; `None` for any number.
    pub fn limit_per_customer(&self) -> Option<u32> {
        self.quota.as_ref().map(|quota| quota.limit)
    }

    /// How many seats this customer has reserved. Counted only where there is a limit: otherwise `None`, and
    /// [`seats`](Self::seats) tells.
    pub fn count(&self, customer: &C) -> Option<u32> {
        self.quota.as_ref().map(|quota| quota.reserved(customer))
    }

    /// How many seats this customer holds at `now`. Counted only where there is a limit: otherwise `None`, and
    /// [`statuses`](Self::statuses) tells.
    pub fn count_held(&self, customer: &C, now: Timestamp) -> Option<u32> {
        self.quota.as_ref().map(|quota| quota.held(customer, now))
    }

    pub(super) fn slot(&self, seat: SeatIndex) -> Option<&Slot<C>> {
        self.slots.get(seat.index())
    }

    pub(super) fn apply(&mut self, event: &VenueEvent<C>) {
        match event {
            VenueEvent::Created { layout, limit_per_customer } => {
                // A second chart would unsell what was sold from the first.
                if self.layout.is_some() {
                    return;
                }
                self.slots = CowArray::filled(layout.len() as usize, Slot::NEW);
                self.layout = Some(Arc::clone(layout));
                self.quota = limit_per_customer.map(Quota::new);
            }
            VenueEvent::Reserved { customer, seats, .. } => self.reserve(customer, seats),
            VenueEvent::Released { holder, seats, .. } => self.release(holder, seats),
            VenueEvent::Held { hold, at, .. } => {
                let taken = self.begin(hold, *at);
                self.count_hold(hold, taken, *at);
            }
            VenueEvent::HoldExtended { hold, at, .. } => {
                let extended = self.each_held(&hold.seats, hold.token, |slot| {
                    if let Slot::Held { hold: current, .. } = slot {
                        *current = Arc::clone(hold);
                    }
                });
                self.count_hold(hold, extended, *at);
            }
            VenueEvent::HoldReleased { hold, .. } => {
                self.held -= self.each_held(&hold.seats, hold.token, |slot| {
                    *slot = Slot::Free { sales: slot.sales(), turn: slot.turn() };
                });
                if let Some(quota) = &mut self.quota {
                    quota.end(&hold.customer, hold.token);
                }
            }
            VenueEvent::Confirmed { token, customer, seats, .. } => {
                let sold = self.each_held(seats, *token, |slot| {
                    let (sales, turn) = (slot.sales().saturating_add(1), slot.turn());
                    *slot = Slot::Reserved { sales, turn, customer: customer.clone() };
                });
                self.held -= sold;
                self.sold += sold;
                if let Some(quota) = &mut self.quota {
                    quota.end(customer, *token);
                    quota.change(customer, |used| used.saturating_add(sold));
                }
            }
        }
    }

    fn reserve(&mut self, customer: &C, seats: &SeatList) {
        let mut taken = 0;
        for seat in seats {
            let Some(slot) = self.slots.get_mut(seat.index()) else { continue };
            debug_assert!(slot.holder().is_none(), "seat {seat} was sold twice");
            let (sales, turn) = (slot.sales().saturating_add(1), slot.turn().wrapping_add(1));
            match slot {
                Slot::Reserved { .. } => continue,
                // It has lapsed, or this would not have been decided. Its other seats are as they were: somebody
                // else may be getting them at this moment.
                Slot::Held { .. } => self.held -= 1,
                Slot::Free { .. } => {}
            }
            *slot = Slot::Reserved { sales, turn, customer: customer.clone() };
            taken += 1;
        }
        self.sold += taken;
        if let Some(quota) = &mut self.quota {
            quota.change(customer, |used| used.saturating_add(taken));
        }
    }

    fn release(&mut self, holder: &C, seats: &SeatList) {
        let mut freed = 0;
        for seat in seats {
            let Some(slot) = self.slots.get_mut(seat.index()) else { continue };
            debug_assert!(slot.holder() == Some(holder), "seat {seat} was not {holder}'s");
            if slot.holder() == Some(holder) {
                *slot = Slot::Free { sales: slot.sales(), turn: slot.turn() };
                freed += 1;
            }
        }
        self.sold = self.sold.saturating_sub(freed);
        if let Some(quota) = &mut self.quota {
            quota.change(holder, |used| used.saturating_sub(freed));
        }
    }

    /// Puts a hold on its seats; how many there were.
    fn begin(&mut self, hold: &Arc<Hold<C>>, at: Timestamp) -> u32 {
        let mut taken = 0;
        for seat in &hold.seats {
            let Some(slot) = self.slots.get_mut(seat.index()) else { continue };
            debug_assert!(slot.is_free(at), "seat {seat} was held although somebody had it");
            if !slot.is_free(at) {
                continue;
            }
            self.held += u32::from(!matches!(slot, Slot::Held { .. }));
            let (sales, turn) = (slot.sales(), slot.turn().wrapping_add(1));
            *slot = Slot::Held { sales, turn, hold: Arc::clone(hold) };
            taken += 1;
        }
        taken
    }

    /// Changes those of these seats that this hold is on; how many they were.
    fn each_held(&mut self, seats: &SeatList, token: HoldToken, change: impl Fn(&mut Slot<C>)) -> u32 {
        let mut changed = 0;
        for seat in seats {
            let Some(slot) = self.slots.get_mut(seat.index()) else { continue };
            debug_assert!(slot.hold(token).is_some(), "seat {seat} was not held by {token}");
            if slot.hold(token).is_some() {
                change(slot);
                changed += 1;
            }
        }
        changed
    }

    fn count_hold(&mut self, hold: &Hold<C>, seats: u32, at: Timestamp) {
        self.known = self.known.max(at);
        if let Some(quota) = &mut self.quota {
            if seats > 0 {
                quota.hold(hold, seats, at);
            }
            quota.sweep(self.known);
        }
    }
}
