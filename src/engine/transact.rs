//! A transaction as a closure: run again, as a whole, until it gets through.

use std::sync::Arc;

use super::Engine;
use super::options::{Exhausted, Options};
use super::staged::Committed;
use super::transaction::Transaction;
use crate::error::Error;
use crate::sync::{Patience, run_blocking};

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
        run_blocking(self.run(options, async |unit: &mut Transaction| body(unit), &mut patience))
    }

    /// [`transact`](Self::transact) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn transact_async<T, E: From<Error>>(
        &self,
        options: Options,
        body: impl AsyncFnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<(T, Committed), E> {
        let mut patience = Patience::of_task(options.limit(), &self.shared.timer);
        self.run(options, body, &mut patience).await
    }

    async fn run<T, E: From<Error>>(
        &self,
        options: Options,
        mut body: impl AsyncFnMut(&mut Transaction) -> Result<T, E>,
        patience: &mut Patience<'_>,
    ) -> Result<(T, Committed), E> {
        let mut unit = self.begin(options);
        let nudge = !patience.is_thread();
        loop {
            let returned = body(&mut unit).await;
            let lost = match (unit.lost.take(), returned) {
                (Some(lost), _) => lost,
                (None, Err(error)) => return Err(error),
                (None, Ok(value)) => match unit.settle(patience, nudge).await {
                    Ok((committed, wait_for)) => {
                        drop(unit);
                        self.shared.log.wait_durable(wait_for, patience).await?;
                        return Ok((value, committed));
                    }
                    Err(lost @ (Error::Conflict { .. } | Error::WouldBlock { .. })) => lost,
                    Err(error) => return Err(error.into()),
                },
            };
            unit = unit.again(lost, patience).await?;
        }
    }
}

impl Transaction {
    /// What follows a run that was lost.
    async fn again(mut self, lost: Error, patience: &mut Patience<'_>) -> Result<Self, Error> {
        let options = self.locking.options;
        let mut effort = self.locking.effort;
        effort.conflicts += 1;
        let used_up = effort.conflicts > options.retries;
        if used_up && options.exhausted == Exhausted::Conflict {
            return Err(match lost {
                Error::Conflict { stream, .. } => Error::Conflict { stream, attempts: effort.conflicts },
                other => other,
            });
        }
        let in_order = used_up && effort.turn;
        // Somebody's lock is waited for, not run against.
        effort.turn |= used_up || matches!(lost, Error::WouldBlock { .. });
        let shared = Arc::clone(&self.locking.shared);
        let mut next = Transaction::resumed(shared, options, effort);
        loop {
            // The locks go before anything is asked for again.
            self.branches.iter_mut().for_each(|branch| branch.restart());
            if !in_order {
                return Ok(next);
            }
            next.branches = std::mem::take(&mut self.branches);
            match next.take_all_in_order(patience).await {
                // Others lock in orders of their own, and one of them went on.
                Err(Error::Deadlock { .. }) if !patience.is_over() => next.locking.effort.conflicts += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(next),
            }
            self.branches = std::mem::take(&mut next.branches);
        }
    }
}
