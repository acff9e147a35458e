//! The payment provider: a small web server with a mind of its own. It charges once per key, and takes its time.
//!
//! `POST /charges` with a key, a payment and an amount charges, or gives the first answer to that key again;
//! `GET /charges/{key}` tells what became of a key.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OnceCell, oneshot};

use crate::payment::Answer;
use crate::support::Failure;
use crate::support::patience::PATIENCE;
use crate::timeline::{Kind, Row};

/// Above this every card is declined.
pub(crate) const CARD_LIMIT: u64 = 100_000;

/// What is asked of the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) payment: String,
    pub(crate) cents: u64,
}

/// What the provider did with one payment, by its own books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Number and amount of every charge.
    pub(crate) charges: Vec<(u64, u64)>,
    /// How often it was told to charge.
    pub(crate) orders: u32,
}

pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    books: Arc<Books>,
    /// Absent once it has shut down.
    runtime: Option<Runtime>,
}

struct Books {
    takes: Duration,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// The first order with each key, and the answer to it once there is one.
    keys: HashMap<String, (Order, Arc<OnceCell<Answer>>)>,
    counts: HashMap<String, Counts>,
    charged: u64,
    /// How often it was only asked.
    questions: u32,
    pause: Option<(When, mpsc::Sender<()>, oneshot::Receiver<()>)>,
    /// Who is told of every order that comes.
    doorman: Option<mpsc::Sender<()>>,
    row: Option<Row>,
}

/// Where the provider can be made to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It is at work, and nothing is in its books.
    BeforeCharge,
    /// The charge is in its books, and the caller does not know.
    BeforeAnswer,
}

/// The provider stops there once, until this is dropped.
pub(crate) struct Pause {
    reached: mpsc::Receiver<()>,
    _goes_on: oneshot::Sender<()>,
}

impl Pause {
    /// Blocks until the provider has come there.
    pub(crate) fn reached(&self) -> Result<(), Failure> {
        self.reached.recv_timeout(PATIENCE).map_err(|_| "nobody asked the provider for a charge".into())
    }
}

impl Provider {
    /// Listens on a free port of this machine, on threads of its own.
    pub(crate) fn start(takes: Duration) -> Result<Self, Failure> {
        let books = Arc::new(Books { takes, pages: Mutex::default() });
        let routes = Router::new()
            .route("/charges", post(charge))
            .route("/charges/{key}", get(ask))
            .with_state(Arc::clone(&books));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { address, books, runtime: Some(runtime) })
    }

    /// Shows in this row when it is at work.
    pub(crate) fn show(&self, row: Row) {
        self.books.pages().row = Some(row);
    }

    pub(crate) fn pause(&self, when: When) -> Pause {
        let (tell, reached) = mpsc::channel();
        let (goes_on, wait) = oneshot::channel();
        self.books.pages().pause = Some((when, tell, wait));
        Pause { reached, _goes_on: goes_on }
    }

    /// Hears of every order from now on, when it comes.
    pub(crate) fn orders(&self) -> mpsc::Receiver<()> {
        let (tell, told) = mpsc::channel();
        self.books.pages().doorman = Some(tell);
        told
    }

    /// What it did with a payment, whatever the keys.
    pub(crate) fn counts(&self, payment: &str) -> Counts {
        self.books.pages().counts.get(payment).cloned().unwrap_or_default()
    }

    /// How often it was called, for whatever payment.
    pub(crate) fn calls(&self) -> u32 {
        let pages = self.books.pages();
        pages.questions + pages.counts.values().map(|it| it.orders).sum::<u32>()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn charge(
    State(books): State<Arc<Books>>,
    Json(order): Json<Order>,
) -> (StatusCode, Json<Option<Answer>>) {
    // A caller who hangs up has ordered all the same: the work does not end with the connection.
    let work = tokio::spawn(async move { books.work(order).await });
    match work.await {
        Ok(Some(answer)) => (StatusCode::OK, Json(Some(answer))),
        Ok(None) => (StatusCode::CONFLICT, Json(None)),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(None)),
    }
}

async fn ask(State(books): State<Arc<Books>>, Path(key): Path<String>) -> (StatusCode, Json<Option<Answer>>) {
    match books.find(&key) {
        Some(answer) => (StatusCode::OK, Json(Some(answer))),
        None => (StatusCode::NOT_FOUND, Json(None)),
    }
}

impl Books {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges, unless that was done for this key before. Nothing if the key belongs to another order.
    async fn work(&self, order: Order) -> Option<Answer> {
        let answer = {
            let mut pages = self.pages();
            pages.counts.entry(order.payment.clone()).or_default().orders += 1;
            if let Some(doorman) = &pages.doorman {
                let _ = doorman.send(());
            }
            let first =
                pages.keys.entry(order.key.clone()).or_insert_with(|| (order.clone(), Arc::default()));
            if first.0 != order {
                return None;
            }
            Arc::clone(&first.1)
        };
        // Two calls with one key at one moment: the second waits for the first.
        let answer = answer.get_or_init(|| self.charge(&order)).await.clone();
        self.may_stop(When::BeforeAnswer).await;
        if let Some(row) = &self.pages().row {
            row.rest();
        }
        Some(answer)
    }

    async fn may_stop(&self, here: When) {
        let pause = self.pages().pause.take_if(|(when, ..)| *when == here);
        if let Some((_, tell, goes_on)) = pause {
            let _ = tell.send(());
            let _ = goes_on.await;
        }
    }

    async fn charge(&self, order: &Order) -> Answer {
        if let Some(row) = &self.pages().row {
            row.now(Kind::Charges);
        }
        self.may_stop(When::BeforeCharge).await;
        tokio::time::sleep(self.takes).await;
        if order.cents > CARD_LIMIT {
            return Answer::Declined { reason: "above the limit of the card".into() };
        }
        let mut pages = self.pages();
        pages.charged += 1;
        let charge = pages.charged;
        pages.counts.entry(order.payment.clone()).or_default().charges.push((charge, order.cents));
        Answer::Charged { charge, cents: order.cents }
    }

    fn find(&self, key: &str) -> Option<Answer> {
        let mut pages = self.pages();
        pages.questions += 1;
        pages.keys.get(key)?.1.get().cloned()
    }
}
