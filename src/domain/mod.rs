//! The aggregates that come with the crate: pure, without I/O, written with the public trait alone.

pub mod flash_sale;
pub mod layout;
pub mod venue;
