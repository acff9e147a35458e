//! A transaction as a closure: run again, as a whole, until it gets through.

use std::future::ready;
use std::sync::Arc;

use super::branch::Branches;
use super::options::{Exhausted, Options};
use super::outcome::Effort;
use super::staged::Committed;
use super::transaction::Transaction;
use super::{Engine, Shared};
use crate::error::Error;
use crate::sync::{Mutex, Patience, run_blocking};

impl Engine {
    /// Begins a transaction. Nothing is locked yet.
    pub fn begin(&self, options: Options) -> Transaction {
        Transaction::new(Arc::clone(&self.shared), options)
    }

    /// Runs `body` in a transaction and commits what it staged, durable; runs all of it again when what it saw has
    /// changed, or when it was to give way in a deadlock. After [`Options::retries`] it takes a turn: with
    /// locks, and if even that ends in deadlocks, with locks on all that it used the last time, taken in one order; or
    /// it is [`Error::Conflict`] or [`Error::Deadlock`], as [`Options::exhausted`] says.
    ///
    /// Keep what `body` does outside the transaction repeatable. An error of its own rolls back and is returned.
    ///
    /// ```
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
    /// use boxoffice::{Engine, Error, Options};
    ///
    /// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
    /// let sales = engine.handle::<FlashSale>(())?;
    /// for (item, stock) in [("lamp", 5), ("bulb", 1)] {
    ///     assert!(sales.execute(item, &FlashSaleCommand::create(stock))?.is_accepted());
    /// }
    /// let (sold, committed) = engine.transact(Options::optimistic(), |unit| {
    ///     for item in ["lamp", "bulb"] {
    ///         if !unit.execute(&sales, item, &FlashSaleCommand::purchase("ada", 1))?.is_accepted() {
    ///             return Ok::<_, Error>(false);
    ///         }
    ///     }
    ///     Ok(true)
    /// })?;
    /// assert!(sold && committed.position() == Some(3));
    /// # engine.close()?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `body` returns, and what [`Transaction::commit`] can end in.
    pub fn transact<T, E: From<Error>>(
        &self,
        options: Options,
        mut body: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<(T, Committed), E> {
        let mut patience = Patience::of_thread(options.limit());
        let body = |mut unit: Transaction| ready(body(&mut unit).map(|value| (unit, value)));
        run_blocking(self.run(options, body, &mut patience))
    }

    /// [`transact`](Self::transact) for a task. The body is given the transaction and gives it back, so that the
    /// future can be sent to other threads whatever it borrows.
    ///
    /// ```
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
    /// use boxoffice::options::Committed;
    /// use boxoffice::{Engine, Error, Handle, Options};
    ///
    /// async fn sell(engine: &Engine, sales: &Handle<FlashSale>) -> Result<Committed, Error> {
    ///     let body = |mut unit: boxoffice::Transaction| async move {
    ///         let one = FlashSaleCommand::purchase("ada", 1);
    ///         let sold = unit.execute_async(sales, "lamp", &one).await?.is_accepted();
    ///         Ok::<_, Error>((unit, sold))
    ///     };
    ///     let (_sold, committed) = engine.transact_async(Options::optimistic(), body).await?;
    ///     Ok(committed)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn transact_async<T, E, F, Fut>(&self, options: Options, body: F) -> Result<(T, Committed), E>
    where
        E: From<Error>,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<(Transaction, T), E>>,
    {
        let mut patience = Patience::of_task(options.limit(), &self.shared.timer);
        self.run(options, body, &mut patience).await
    }

    async fn run<T, E, F, Fut>(
        &self,
        options: Options,
        mut body: F,
        patience: &mut Patience<'_>,
    ) -> Result<(T, Committed), E>
    where
        E: From<Error>,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<(Transaction, T), E>>,
    {
        let nudge = !patience.is_thread();
        let lost = Arc::new(Mutex::new(None));
        let mut unit = self.begin(options);
        unit.if_lost = Some(Arc::clone(&lost));
        loop {
            let failed = match body(unit).await {
                Err(error) => error,
                Ok((mut unit, value)) => match unit.settle(patience, nudge).await {
                    Ok((committed, wait_for)) => {
                        drop(unit);
                        self.shared.log.wait_durable(wait_for, patience).await?;
                        return Ok((value, committed));
                    }
                    Err(error) => {
                        if matches!(error, Error::Conflict { .. } | Error::WouldBlock { .. }) {
                            unit.lost = Some(error.clone());
                        }
                        error.into()
                    }
                },
            };
            // A body may make an error of its own of it; whether the unit was lost is what counts.
            let Some(remains) = lost.lock().take() else { return Err(failed) };
            unit = remains.begin_again(&lost, patience).await?;
        }
    }
}

/// Where a unit that was lost leaves what the next run needs.
pub(super) type IfLost = Arc<Mutex<Option<Remains>>>;

/// What is left of a unit that was lost.
pub(super) struct Remains {
    lost: Error,
    options: Options,
    effort: Effort,
    shared: Arc<Shared>,
    /// Without anything staged or held.
    branches: Branches,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let (Some(if_lost), Some(lost)) = (self.if_lost.take(), self.lost.take()) else { return };
        // The locks go before anything is asked for again.
        self.branches.iter_mut().for_each(|branch| branch.restart());
        let branches = std::mem::take(&mut self.branches);
        let (options, effort) = (self.locking.options, self.locking.effort);
        let remains = Remains { lost, options, effort, shared: Arc::clone(&self.locking.shared), branches };
        let before = if_lost.lock().replace(remains);
        drop(before);
    }
}

impl Remains {
    async fn begin_again(self, if_lost: &IfLost, patience: &mut Patience<'_>) -> Result<Transaction, Error> {
        let Self { lost, options, mut effort, shared, mut branches } = self;
        effort.conflicts += 1;
        let used_up = effort.conflicts > options.retries;
        // The wait of all runs together has a bound, as that of one call has.
        let give_up = used_up && options.exhausted == Exhausted::Conflict;
        if give_up || patience.is_over() {
            return Err(match lost {
                Error::Conflict { stream, .. } => Error::Conflict { stream, attempts: effort.conflicts },
                other => other,
            });
        }
        let in_order = used_up && effort.turn;
        // Somebody's lock is waited for, not run against.
        effort.turn |= used_up || matches!(lost, Error::WouldBlock { .. });
        let mut next = Transaction::resumed(shared, options, effort);
        if in_order {
            loop {
                next.branches = std::mem::take(&mut branches);
                match next.take_all_in_order(patience).await {
                    Ok(()) => break,
                    // Others lock in orders of their own, and one of them went on.
                    Err(Error::Deadlock { .. }) if !patience.is_over() => next.locking.effort.conflicts += 1,
                    Err(error) => return Err(error),
                }
                next.branches.iter_mut().for_each(|branch| branch.restart());
                branches = std::mem::take(&mut next.branches);
            }
        }
        next.if_lost = Some(Arc::clone(if_lost));
        Ok(next)
    }
}
