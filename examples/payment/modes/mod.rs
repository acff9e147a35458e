//! Scene 5: the ways to ask for a lock.

mod share;
mod skip;
mod upgrade;
mod wait;

pub(crate) use share::readers_together;
pub(crate) use skip::skip_locked;
pub(crate) use upgrade::two_who_share;
pub(crate) use wait::not_for_ever;
