//! Rules that no command can forget: evaluated at the commit, on the current state.

use std::fmt;

use crate::aggregate::Aggregate;

/// A named rule over what an event does to a state.
pub(crate) struct Policy<A: Aggregate> {
    pub(crate) name: &'static str,
    holds: Box<Rule<A>>,
}

type Rule<A> = dyn Fn(&<A as Aggregate>::State, &<A as Aggregate>::Event, &<A as Aggregate>::State) -> bool
    + Send
    + Sync;

impl<A: Aggregate> Policy<A> {
    pub(crate) fn new(
        name: &'static str,
        holds: impl Fn(&A::State, &A::Event, &A::State) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { name, holds: Box::new(holds) }
    }

    /// The first policy that this event breaks.
    pub(crate) fn first_broken(
        policies: &[Self],
        before: &A::State,
        event: &A::Event,
        after: &A::State,
    ) -> Option<&'static str> {
        policies.iter().find(|policy| !(policy.holds)(before, event, after)).map(|policy| policy.name)
    }
}

impl<A: Aggregate> fmt::Debug for Policy<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.name).finish()
    }
}
