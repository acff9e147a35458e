//! What the stored history says about a sale, counted without asking anybody.

use boxoffice::Error;

use crate::SEATS;
use crate::sellers::{Deed, Seller};

#[derive(Default)]
pub(crate) struct Findings {
    /// Sales in the history.
    pub(crate) sales: u64,
    /// Seats that were sold at least once, and more than once.
    pub(crate) claimed: u64,
    pub(crate) sold_twice: u64,
    /// Customers who were refused because nothing was left.
    pub(crate) sold_out: u64,
    /// Seats that are taken in the state that the engine shows.
    pub(crate) shown: u64,
}

pub(crate) fn audit<S: Seller>(seller: &S) -> Result<Findings, Error> {
    let mut found = Findings { shown: seller.taken()?, ..Findings::default() };
    let mut times_sold = vec![0_u32; SEATS as usize];
    for record in seller.history()? {
        match S::deed(&record?.what) {
            Deed::Sold(seat) => {
                found.sales += 1;
                if let Some(times) = times_sold.get_mut(seat.index()) {
                    *times += 1;
                }
            }
            Deed::SoldOut => found.sold_out += 1,
            Deed::Other => {}
        }
    }
    found.claimed = times_sold.iter().filter(|times| **times > 0).count() as u64;
    found.sold_twice = times_sold.iter().filter(|times| **times > 1).count() as u64;
    Ok(found)
}
