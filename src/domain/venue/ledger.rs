//! Who had which seat when: a second bookkeeping of a venue's events, for audits.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{CustomerId, Hold, HoldToken, VenueEvent};
use crate::aggregate::{Audit, Moment};
use crate::clock::Timestamp;
use crate::layout::{Layout, SeatIndex};

/// Every holding of every seat of one venue, from the venue's events.
///
/// It shares nothing with [`VenueState`](super::VenueState), so that the two are not wrong in the same way, and
/// believes nothing: a seat that is given to somebody while somebody else has it, or holds it until a deadline
/// that has not come, has two holders, and is listed. A tenure is a reservation; holds are watched, not listed.
/// [`Handle::verify`](crate::Handle::verify) asks one for every venue.
///
/// ```
/// use boxoffice::history::Happened;
/// use boxoffice::layout::Layout;
/// use boxoffice::venue::{SeatLedger, Venue, VenueCommand, VenueServices};
/// use boxoffice::Engine;
///
/// let engine = Engine::builder().aggregate::<Venue>().in_memory()?;
/// let venues = engine.handle::<Venue>(VenueServices::default())?;
/// let hall = Layout::from_labels(["A1", "A2"]).unwrap();
/// let seat = hall.seat("A2").unwrap();
/// assert!(venues.execute("hall", &VenueCommand::create(hall))?.is_accepted());
/// assert!(venues.execute("hall", &VenueCommand::reserve(7, ["A2"]))?.is_accepted());
/// assert!(venues.execute("hall", &VenueCommand::release(7, ["A2"]))?.is_accepted());
/// assert!(venues.execute("hall", &VenueCommand::reserve(8, ["A2"]))?.is_accepted());
///
/// let mut ledger = SeatLedger::new();
/// for recorded in venues.history("hall")? {
///     let recorded = recorded?;
///     if let Happened::Event(event) = &recorded.what {
///         ledger.record(recorded.moment(), event);
///     }
/// }
/// assert!(ledger.two_holders().is_empty());
/// let holders: Vec<u64> = ledger.of_seat(seat).iter().map(|tenure| tenure.holder).collect();
/// assert_eq!(holders, [7, 8]);
/// # Ok::<(), boxoffice::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SeatLedger<C = u64> {
    layout: Option<Arc<Layout>>,
    seats: BTreeMap<SeatIndex, Page<C>>,
    /// Whether what has ended is kept.
    keeps_the_past: bool,
    two_holders: Vec<TwoHolders<C>>,
    not_held: Vec<NotHeld<C>>,
}

/// What happened to one seat.
#[derive(Clone, Debug)]
struct Page<C> {
    /// Who has it now; more than one only if something is wrong.
    now: SmallVec<[Tenure<C>; 1]>,
    /// The latest hold on it, lapsed or not.
    hold: Option<OnHold<C>>,
    /// In the order in which they ended.
    ended: Vec<Tenure<C>>,
}

#[derive(Clone, Debug)]
struct OnHold<C> {
    token: HoldToken,
    customer: C,
    deadline: Timestamp,
    from: Moment,
}

/// One customer had one seat for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure<C = u64> {
    /// The seat.
    pub seat: SeatIndex,
    /// Who had it.
    pub holder: C,
    /// When it began.
    pub from: Moment,
    /// When it ended; `None` while it lasts.
    pub until: Option<Moment>,
}

/// A seat was given to somebody while somebody had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoHolders<C = u64> {
    /// The seat.
    pub seat: SeatIndex,
    /// Who had it already, and since when.
    pub first: (C, Moment),
    /// Who got it too, and when.
    pub second: (C, Moment),
}

/// A seat was taken from somebody who did not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHeld<C = u64> {
    /// The seat.
    pub seat: SeatIndex,
    /// Who is said to have had it.
    pub holder: C,
    /// When.
    pub at: Moment,
}

impl<C> Default for SeatLedger<C> {
    fn default() -> Self {
        Self {
            layout: None,
            seats: BTreeMap::new(),
            keeps_the_past: true,
            two_holders: Vec::new(),
            not_held: Vec::new(),
        }
    }
}

impl<C: CustomerId> SeatLedger<C> {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what has ended: its memory is bounded by the seats, not by the history.
    pub(super) fn of_the_present() -> Self {
        Self { keeps_the_past: false, ..Self::default() }
    }

    /// The venue's next event, in the order of its versions.
    pub fn record(&mut self, at: Moment, event: &VenueEvent<C>) {
        match event {
            VenueEvent::Reserved { customer, seats, .. } => {
                for seat in seats {
                    self.end_hold(*seat, customer, at, at.decided_at);
                    self.begin(*seat, customer, at);
                }
            }
            VenueEvent::Held { hold, at: held_at, .. } => {
                for seat in &hold.seats {
                    self.end_hold(*seat, &hold.customer, at, *held_at);
                    self.hold(*seat, hold, at);
                }
            }
            VenueEvent::HoldExtended { hold, .. } => {
                for seat in &hold.seats {
                    self.take_hold(*seat, hold.token, &hold.customer, at);
                    self.hold(*seat, hold, at);
                }
            }
            VenueEvent::HoldReleased { hold, .. } => {
                hold.seats.iter().for_each(|seat| self.take_hold(*seat, hold.token, &hold.customer, at));
            }
            VenueEvent::Confirmed { token, customer, seats, .. } => {
                for seat in seats {
                    self.take_hold(*seat, *token, customer, at);
                    self.begin(*seat, customer, at);
                }
            }
            VenueEvent::Released { holder, seats, .. } => {
                seats.iter().for_each(|seat| self.end(*seat, holder, at));
            }
            VenueEvent::Created { layout, .. } if self.layout.is_none() => {
                self.layout = Some(Arc::clone(layout));
            }
            // The venue is there already.
            VenueEvent::Created { .. } => {}
        }
    }

    fn page(&mut self, seat: SeatIndex) -> &mut Page<C> {
        let empty = || Page { now: SmallVec::new(), hold: None, ended: Vec::new() };
        self.seats.entry(seat).or_insert_with(empty)
    }

    /// Somebody gets a seat that may have been held: the hold is to have lapsed by then.
    fn end_hold(&mut self, seat: SeatIndex, taker: &C, at: Moment, time: Timestamp) {
        let Some(hold) = self.seats.get_mut(&seat).and_then(|page| page.hold.take()) else { return };
        if time < hold.deadline {
            let (first, second) = ((hold.customer, hold.from), (taker.clone(), at));
            self.two_holders.push(TwoHolders { seat, first, second });
        }
    }

    /// A hold ends by its own token.
    fn take_hold(&mut self, seat: SeatIndex, token: HoldToken, customer: &C, at: Moment) {
        let taken = self.seats.get_mut(&seat).and_then(|page| page.hold.take());
        if taken.is_none_or(|hold| hold.token != token || hold.customer != *customer) {
            self.not_held.push(NotHeld { seat, holder: customer.clone(), at });
        }
    }

    fn hold(&mut self, seat: SeatIndex, hold: &Hold<C>, from: Moment) {
        let Hold { token, customer, deadline, .. } = hold;
        let page = self.page(seat);
        let others: Vec<_> = page.now.iter().map(|first| (first.holder.clone(), first.from)).collect();
        page.hold = Some(OnHold { token: *token, customer: customer.clone(), deadline: *deadline, from });
        let two =
            others.into_iter().map(|first| TwoHolders { seat, first, second: (customer.clone(), from) });
        self.two_holders.extend(two);
    }

    fn begin(&mut self, seat: SeatIndex, holder: &C, at: Moment) {
        let page = self.page(seat);
        let others = page.now.iter().map(|first| TwoHolders {
            seat,
            first: (first.holder.clone(), first.from),
            second: (holder.clone(), at),
        });
        let others: Vec<_> = others.collect();
        page.now.push(Tenure { seat, holder: holder.clone(), from: at, until: None });
        self.two_holders.extend(others);
    }

    fn end(&mut self, seat: SeatIndex, holder: &C, at: Moment) {
        let held = |page: &mut Page<C>| {
            let place = page.now.iter().position(|tenure| tenure.holder == *holder)?;
            let tenure = page.now.remove(place);
            page.ended.push(Tenure { until: Some(at), ..tenure });
            Some(page.now.is_empty() && page.hold.is_none())
        };
        match self.seats.get_mut(&seat).and_then(held) {
            None => self.not_held.push(NotHeld { seat, holder: holder.clone(), at }),
            Some(_) if self.keeps_the_past => {}
            Some(true) => drop(self.seats.remove(&seat)),
            Some(false) => {}
        }
    }

    /// Who had a seat when, in the order in which they got it.
    pub fn of_seat(&self, seat: SeatIndex) -> Vec<Tenure<C>> {
        let page = self.seats.get(&seat);
        let mut tenures: Vec<_> = page.into_iter().flat_map(Page::tenures).cloned().collect();
        tenures.sort_by_key(|tenure| tenure.from.version);
        tenures
    }

    /// Who had a seat after so many events of the venue; more than one only if something is wrong.
    pub fn holders_at(&self, seat: SeatIndex, version: u64) -> Vec<C> {
        let then = |tenure: &Tenure<C>| {
            tenure.from.version <= version && tenure.until.is_none_or(|until| until.version > version)
        };
        self.of_seat(seat).into_iter().filter(then).map(|tenure| tenure.holder).collect()
    }

    /// Every tenure, seat by seat: those that have ended, in the order in which they ended, then those that last.
    pub fn tenures(&self) -> impl Iterator<Item = &Tenure<C>> {
        self.seats.values().flat_map(Page::tenures)
    }

    /// Every seat that ever had two holders, once for each that was there already. There must be none.
    pub fn two_holders(&self) -> &[TwoHolders<C>] {
        &self.two_holders
    }

    /// Every seat that was taken from somebody who did not have it. There must be none.
    pub fn not_held(&self) -> &[NotHeld<C>] {
        &self.not_held
    }

    /// The label of a seat, or its number if the chart does not know it.
    fn label(&self, seat: SeatIndex) -> String {
        let label = self.layout.as_ref().and_then(|layout| layout.label(seat));
        label.map_or_else(|| format!("number {seat}"), Into::into)
    }
}

impl<C> Page<C> {
    fn tenures(&self) -> impl Iterator<Item = &Tenure<C>> {
        self.ended.iter().chain(&self.now)
    }
}

impl<C: CustomerId> Audit<VenueEvent<C>> for SeatLedger<C> {
    fn record(&mut self, at: Moment, event: &VenueEvent<C>) {
        Self::record(self, at, event);
    }

    fn findings(&self) -> Vec<String> {
        let two = self.two_holders.iter().map(|it| {
            let (seat, (first, since), (second, at)) = (self.label(it.seat), &it.first, &it.second);
            format!(
                "seat {seat} was given to {second} at version {}, while {first} had it since version {}",
                at.version, since.version
            )
        });
        let not_held = self.not_held.iter().map(|it| {
            let (seat, holder, version) = (self.label(it.seat), &it.holder, it.at.version);
            format!("seat {seat} was taken from {holder} at version {version}, who did not have it")
        });
        two.chain(not_held).collect()
    }
}
