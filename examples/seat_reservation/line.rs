//! In the line: who waits for a seat, who does not, and what happens when a decision panics.

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use boxoffice::options::Wait;
use boxoffice::venue::{Request, VenueServices};
use boxoffice::{Error, Handle, Options};

use crate::counter::said;
use crate::hall::{Customer, Hall, Town, reserve};
use crate::map::Map;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::{CLUB, CONCERT_HALL};

/// A call that would have to wait for a lock is an error at once: what succeeds like this has not waited.
fn without_a_wait(halls: &Handle<Hall>) -> Handle<Hall> {
    halls.with(Options { wait: Wait::Never, ..halls.options() })
}

/// While one decision on A2 is under way, and stays so: A2 is locked, all else is not.
pub(crate) fn nobody_else_waits(
    town: &Town<'_>,
    map: &mut Map,
    promises: &mut Promises,
) -> Result<(), Failure> {
    town.begin(
        "3. WHO WAITS, AND WHO DOES NOT",
        "The price of ada's A2 does not come. Meanwhile others would like to buy.",
    );
    // The pricing says that it was asked, and does not answer before it may. If this scene ends early, the
    // channel closes, and it may.
    let (asked, was_asked) = mpsc::channel::<()>();
    let (answer, may_answer) = mpsc::channel::<()>();
    let may_answer = Mutex::new(may_answer);
    let stuck = VenueServices::default().with_pricing(move |cart: &Request<'_, Customer>| {
        let _ = asked.send(());
        if let Ok(may_answer) = may_answer.lock() {
            let _ = may_answer.recv();
        }
        cart.list_price()
    });
    let (stuck, _) = town.halls(stuck)?;
    let (quick, _) = town.quick()?;

    let ada = thread::scope(|scope| {
        let ada = scope.spawn(|| stuck.execute(CONCERT_HALL, &reserve("ada", "A2")));
        let others = was_asked.recv_timeout(Duration::from_secs(10)).map_err(Failure::from);
        let others = others.and_then(|()| meanwhile(town, promises));
        drop(answer);
        let ada = ada.join().map_err(|_| "ada's thread panicked")?;
        others.and(ada.map_err(Failure::from))
    })?;
    town.screen.say(&format!("  and at last, ada      {}", said(&ada)));
    promises.check(ada.is_accepted(), || format!("ada was told {}", said(&ada)));
    map.draw(town, &quick, CONCERT_HALL)?;
    map.draw(town, &quick, CLUB)
}

/// The same seat waits until the deadline. Another seat of the hall does not, nor does another hall.
fn meanwhile(town: &Town<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let (quick, decided) = town.quick()?;
    let patience = town.args.timeout();
    let limited = quick.with(Options { wait: Wait::AtMost(patience), ..quick.options() });
    match limited.execute(CONCERT_HALL, &reserve("bob", "A2")) {
        Ok(outcome) => promises.check(false, || format!("bob got an answer: {}", said(&outcome))),
        Err(error) => {
            let Error::LockTimeout { stream, waited } = &error else { return Err(error.into()) };
            town.screen.say(&format!("\n  bob wants A2          {error}"));
            promises.equal("the stream of the timeout", &*stream.id, CONCERT_HALL);
            promises.check(*waited >= patience, || format!("bob gave up after {waited:?} already"));
        }
    }
    promises.equal("decisions of who timed out", decided.load(Relaxed), 0);

    for (id, seat, what) in
        [(CONCERT_HALL, "A3", "bob wants A3        "), (CLUB, "A2", "bob goes to the club")]
    {
        let outcome = without_a_wait(&quick).execute(id, &reserve("bob", seat))?;
        town.screen.say(&format!("  {what}  {}, without a wait", said(&outcome)));
        promises.check(outcome.is_accepted(), || format!("{id} {seat}: {}", said(&outcome)));
    }
    Ok(())
}

/// Code of yours may panic. It costs its own command, and its seats are free at once.
pub(crate) fn a_panic_frees_its_seats(
    town: &Town<'_>,
    map: &mut Map,
    promises: &mut Promises,
) -> Result<(), Failure> {
    town.begin("4. A DECISION THAT PANICS", "The pricing crashes while it holds the lock on A3 of the club.");
    let crashing = VenueServices::default().with_pricing(|_: &Request<'_, Customer>| panic!("no connection"));
    let (crashing, _) = town.halls(crashing)?;
    let (quick, _) = town.quick()?;
    // It is meant to: nobody has to read about it on stderr.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let crashed = catch_unwind(AssertUnwindSafe(|| crashing.execute(CLUB, &reserve("cat", "A3"))));
    panic::set_hook(hook);
    promises.check(crashed.is_err(), || "the panic did not reach the caller".into());
    town.screen.say("\n  cat wants A3          panicked, and the caller knows");

    let outcome = without_a_wait(&quick).execute(CLUB, &reserve("bob", "A3"))?;
    town.screen.say(&format!("  bob wants A3          {}, without a wait", said(&outcome)));
    promises.check(outcome.is_accepted(), || format!("after the panic: {}", said(&outcome)));
    map.draw(town, &quick, CLUB)
}
