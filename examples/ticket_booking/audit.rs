//! What the stored history says about a sale, counted without asking anybody.

use std::collections::BTreeMap;

use boxoffice::Error;

use boxoffice::layout::SeatIndex;

use crate::SEATS;
use crate::sellers::{Deed, Seller};

/// What the history has of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Seat(SeatIndex),
    SoldOut,
}

#[derive(Default)]
pub(crate) struct Findings {
    /// Sales in the history.
    pub(crate) sales: u64,
    /// Seats that were sold at least once, and more than once.
    pub(crate) claimed: u64,
    pub(crate) sold_twice: u64,
    /// Customers who were refused because nothing was left.
    pub(crate) sold_out: u64,
    /// Of each customer, what is stored. Who is not here left no trace.
    pub(crate) stored: BTreeMap<u64, Stored>,
    /// Seats that are taken in the state that the engine shows.
    pub(crate) shown: u64,
}

pub(crate) fn audit<S: Seller>(seller: &S) -> Result<Findings, Error> {
    let mut found = Findings { shown: seller.taken()?, ..Findings::default() };
    let mut times_sold = vec![0_u32; SEATS as usize];
    for record in seller.history()? {
        match S::deed(&record?.what) {
            Deed::Sold { customer, seat } => {
                found.sales += 1;
                found.stored.insert(customer, Stored::Seat(seat));
                if let Some(times) = times_sold.get_mut(seat.index()) {
                    *times += 1;
                }
            }
            Deed::SoldOut { customer } => {
                found.sold_out += 1;
                found.stored.extend(customer.map(|customer| (customer, Stored::SoldOut)));
            }
            Deed::Other => {}
        }
    }
    found.claimed = times_sold.iter().filter(|times| **times > 0).count() as u64;
    found.sold_twice = times_sold.iter().filter(|times| **times > 1).count() as u64;
    Ok(found)
}
