//! What a venue and a flash sale are, by their specification: plain maps, labels, one step at a time.

use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    Open { seats: Vec<(String, u64)>, limit: Option<usize> },
    Reserve { who: u64, seats: Vec<String> },
    Release { who: u64, seats: Vec<String> },
    Force { seats: Vec<String> },
    Stock(u64),
    Buy { who: String, count: u64 },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Opened,
    /// Who, which seats, for how much.
    Reserved(u64, Vec<String>, u64),
    /// By holder, in the order of the holders.
    Released(Vec<(u64, Vec<String>)>),
    Sold(String, u64),
    /// Each thing that is in the way, and what is the matter with it.
    No(Vec<(String, &'static str)>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    price: HashMap<String, u64>,
    holder: HashMap<String, u64>,
    limit: Option<usize>,
    stock: u64,
    sold: u64,
}

impl Model {
    pub(crate) fn answer(&self, ask: &Ask) -> Answer {
        let no = |what: &str, why| Answer::No(vec![(what.to_owned(), why)]);
        match ask {
            Ask::Open { .. } if !self.price.is_empty() => no("", "already_created"),
            Ask::Stock(_) if self.stock > 0 => no("", "already_created"),
            Ask::Open { .. } | Ask::Stock(_) => Answer::Opened,
            Ask::Reserve { who, seats } => {
                let taken = |seat: &String| self.holder.contains_key(seat).then_some("seat_reserved");
                let has = self.holder.values().filter(|holder| *holder == who).count();
                let above = self.limit.is_some_and(|limit| has + seats.len() > limit);
                self.against(seats, taken).unwrap_or_else(|| match above {
                    true => no(&format!("{has}+{}", seats.len()), "limit_reached"),
                    false => {
                        Answer::Reserved(*who, seats.clone(), seats.iter().map(|it| self.price[it]).sum())
                    }
                })
            }
            Ask::Release { who, seats } => {
                let not_mine = |seat: &String| match self.holder.get(seat) {
                    None => Some("seat_not_reserved"),
                    Some(holder) => (holder != who).then_some("not_holder"),
                };
                self.against(seats, not_mine).unwrap_or_else(|| Answer::Released(vec![(*who, seats.clone())]))
            }
            Ask::Force { seats } => {
                let free = |seat: &String| (!self.holder.contains_key(seat)).then_some("seat_not_reserved");
                self.against(seats, free).unwrap_or_else(|| {
                    let mut holders: Vec<u64> = seats.iter().map(|seat| self.holder[seat]).collect();
                    holders.sort_unstable();
                    holders.dedup();
                    let of = |who| seats.iter().filter(|seat| self.holder[*seat] == who).cloned().collect();
                    Answer::Released(holders.into_iter().map(|who| (who, of(who))).collect())
                })
            }
            Ask::Buy { who, count } if *count > self.stock => no(who, "quantity_above_stock"),
            Ask::Buy { who, count } if *count > self.stock - self.sold => no(who, "out_of_stock"),
            Ask::Buy { who, count } => Answer::Sold(who.clone(), *count),
        }
    }

    fn against(&self, cart: &[String], wrong: impl Fn(&String) -> Option<&'static str>) -> Option<Answer> {
        let wrong = |seat| if self.price.contains_key(seat) { wrong(seat) } else { Some("seat_not_found") };
        let refused: Vec<_> = cart.iter().filter_map(|seat| Some((seat.clone(), wrong(seat)?))).collect();
        (!refused.is_empty()).then_some(Answer::No(refused))
    }

    pub(crate) fn follow(&mut self, ask: &Ask, answer: &Answer) {
        match (ask, answer) {
            (Ask::Open { seats, limit }, Answer::Opened) => {
                (self.price, self.limit) = (seats.iter().cloned().collect(), *limit);
            }
            (Ask::Stock(stock), Answer::Opened) => self.stock = *stock,
            (_, Answer::Reserved(who, seats, _)) => seats.iter().for_each(|seat| {
                self.holder.insert(seat.clone(), *who);
            }),
            (_, Answer::Released(freed)) => freed.iter().flat_map(|(_, seats)| seats).for_each(|seat| {
                self.holder.remove(seat);
            }),
            (_, Answer::Sold(_, count)) => self.sold += count,
            _ => {}
        }
    }
}
