//! A number of equal items, sold until none is left.

use std::fmt;

use rpds::HashTrieSetSync;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use crate::aggregate::{Aggregate, Context, Events};
use crate::error::Invalid;
use crate::limits::Limits;
use crate::scope::{Part, Scope};

/// The kind of the one part that a sale has: its counter.
pub const STOCK: u32 = 0;

/// Longest name of a buyer, in bytes.
pub const MAX_BUYER_BYTES: usize = 255;

/// A number of equal items, sold to whoever comes first, and never more of them than there are.
///
/// All purchases of one sale depend on its one counter, so they are decided one after the other.
///
/// ```
/// use boxoffice::{Engine, flash_sale::{FlashSale, FlashSaleCommand}};
///
/// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
/// let sales = engine.handle::<FlashSale>(())?;
/// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
/// assert!(sales.execute("lamp", &FlashSaleCommand::purchase("ada", 3))?.is_accepted());
/// let late = sales.execute("lamp", &FlashSaleCommand::purchase("bob", 3))?;
/// assert_eq!(late.rejection().map(|no| no.reason()), Some("out_of_stock"));
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
#[derive(Debug)]
pub enum FlashSale {}

/// What a [`FlashSale`] can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum FlashSaleCommand {
    /// Opens the sale. The only command that may be a sale's first.
    Create {
        /// How many items there are, at least 1.
        stock: u64,
    },
    /// Buys items, all or none.
    Purchase {
        /// Who buys, 1 to [`MAX_BUYER_BYTES`] bytes.
        buyer: SmolStr,
        /// How many, at least 1.
        quantity: u64,
    },
}

impl FlashSaleCommand {
    /// Opens a sale of `stock` items, at least 1.
    pub fn create(stock: u64) -> Self {
        Self::Create { stock }
    }

    /// Buys `quantity` items, at least 1, for `buyer`.
    pub fn purchase(buyer: impl AsRef<str>, quantity: u64) -> Self {
        Self::Purchase { buyer: SmolStr::new(buyer), quantity }
    }
}

/// What happened in a [`FlashSale`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FlashSaleEvent {
    /// The sale opened.
    Created {
        /// How many items there are.
        stock: u64,
    },
    /// Items were sold.
    Purchased {
        /// To whom.
        buyer: SmolStr,
        /// How many.
        quantity: u64,
    },
}

/// A sale's no: a recorded fact, not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Who was refused; `None` for a command that names no buyer.
    pub buyer: Option<SmolStr>,
    /// Why.
    pub refusal: Refusal,
}

/// Why a sale said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// Fewer items are left than were wanted; none was sold.
    OutOfStock {
        /// How many were wanted.
        wanted: u64,
        /// How many are left.
        left: u64,
    },
    /// More items were wanted than the sale ever had.
    QuantityAboveStock {
        /// How many were wanted.
        wanted: u64,
        /// How many the sale began with.
        stock: u64,
    },
    /// The sale exists already; nothing about it changed.
    AlreadyCreated,
}

impl Rejection {
    /// Why, in one word for programs: `out_of_stock`, `quantity_above_stock` or `already_created`. These
    /// words do not change.
    pub fn reason(&self) -> &'static str {
        match self.refusal {
            Refusal::OutOfStock { .. } => "out_of_stock",
            Refusal::QuantityAboveStock { .. } => "quantity_above_stock",
            Refusal::AlreadyCreated => "already_created",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(buyer) = &self.buyer {
            write!(f, "buyer {buyer}: ")?;
        }
        f.write_str(self.reason())?;
        match self.refusal {
            Refusal::OutOfStock { wanted, left } => write!(f, ": wanted {wanted}, left {left}"),
            Refusal::QuantityAboveStock { wanted, stock } => {
                write!(f, ": wanted {wanted}, the sale began with {stock}")
            }
            Refusal::AlreadyCreated => Ok(()),
        }
    }
}

/// A sale as it was at one version. Cloning is O(1), and a clone never changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlashSaleState {
    /// 0 before the sale was created, and never again after.
    stock: u64,
    sold: u64,
    buyers: HashTrieSetSync<SmolStr>,
}

impl FlashSaleState {
    /// How many items the sale began with; 0 before it was created.
    pub fn stock(&self) -> u64 {
        self.stock
    }

    /// How many items were sold, at most [`stock`](Self::stock).
    pub fn sold(&self) -> u64 {
        self.sold
    }

    /// How many items are left.
    pub fn left(&self) -> u64 {
        self.stock.saturating_sub(self.sold)
    }

    /// How many different buyers bought something.
    pub fn buyers(&self) -> usize {
        self.buyers.size()
    }

    /// Whether this buyer bought something.
    pub fn has_bought(&self, buyer: &str) -> bool {
        self.buyers.contains(buyer)
    }
}

impl Aggregate for FlashSale {
    const TYPE: &'static str = "flash_sale";

    type State = FlashSaleState;
    type Command = FlashSaleCommand;
    type Event = FlashSaleEvent;
    type Rejection = Rejection;
    type Services = ();

    fn creates(command: &FlashSaleCommand) -> bool {
        matches!(command, FlashSaleCommand::Create { .. })
    }

    fn check(command: &FlashSaleCommand, _limits: &Limits) -> Result<(), Invalid> {
        match command {
            FlashSaleCommand::Create { stock: 0 } => Err(Invalid::new("a sale needs a stock of at least 1")),
            FlashSaleCommand::Purchase { quantity: 0, .. } => {
                Err(Invalid::new("the quantity is 0; buy at least 1"))
            }
            FlashSaleCommand::Purchase { buyer, .. } if !(1..=MAX_BUYER_BYTES).contains(&buyer.len()) => {
                Err(Invalid(format_smolstr!(
                    "a buyer's name must have 1 to {MAX_BUYER_BYTES} bytes, this one has {}",
                    buyer.len()
                )))
            }
            FlashSaleCommand::Create { .. } | FlashSaleCommand::Purchase { .. } => Ok(()),
        }
    }

    fn scope(_state: &FlashSaleState, command: &FlashSaleCommand) -> Scope {
        match command {
            FlashSaleCommand::Create { .. } => Scope::Whole,
            FlashSaleCommand::Purchase { .. } => stock(),
        }
    }

    fn decide(
        state: &FlashSaleState,
        command: &FlashSaleCommand,
        _context: &Context<'_, ()>,
    ) -> Result<Events<FlashSaleEvent>, Rejection> {
        match command {
            FlashSaleCommand::Create { .. } if state.stock > 0 => {
                Err(Rejection { buyer: None, refusal: Refusal::AlreadyCreated })
            }
            FlashSaleCommand::Create { stock } => Ok(FlashSaleEvent::Created { stock: *stock }.into()),
            FlashSaleCommand::Purchase { buyer, quantity } => {
                let (wanted, stock, left) = (*quantity, state.stock, state.left());
                let refusal = if wanted > stock {
                    Refusal::QuantityAboveStock { wanted, stock }
                } else if wanted > left {
                    Refusal::OutOfStock { wanted, left }
                } else {
                    return Ok(FlashSaleEvent::Purchased { buyer: buyer.clone(), quantity: wanted }.into());
                };
                Err(Rejection { buyer: Some(buyer.clone()), refusal })
            }
        }
    }

    fn touches(event: &FlashSaleEvent) -> Scope {
        match event {
            FlashSaleEvent::Created { .. } => Scope::Whole,
            FlashSaleEvent::Purchased { .. } => stock(),
        }
    }

    fn apply(state: &mut FlashSaleState, event: &FlashSaleEvent) {
        match event {
            FlashSaleEvent::Created { stock } if state.stock == 0 => state.stock = *stock,
            FlashSaleEvent::Created { .. } => {}
            FlashSaleEvent::Purchased { buyer, quantity } => {
                debug_assert!(*quantity <= state.left(), "more was sold than was left");
                if *quantity <= state.left() {
                    state.sold += quantity;
                    state.buyers.insert_mut(buyer.clone());
                }
            }
        }
    }
}

/// Every purchase reads and changes the counter, so one named part says all that the whole would, and
/// leaves room for commands that do not depend on the counter.
fn stock() -> Scope {
    Scope::parts([Part::number(STOCK, 0)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn decide(
        state: &FlashSaleState,
        command: &FlashSaleCommand,
    ) -> Result<Events<FlashSaleEvent>, Rejection> {
        let scope = FlashSale::scope(state, command);
        let context = Context { now: Timestamp(0), services: &(), scope: &scope };
        let decision = FlashSale::decide(state, command, &context);
        for event in decision.iter().flat_map(|events| events.iter()) {
            assert!(scope.first_outside(&FlashSale::touches(event)).is_none());
        }
        decision
    }

    #[test]
    fn commands_that_no_sale_could_accept_are_malformed() {
        let refused = |command| FlashSale::check(&command, &Limits::default()).is_err();
        assert!(refused(FlashSaleCommand::create(0)));
        assert!(refused(FlashSaleCommand::purchase("ada", 0)));
        assert!(refused(FlashSaleCommand::purchase("", 1)));
        assert!(refused(FlashSaleCommand::purchase("x".repeat(256), 1)));
        assert!(!refused(FlashSaleCommand::purchase("x".repeat(255), u64::MAX)));
        assert!(FlashSale::creates(&FlashSaleCommand::create(1)));
        assert!(!FlashSale::creates(&FlashSaleCommand::purchase("ada", 1)));
    }

    proptest! {
        /// Each purchase is decided by what is left, which never goes below zero.
        #[test]
        fn what_is_sold_is_what_was_there(
            stock in prop_oneof![1u64..20, Just(u64::MAX)],
            purchases in prop::collection::vec(
                (0u8..4, prop_oneof![1u64..8, Just(u64::MAX), Just(u64::MAX - 3)]), 0..30),
        ) {
            let mut state = FlashSaleState::default();
            let create = FlashSaleCommand::create(stock);
            for event in decide(&state, &create).unwrap() {
                FlashSale::apply(&mut state, &event);
            }
            prop_assert_eq!(decide(&state, &create).unwrap_err().reason(), "already_created");
            let mut left = stock;
            let mut buyers = std::collections::HashSet::new();
            for (buyer, wanted) in purchases {
                let before = state.clone();
                match decide(&state, &FlashSaleCommand::purchase(format!("b{buyer}"), wanted)) {
                    Ok(events) => {
                        prop_assert!(wanted <= left);
                        left -= wanted;
                        buyers.insert(buyer);
                        events.iter().for_each(|event| FlashSale::apply(&mut state, event));
                        prop_assert_eq!(before.left(), left + wanted);
                    }
                    Err(rejection) if wanted > stock => {
                        prop_assert_eq!(rejection.refusal, Refusal::QuantityAboveStock { wanted, stock });
                    }
                    Err(rejection) => {
                        prop_assert!(wanted > left);
                        prop_assert_eq!(rejection.refusal, Refusal::OutOfStock { wanted, left });
                    }
                }
                prop_assert_eq!((state.left(), state.sold()), (left, stock - left));
                prop_assert_eq!(state.buyers(), buyers.len());
            }
        }
    }
}
