//! The job: what this example is about. Lock, look, ask, charge, save.

use boxoffice::options::Metadata;
use boxoffice::{Engine, Handle, Options, Scope};

use crate::payment::{Command, Payment, Status};
use crate::support::Failure;
use crate::support::patience::patient;
use crate::till::Till;
use crate::timeline::{Kind, Mark, Row};
use crate::waiting::run;

/// What every job needs.
pub(crate) struct Office<'e> {
    pub(crate) engine: &'e Engine,
    pub(crate) payments: Handle<Payment>,
    pub(crate) till: Till,
}

/// How a job's day goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    Good,
    /// Its save is refused: it says more about itself than an entry may.
    SaveFails,
    /// It panics when the provider has answered.
    Panics,
}

/// What a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) status: Status,
    pub(crate) how: How,
    /// Whether it had to wait for the lock.
    pub(crate) waited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Somebody had settled it before.
    Skipped,
    /// It called the provider and recorded the answer.
    Charged,
    /// It learned that the provider had been called, and recorded that.
    Learned,
}

impl Done {
    pub(crate) fn words(&self) -> String {
        let came = if self.waited { "waited; " } else { "" };
        match self.how {
            How::Skipped => format!("{came}was {}: skipped", self.status.name()),
            How::Charged => format!("{came}charged: {}", self.status.name()),
            How::Learned => format!("{came}had been charged: {}", self.status.name()),
        }
    }
}

impl<'e> Office<'e> {
    pub(crate) fn new(engine: &'e Engine, till: Till) -> Result<Self, Failure> {
        Ok(Self { engine, payments: engine.handle(())?.with(patient(Options::pessimistic())), till })
    }

    pub(crate) fn open(&self, id: &str, cents: u64) -> Result<(), Failure> {
        match self.payments.execute(id, &Command::Open { cents })?.rejection() {
            None => Ok(()),
            Some(refusal) => Err(format!("payment {id} cannot be opened: {refusal:?}").into()),
        }
    }

    /// A job on this payment, which waits for its lock and has a good day.
    pub(crate) fn job(&'e self, payment: &'e str, row: Row) -> Job<'e> {
        Job { office: self, payment, options: patient(Options::pessimistic()), luck: Luck::Good, row }
    }
}

/// Somebody who is going to settle a payment, if nobody has.
pub(crate) struct Job<'o> {
    office: &'o Office<'o>,
    payment: &'o str,
    options: Options,
    luck: Luck,
    row: Row,
}

impl Job<'_> {
    pub(crate) fn with(self, options: Options) -> Self {
        Self { options, ..self }
    }

    pub(crate) fn with_luck(self, luck: Luck) -> Self {
        Self { luck, ..self }
    }

    /// `waits` is called when the job stands in line for the lock.
    pub(crate) fn run(&self, waits: impl FnOnce()) -> Result<Done, Failure> {
        let done = self.settle(waits);
        match &done {
            Ok(done) => self.row.end(done.words()),
            Err(failure) => self.row.fail(brief(failure)),
        }
        done
    }

    fn settle(&self, waits: impl FnOnce()) -> Result<Done, Failure> {
        let Self { office, payment, row, .. } = self;
        let mut unit = office.engine.begin(self.options);
        // SELECT ... FOR UPDATE. From here on nobody else works on this payment; whoever only reads it does not wait.
        let lock = unit.read_for_update_async(&office.payments, payment, Scope::Whole);
        let bill = run(lock, || {
            row.now(Kind::Waits);
            waits();
        })?;
        row.now(Kind::Holds);
        if bill.status != Status::New {
            // Nothing to save; but whoever reports "payed" should know that it is on disk.
            let waited = unit.commit()?.effort().lock_waits > 0;
            return Ok(Done { status: bill.status, how: How::Skipped, waited });
        }
        // A job before this one may have charged, and not lived to say so. Should the provider still be at it, then it is
        // the key that keeps it from charging twice.
        row.mark(Mark::Asks);
        let (answer, how) = match office.till.ask(payment)? {
            Some(answer) => (answer, How::Learned),
            None => (office.till.charge(payment, bill.cents)?, How::Charged),
        };
        match self.luck {
            Luck::Good => {}
            Luck::SaveFails => unit.metadata(&Metadata::default().with("answer", "x".repeat(5_000))),
            // As `panic!`, without its message on the screen.
            Luck::Panics => std::panic::resume_unwind(Box::new("out of paper")),
        }
        if let Some(refusal) = unit.execute(&office.payments, payment, &Command::Record(answer))?.rejection()
        {
            return Err(format!("payment {payment} cannot be settled: {refusal:?}").into());
        }
        let status = unit.peek(&office.payments, payment)?.status;
        row.mark(Mark::Saves);
        // On disk when it returns. The lock is free when the entry has its place in the log, or is refused.
        let waited = unit.commit()?.effort().lock_waits > 0;
        Ok(Done { status, how, waited })
    }
}

/// The first words of a failure, for a row of the timeline.
fn brief(failure: &Failure) -> String {
    match failure.downcast_ref::<boxoffice::Error>() {
        Some(boxoffice::Error::MetadataTooLarge { .. }) => "save refused: too large".into(),
        Some(boxoffice::Error::WouldBlock { .. }) => "WouldBlock, at once".into(),
        Some(boxoffice::Error::LockTimeout { .. }) => "LockTimeout".into(),
        _ => failure.to_string(),
    }
}
