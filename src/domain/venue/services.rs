//! What a venue asks of the outside world while it decides: prices, and who may buy.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::clock::Timestamp;
use crate::layout::{Layout, SeatIndex};

/// A cart of free seats that a service is asked about.
///
/// Shows the chart, which never changes, and what the command depends on, and not the rest of the
/// venue: other seats may change while the service runs, and the commit would not notice.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, C> {
    pub(super) layout: &'a Layout,
    pub(super) customer: &'a C,
    pub(super) seats: &'a [SeatIndex],
    pub(super) now: Timestamp,
}

impl<'a, C> Request<'a, C> {
    /// The venue's chart.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// Who wants the seats.
    pub fn customer(&self) -> &'a C {
        self.customer
    }

    /// The seats, each free, in the order of the cart.
    pub fn seats(&self) -> &'a [SeatIndex] {
        self.seats
    }

    /// The time of this attempt.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the seats cost by the layout, together, in minor units.
    pub fn list_price(&self) -> u64 {
        let prices = self.seats.iter().filter_map(|seat| self.layout.price(*seat));
        prices.fold(0, u64::saturating_add)
    }
}

/// Says what a cart costs.
///
/// Runs inside decide, on the calling thread, with no mutex held: it may be slow, and only commands on
/// the same seats or customer wait. Under optimistic concurrency it may be asked again for the same
/// command after a conflict, and its answer is then discarded: it must not charge anybody.
///
/// A function is a pricing too; its argument needs its type written out:
///
/// ```
/// use boxoffice::venue::{Request, VenueServices};
/// let services = VenueServices::default().with_pricing(|cart: &Request<'_, u64>| cart.list_price() / 2);
/// ```
pub trait Pricing<C>: Send + Sync + 'static {
    /// The price of all seats of the cart together, in minor units.
    fn total(&self, request: &Request<'_, C>) -> u64;
}

impl<C, F: Fn(&Request<'_, C>) -> u64 + Send + Sync + 'static> Pricing<C> for F {
    fn total(&self, request: &Request<'_, C>) -> u64 {
        self(request)
    }
}

/// Says whether a customer may have a cart. Runs before [`Pricing`], under the same conditions.
pub trait Eligibility<C>: Send + Sync + 'static {
    /// Allows the cart, or says why not.
    ///
    /// # Errors
    ///
    /// The reason, which is stored in the rejection: keep it short. The caller gets it as
    /// [`Refusal::NotEligible`](super::Refusal::NotEligible).
    fn check(&self, request: &Request<'_, C>) -> Result<(), SmolStr>;
}

impl<C, F: Fn(&Request<'_, C>) -> Result<(), SmolStr> + Send + Sync + 'static> Eligibility<C> for F {
    fn check(&self, request: &Request<'_, C>) -> Result<(), SmolStr> {
        self(request)
    }
}

/// The services of a [`Venue`](super::Venue). By default everybody may buy, at the layout's prices, and
/// nothing is called.
pub struct VenueServices<C = u64> {
    pricing: Option<Arc<dyn Pricing<C>>>,
    eligibility: Option<Arc<dyn Eligibility<C>>>,
}

impl<C: 'static> VenueServices<C> {
    /// Asks `pricing` for the price of every cart, in place of the layout's prices.
    #[must_use]
    pub fn with_pricing(mut self, pricing: impl Pricing<C>) -> Self {
        self.pricing = Some(Arc::new(pricing));
        self
    }

    /// Asks `eligibility` about every cart.
    #[must_use]
    pub fn with_eligibility(mut self, eligibility: impl Eligibility<C>) -> Self {
        self.eligibility = Some(Arc::new(eligibility));
        self
    }

    pub(super) fn total(&self, request: &Request<'_, C>) -> u64 {
        self.pricing.as_ref().map_or_else(|| request.list_price(), |pricing| pricing.total(request))
    }

    pub(super) fn check(&self, request: &Request<'_, C>) -> Result<(), SmolStr> {
        self.eligibility.as_ref().map_or(Ok(()), |eligibility| eligibility.check(request))
    }
}

impl<C> Default for VenueServices<C> {
    fn default() -> Self {
        Self { pricing: None, eligibility: None }
    }
}

impl<C> Clone for VenueServices<C> {
    fn clone(&self) -> Self {
        Self { pricing: self.pricing.clone(), eligibility: self.eligibility.clone() }
    }
}

impl<C> fmt::Debug for VenueServices<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VenueServices")
            .field("pricing", &self.pricing.is_some())
            .field("eligibility", &self.eligibility.is_some())
            .finish()
    }
}
