//! The rule of zen on the built-in venue: sold once is sold for good, whatever commands there are.

use boxoffice::layout::Layout;
use boxoffice::venue::{Venue, VenueCommand, VenueEvent, VenueServices, VenueState};
use boxoffice::{Engine, Error, Options};
use smol_str::SmolStr;

use crate::support::Failure;
use crate::support::patience::patient;
use crate::support::promises::Promises;
use crate::support::screen::Screen;

/// Venues whose customers have names: to the engine another type than those of the sale, with a policy.
pub(crate) type Policed = Venue<SmolStr>;

pub(crate) const POLICY: &str = "sold once in its life";

pub(crate) fn is_kept(
    _: &VenueState<SmolStr>,
    event: &VenueEvent<SmolStr>,
    after: &VenueState<SmolStr>,
) -> bool {
    event.seats().iter().all(|seat| after.sales(*seat) <= 1)
}

/// Reserves a seat, gives it back, and reserves it again. The last one is what the policy forbids.
pub(crate) fn show(engine: &Engine, screen: &Screen, promises: &mut Promises) -> Result<(), Failure> {
    screen.say(&format!("\n{}", screen.bold("A POLICY THAT NO COMMAND CAN FORGET")));
    let venues = engine.handle::<Policed>(VenueServices::default())?.with(patient(Options::default()));
    let first = |name: &str| VenueCommand::reserve(SmolStr::new(name), ["A1"]);
    for (what, command) in [
        ("a hall opens", VenueCommand::create(Layout::from_labels(["A1"])?)),
        ("ada reserves A1", first("ada")),
        ("ada gives it back", VenueCommand::release("ada".into(), ["A1"])),
    ] {
        let outcome = venues.execute("once", &command)?;
        promises.check(outcome.is_accepted(), || format!("{what}: {:?}", outcome.rejection()));
        screen.say(&format!("  {what:<18} done"));
    }
    let before = venues.read("once")?.version();
    match venues.execute("once", &first("bob")) {
        Err(error @ Error::PolicyViolated { policy: POLICY, .. }) => {
            screen.say(&format!("  bob reserves A1    {error}"));
        }
        Err(error) => return Err(error.into()),
        Ok(_) => promises.check(false, || "A1 was sold a second time".into()),
    }
    promises.equal("the version after the policy said no", venues.read("once")?.version(), before);
    Ok(())
}
