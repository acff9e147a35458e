//! The audit: what the file says of a payment must be what the provider's books say.

use boxoffice::history::Happened;

use crate::job::Office;
use crate::payment::{Event, Status};
use crate::provider::Provider;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::text::plural;

/// Reads a payment's history. It must have come to this end, once, and the provider must have charged exactly what
/// is recorded. Says what was found in a line.
pub(crate) fn audit(
    office: &Office<'_>,
    provider: &Provider,
    payment: &str,
    status: Status,
    promises: &mut Promises,
) -> Result<String, Failure> {
    let (mut bills, mut charges, mut ends, mut others) = (Vec::new(), Vec::new(), 0_u64, 0_u64);
    for recorded in office.payments.history(payment)? {
        match recorded?.what {
            Happened::Event(Event::Opened { cents }) => bills.push(cents),
            Happened::Event(Event::Payed { charge, cents }) => {
                ends += 1;
                charges.push((charge, cents));
            }
            Happened::Event(Event::Failed { .. }) => ends += 1,
            Happened::Rejection(_) => others += 1,
        }
    }
    let about = |what: &str| format!("{payment}: {what}");
    let books = provider.counts(payment);
    promises.equal(&about("how often it was opened"), bills.len(), 1);
    promises.equal(&about("how often it was settled"), ends, u64::from(status != Status::New));
    promises.equal(&about("charges"), charges.len(), usize::from(status == Status::Payed));
    promises.equal(&about("recorded charges, and those in the provider's books"), &charges, &books.charges);
    promises.check(charges.iter().all(|(_, cents)| bills == [*cents]), || about("charged another amount"));
    promises.equal(&about("what the state says"), office.payments.read(payment)?.status, status);
    promises.equal(&about("rejections"), others, 0);
    let verified = office.payments.verify()?;
    promises.check(verified.is_clean(), || format!("the audit of the file found {verified:?}"));
    Ok(format!(
        "  checked: {payment} is {} after {}; in the provider's books: {}, {}",
        status.name(),
        plural(1 + ends, "event"),
        plural(books.orders.into(), "order"),
        plural(books.charges.len() as u64, "charge"),
    ))
}
