//! Who has which seat: what a venue's events add up to.

use std::hash::Hash;
use std::sync::Arc;

use rpds::HashTrieMapSync;

use super::{CustomerId, VenueEvent};
use crate::cow::CowArray;
use crate::layout::{Layout, SeatIndex};

/// A venue as it was at one version. Cloning is O(1), and a clone never changes.
#[derive(Clone, Debug)]
pub struct VenueState<C: Eq + Hash = u64> {
    pub(super) layout: Option<Arc<Layout>>,
    pub(super) holders: CowArray<Option<C>>,
    pub(super) sold: u32,
    pub(super) quota: Option<Quota<C>>,
}

/// The limit per customer, and what counts towards it. Absent without a limit, so that such a venue
/// pays nothing for it.
#[derive(Clone, Debug)]
pub(super) struct Quota<C: Eq + Hash> {
    pub(super) limit: u32,
    /// Only customers who have seats.
    pub(super) used: HashTrieMapSync<C, u32>,
}

impl<C: Eq + Hash> Default for VenueState<C> {
    fn default() -> Self {
        Self { layout: None, holders: CowArray::default(), sold: 0, quota: None }
    }
}

impl<C: CustomerId> VenueState<C> {
    /// The chart; `None` before the venue was created.
    pub fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    /// Who has this seat; `None` if it is free or does not exist.
    pub fn holder(&self, seat: SeatIndex) -> Option<&C> {
        self.holders.get(seat.index())?.as_ref()
    }

    /// Whether this seat exists and nobody has it.
    pub fn is_free(&self, seat: SeatIndex) -> bool {
        matches!(self.holders.get(seat.index()), Some(None))
    }

    /// Every seat in order, with who has it: for maps and audits. One pass over all seats.
    pub fn seats(&self) -> impl Iterator<Item = (SeatIndex, Option<&C>)> {
        (0..).map(SeatIndex).zip(self.holders.iter().map(Option::as_ref))
    }

    /// How many seats somebody has.
    pub fn sold(&self) -> u32 {
        self.sold
    }

    /// How many seats are free; 0 before the venue was created.
    pub fn available(&self) -> u32 {
        self.layout().map_or(0, |layout| layout.len().saturating_sub(self.sold))
    }

    /// Most seats that one customer may have; `None` for any number.
    pub fn limit_per_customer(&self) -> Option<u32> {
        self.quota.as_ref().map(|quota| quota.limit)
    }

    /// How many seats this customer has. Counted only where there is a limit: otherwise `None`, and
    /// [`seats`](Self::seats) tells.
    pub fn count(&self, customer: &C) -> Option<u32> {
        self.quota.as_ref().map(|quota| quota.used.get(customer).copied().unwrap_or(0))
    }

    pub(super) fn apply(&mut self, event: &VenueEvent<C>) {
        match event {
            VenueEvent::Created { layout, limit_per_customer } => {
                // A second chart would unsell what was sold from the first.
                if self.layout.is_some() {
                    return;
                }
                self.holders = CowArray::filled(layout.len() as usize, None);
                self.layout = Some(Arc::clone(layout));
                self.quota =
                    limit_per_customer.map(|limit| Quota { limit, used: HashTrieMapSync::default() });
            }
            VenueEvent::Reserved { customer, seats, .. } => {
                let mut taken = 0;
                for seat in seats {
                    let Some(holder) = self.holders.get_mut(seat.index()) else { continue };
                    debug_assert!(holder.is_none(), "seat {seat} was sold twice");
                    if holder.is_none() {
                        *holder = Some(customer.clone());
                        taken += 1;
                    }
                }
                self.sold += taken;
                self.change_count(customer, |used| used.saturating_add(taken));
            }
            VenueEvent::Released { holder, seats, .. } => {
                let mut freed = 0;
                for seat in seats {
                    let Some(current) = self.holders.get_mut(seat.index()) else { continue };
                    debug_assert!(current.as_ref() == Some(holder), "seat {seat} was not {holder}'s");
                    if current.as_ref() == Some(holder) {
                        *current = None;
                        freed += 1;
                    }
                }
                self.sold = self.sold.saturating_sub(freed);
                self.change_count(holder, |used| used.saturating_sub(freed));
            }
        }
    }

    fn change_count(&mut self, customer: &C, change: impl FnOnce(u32) -> u32) {
        let Some(quota) = &mut self.quota else { return };
        match change(quota.used.get(customer).copied().unwrap_or(0)) {
            0 => {
                quota.used.remove_mut(customer);
            }
            used => quota.used.insert_mut(customer.clone(), used),
        }
    }
}
