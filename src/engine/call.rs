//! One call: a command with what it says about itself, its id above all.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use smol_str::SmolStr;

use super::attempt::Execution;
use super::handle::Handle;
use super::history::{Happened, happened};
use super::ids::{Claim, Claimed};
use super::outcome::{Effort, Outcome};
use super::receipt::Receipt;
use super::schema::Schema;
use crate::aggregate::{Aggregate, Events};
use crate::error::{Error, StreamName};
use crate::log::{EntryView, fingerprint, put_command, put_metadata};
use crate::metadata::Metadata;
use crate::sync::{Patience, run_blocking};

/// Longest command id, in bytes.
const MAX_ID_BYTES: usize = 255;

/// A command that is about to be sent, with an id or with metadata. Started by
/// [`Handle::call`](crate::Handle::call).
///
/// ```
/// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
/// use boxoffice::options::Metadata;
/// use boxoffice::Engine;
///
/// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
/// let sales = engine.handle::<FlashSale>(())?;
/// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
///
/// // The browser sends it twice; it is one purchase, and both get its outcome.
/// let buy = FlashSaleCommand::purchase("ada", 2);
/// let of_ada = Metadata::default().with_user("ada");
/// let first = sales.call().id("order-17").metadata(&of_ada).execute("lamp", &buy)?;
/// let again = sales.call().id("order-17").execute("lamp", &buy)?;
/// assert_eq!((again.position(), again.is_repeated()), (first.position(), true));
/// assert_eq!(sales.read("lamp")?.left(), 3);
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
#[must_use = "nothing is sent until the call is executed or submitted"]
pub struct Call<'h, A: Aggregate> {
    handle: &'h Handle<A>,
    // Boxed: a call that says nothing, which most do, is a pointer or two.
    own: Option<Box<Own<A>>>,
}

/// What a call says beside its command and beside what its handle says.
struct Own<A: Aggregate> {
    metadata: Option<Metadata>,
    id: Option<Identity<A>>,
}

/// An id, and how to tell another command with the same one from it.
struct Identity<A: Aggregate> {
    id: SmolStr,
    bytes: usize,
    fingerprint: fn(&StreamName, &A::Command) -> Result<u64, String>,
}

impl<'h, A: Aggregate> Call<'h, A> {
    pub(super) fn new(handle: &'h Handle<A>) -> Self {
        Self { handle, own: None }
    }

    fn own(&mut self) -> &mut Own<A> {
        self.own.get_or_insert_with(|| Box::new(Own { metadata: None, id: None }))
    }

    /// Gives the command an id of 1 to 255 bytes, unique in the file. The same command with the same id again, also
    /// at the same moment from elsewhere, after a restart, or after
    /// [`Error::OutcomeUnknown`], is one decision: every caller gets the first one's outcome,
    /// a rejection too, which is therefore always recorded. A call that ended in an error that is not about
    /// durability decided nothing, and its id is free again.
    ///
    /// An id that comes again is answered from the log: the call waits until the first decision is on disk,
    /// for [`submit`](Self::submit) too, and reads its batch. It is known for as long as
    /// [`Limits::command_ids`](crate::Limits::command_ids) says.
    ///
    /// The command is compared by its serialized form, as a 64-bit fingerprint: change the command's type, and an
    /// id from before the change is another command's.
    pub fn id(mut self, id: impl AsRef<str>) -> Self
    where
        A::Command: Serialize,
    {
        let fingerprint = |stream: &StreamName, command: &A::Command| {
            fingerprint(&(stream.aggregate.as_str(), stream.id.as_str(), command))
        };
        let bytes = id.as_ref().len();
        // One of the wrong length is refused when the call is sent; it is not kept for that.
        let kept = if bytes <= MAX_ID_BYTES { id.as_ref() } else { "" };
        self.own().id = Some(Identity { id: SmolStr::new(kept), bytes, fingerprint });
        self
    }

    /// Says something about this call, on top of what its handle says.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        let own = self.own();
        own.metadata = Some(own.metadata.take().unwrap_or_default().overlaid(metadata));
        self
    }

    /// [`Handle::execute`](crate::Handle::execute).
    ///
    /// # Errors
    ///
    /// As there; [`Error::InvalidCommandId`], [`Error::IdReused`], [`Error::MetadataTooLarge`].
    ///
    /// # Panics
    ///
    /// As there; what `Serialize` of the command panics with passes through too.
    pub fn execute(self, stream: impl AsRef<str>, command: &A::Command) -> Result<Outcome<A>, Error> {
        let mut patience = Patience::of_thread(self.handle.options.limit());
        let mut outcome = None;
        // No nudge: a thread commits in place if nobody else does.
        let position = self.run(stream.as_ref(), command, &mut patience, false, &mut outcome)?;
        run_blocking(self.handle.shared.log.wait_durable(position, &mut patience))?;
        outcome.ok_or(Error::Closed)
    }

    /// [`execute`](Self::execute) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn execute_async(
        self,
        stream: impl AsRef<str>,
        command: &A::Command,
    ) -> Result<Outcome<A>, Error> {
        let mut patience = Patience::of_task(self.handle.options.limit(), &self.handle.shared.timer);
        let mut outcome = None;
        // A task needs the writer.
        let position = self.run_async(stream.as_ref(), command, &mut patience, true, &mut outcome).await?;
        self.handle.shared.log.wait_durable(position, &mut patience).await?;
        outcome.ok_or(Error::Closed)
    }

    /// [`Handle::submit`](crate::Handle::submit).
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), except for those of the wait for the disk, which the receipt reports.
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn submit(self, stream: impl AsRef<str>, command: &A::Command) -> Result<Receipt<Outcome<A>>, Error> {
        let shared = &self.handle.shared;
        let mut patience = Patience::of_thread(self.handle.options.limit());
        // The outcome is written where it stays.
        let mut receipt = Receipt::new(Arc::clone(shared), None, 0);
        receipt.position = self.run(stream.as_ref(), command, &mut patience, true, &mut receipt.outcome)?;
        Ok(receipt)
    }

    /// [`submit`](Self::submit) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn submit_async(
        self,
        stream: impl AsRef<str>,
        command: &A::Command,
    ) -> Result<Receipt<Outcome<A>>, Error> {
        let shared = &self.handle.shared;
        let mut patience = Patience::of_task(self.handle.options.limit(), &shared.timer);
        let mut receipt = Receipt::new(Arc::clone(shared), None, 0);
        let outcome = &mut receipt.outcome;
        receipt.position = self.run_async(stream.as_ref(), command, &mut patience, true, outcome).await?;
        Ok(receipt)
    }

    /// Leaves the outcome in its place. Returns the position up to which all must be durable before it is.
    fn run(
        &self,
        id: &str,
        command: &A::Command,
        patience: &mut Patience<'_>,
        nudge: bool,
        outcome: &mut Option<Outcome<A>>,
    ) -> Result<u64, Error> {
        match self.plain(id, command, patience, nudge) {
            Ok(execution) => execution.run(outcome),
            Err(patience) => run_blocking(self.run_with_sections(id, command, patience, nudge, outcome)),
        }
    }

    /// As [`run`](Self::run), for a task.
    async fn run_async(
        &self,
        id: &str,
        command: &A::Command,
        patience: &mut Patience<'_>,
        nudge: bool,
        outcome: &mut Option<Outcome<A>>,
    ) -> Result<u64, Error> {
        match self.plain(id, command, patience, nudge) {
            Ok(execution) => execution.run_async(outcome).await,
            // Boxed: a call that says nothing keeps nothing of this in its future.
            Err(patience) => Box::pin(self.run_with_sections(id, command, patience, nudge, outcome)).await,
        }
    }

    /// The execution of a call that says nothing about itself; of another one only its patience.
    fn plain<'c, 't>(
        &self,
        id: &'c str,
        command: &'c A::Command,
        patience: &'c mut Patience<'t>,
        nudge: bool,
    ) -> Result<Execution<'c, 't, A>, &'c mut Patience<'t>>
    where
        'h: 'c,
    {
        let handle = self.handle;
        if self.own.is_some() || handle.metadata.is_some() {
            return Err(patience);
        }
        Ok(Execution { handle, id, command, patience, nudge, sections: &[], always: false })
    }

    async fn run_with_sections(
        &self,
        id: &str,
        command: &A::Command,
        patience: &mut Patience<'_>,
        nudge: bool,
        outcome: &mut Option<Outcome<A>>,
    ) -> Result<u64, Error> {
        let handle = self.handle;
        handle.shared.log.check_open()?;
        handle.check_id(id)?;
        // An id and a little metadata.
        let mut sections = Vec::with_capacity(64);
        let (of_handle, own) = (handle.metadata.as_deref(), self.own.as_deref());
        let metadata = match (of_handle, own.and_then(|own| own.metadata.as_ref())) {
            (Some(theirs), Some(mine)) => Some(Cow::Owned(theirs.overlaid(mine))),
            (theirs, mine) => theirs.or(mine).map(Cow::Borrowed),
        };
        if let Some(metadata) = &metadata {
            put_metadata(&mut sections, metadata, handle.shared.log.limits())?;
        }
        let mut claimed = None;
        if let Some(identity) = own.and_then(|own| own.id.as_ref()) {
            let name = handle.name(id);
            let told = identity.fingerprint(&name, command)?;
            claimed = match self.claim(identity, told, &name, patience).await? {
                Ok(claimed) => Some(claimed),
                Err(position) => {
                    *outcome = Some(self.repeat(&name, position, patience).await?);
                    return Ok(position);
                }
            };
            put_command(&mut sections, &identity.id, told);
        }
        let (sections, always) = (&sections[..], claimed.is_some());
        let execution = Execution { handle, id, command, patience, nudge, sections, always };
        let position = execution.run_async(outcome).await?;
        if let Some(claimed) = claimed {
            claimed.decided(position);
        }
        Ok(position)
    }

    /// The right to decide, or where it was decided.
    async fn claim(
        &self,
        identity: &Identity<A>,
        fingerprint: u64,
        name: &StreamName,
        patience: &mut Patience<'_>,
    ) -> Result<Result<Claimed<'h>, u64>, Error> {
        let Handle { shared, options, .. } = self.handle;
        loop {
            let place = match shared.ids.claim(&identity.id, fingerprint) {
                Claim::Mine(claimed) => return Ok(Ok(claimed)),
                Claim::Decided(position) => return Ok(Err(position)),
                Claim::Reused => return Err(Error::IdReused { id: identity.id.clone() }),
                Claim::Deciding(place) => place,
            };
            if options.limit().is_none() {
                return Err(Error::WouldBlock { stream: name.clone() });
            }
            if !place.wait(patience).await {
                return Err(Error::LockTimeout { stream: name.clone(), waited: patience.waited() });
            }
        }
    }

    /// The outcome of an earlier command with this id, as it was stored.
    async fn repeat(
        &self,
        name: &StreamName,
        position: u64,
        patience: &mut Patience<'_>,
    ) -> Result<Outcome<A>, Error> {
        let log = &self.handle.shared.log;
        log.wait_durable(position, patience).await?;
        let (mut row, mut outcome) = (Vec::new(), None);
        if let Some(view) = log.read_row(position, &mut row)? {
            view.for_each(|at, entry| {
                if at == position {
                    outcome = Some(recorded(&self.handle.registry.schema, name, position, entry)?);
                }
                Ok::<_, Error>(())
            })?;
        }
        outcome.ok_or_else(|| log.broken(format!("position {position} has an id and no entry")))
    }
}

impl<A: Aggregate> Identity<A> {
    fn fingerprint(&self, stream: &StreamName, command: &A::Command) -> Result<u64, Error> {
        let bytes = self.bytes;
        if !(1..=MAX_ID_BYTES).contains(&bytes) {
            return Err(Error::InvalidCommandId { bytes, limit: MAX_ID_BYTES });
        }
        (self.fingerprint)(stream, command).map_err(|cause| Error::Encode { cause: cause.into() })
    }
}

/// The outcome that an entry holds.
fn recorded<A: Aggregate>(
    schema: &Schema<A>,
    name: &StreamName,
    position: u64,
    entry: &EntryView<'_>,
) -> Result<Outcome<A>, Error> {
    let fenced = |reason| Error::Fenced { stream: name.clone(), reason };
    let answer = entry.sections.answer()?;
    let (mut events, mut rejected) = (Vec::new(), None);
    let stored = entry.events().map(|event| event.map_err(Error::from));
    let answered = answer.as_ref().and_then(|answer| answer.rejection).map(Ok);
    for event in stored.chain(answered) {
        match happened(schema, &event?).map_err(fenced)? {
            Happened::Event(event) => events.push(event),
            Happened::Rejection(rejection) => rejected = Some(rejection),
        }
    }
    let decided = match rejected {
        Some(rejection) => Err(rejection),
        None => Ok(events.into_iter().collect::<Events<_>>()),
    };
    let span = entry.spans.first().map(|span| span.first_version + u64::from(span.events) - 1);
    let version = span.or(answer.map(|answer| answer.version)).unwrap_or_default();
    let effort = Effort { repeated: true, ..Effort::default() };
    Ok(Outcome { decided, version, position, decided_at: entry.decided_at, effort })
}
