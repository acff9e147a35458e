//! The hall: the built-in venue with a counter before its decision, and services that take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use boxoffice::aggregate::Audit;
use boxoffice::clock::ManualClock;
use boxoffice::error::Invalid;
use boxoffice::layout::Layout;
use boxoffice::venue::{Rejection, Request, Venue, VenueCommand, VenueEvent, VenueServices, VenueState};
use boxoffice::{Aggregate, Context, Engine, Events, Handle, Limits, Options, Scope};
use smol_str::SmolStr;

use crate::args::Args;
use crate::support::Failure;
use crate::support::patience::patient;
use crate::support::screen::Screen;

/// Customers are known by name.
pub(crate) type Customer = SmolStr;
type Inner = Venue<Customer>;

/// A venue that counts how often it decides. Everything else it leaves to the built-in one.
pub(crate) struct Hall;

pub(crate) struct HallServices {
    pub(crate) venue: VenueServices<Customer>,
    /// How many reservations were decided.
    pub(crate) decided: Arc<AtomicU32>,
}

impl Aggregate for Hall {
    const TYPE: &'static str = "example.hall";

    type State = VenueState<Customer>;
    type Command = VenueCommand<Customer>;
    type Event = VenueEvent<Customer>;
    type Rejection = Rejection<Customer>;
    type Services = HallServices;

    fn decide(
        state: &Self::State,
        command: &Self::Command,
        context: &Context<'_, HallServices>,
    ) -> Result<Events<Self::Event>, Self::Rejection> {
        let services = context.services();
        if matches!(command, VenueCommand::Reserve { .. }) {
            services.decided.fetch_add(1, Relaxed);
        }
        Inner::decide(state, command, &context.with_services(&services.venue))
    }

    fn creates(command: &Self::Command) -> bool {
        Inner::creates(command)
    }

    fn check(command: &Self::Command, limits: &Limits) -> Result<(), Invalid> {
        Inner::check(command, limits)
    }

    fn scope(state: &Self::State, command: &Self::Command) -> Scope {
        Inner::scope(state, command)
    }

    fn touches(event: &Self::Event) -> Scope {
        Inner::touches(event)
    }

    fn apply(state: &mut Self::State, event: &Self::Event) {
        Inner::apply(state, event);
    }

    fn audit() -> Option<Box<dyn Audit<Self::Event>>> {
        Inner::audit()
    }
}

/// What every scene needs.
pub(crate) struct Town<'t> {
    pub(crate) engine: &'t Engine,
    pub(crate) clock: &'t ManualClock,
    pub(crate) args: &'t Args,
    pub(crate) screen: &'t Screen,
}

impl Town<'_> {
    pub(crate) fn create(&self, id: &str) -> Result<(), Failure> {
        let layout = Layout::builder().category("stalls", 4_800).row("A", "stalls", [(1, 3)]).build()?;
        let (halls, _) = self.quick()?;
        match halls.execute(id, &VenueCommand::create(layout))?.rejection() {
            None => Ok(()),
            Some(no) => Err(no.to_string().into()),
        }
    }

    /// Halls that ask slow services: may this customer buy, and at what price?
    pub(crate) fn slow(&self) -> Result<(Handle<Hall>, Arc<AtomicU32>), Failure> {
        let takes = self.args.slow();
        let venue = VenueServices::default()
            .with_eligibility(move |cart: &Request<'_, Customer>| {
                thread::sleep(takes);
                if cart.customer() == "tout" { Err(SmolStr::new("sells on")) } else { Ok(()) }
            })
            .with_pricing(move |cart: &Request<'_, Customer>| {
                thread::sleep(takes);
                cart.list_price()
            });
        self.halls(venue)
    }

    /// Halls that decide at once, by the list.
    pub(crate) fn quick(&self) -> Result<(Handle<Hall>, Arc<AtomicU32>), Failure> {
        self.halls(VenueServices::default())
    }

    /// Halls with these services, and the number of their decisions. Whoever stands in line has the patience for the
    /// slowest of them.
    pub(crate) fn halls(
        &self,
        venue: VenueServices<Customer>,
    ) -> Result<(Handle<Hall>, Arc<AtomicU32>), Failure> {
        let decided = Arc::default();
        let services = HallServices { venue, decided: Arc::clone(&decided) };
        Ok((self.engine.handle::<Hall>(services)?.with(patient(Options::default())), decided))
    }

    /// Begins a scene, a minute after the one before.
    pub(crate) fn begin(&self, title: &str, story: &str) {
        self.clock.advance(Duration::from_secs(60));
        self.screen.say(&format!("\n{}\n{story}", self.screen.bold(title)));
    }
}

pub(crate) fn reserve(customer: &str, seat: &str) -> VenueCommand<Customer> {
    VenueCommand::reserve(customer.into(), [seat])
}

pub(crate) fn release(customer: &str, seat: &str) -> VenueCommand<Customer> {
    VenueCommand::release(customer.into(), [seat])
}
