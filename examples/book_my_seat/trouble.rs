//! What a client hears when it cannot have what it asked for: a status, a word for programs, and a sentence.

use axum::http::StatusCode;
use boxoffice::Error;
use boxoffice::error::Advice;
use boxoffice::venue::{Refusal, Rejection};
use smol_str::SmolStr;

#[derive(Debug)]
pub(crate) enum Trouble {
    NoSuchShow,
    NoSuchSeat,
    NoSeats,
    /// The same seat twice in one cart.
    SeatTwice(SmolStr),
    /// Somebody has one of the seats.
    Taken,
    /// Another no of the hall.
    Refused(Refusal),
    /// Not what this server understands.
    Malformed(String),
    /// Too much at a time.
    Busy(&'static str),
    NoSuchRoute,
    WrongMethod,
    TooLarge,
    TooSlow,
    Engine(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Rejection<SmolStr>> for Trouble {
    fn from(no: Rejection<SmolStr>) -> Self {
        match no.refusal {
            Refusal::Seats(_) => Self::Taken,
            other => Self::Refused(other),
        }
    }
}

impl Trouble {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchShow | Self::NoSuchSeat | Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::NoSeats | Self::SeatTwice(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Taken => StatusCode::CONFLICT,
            Self::Refused(refusal) => match refusal {
                Refusal::HoldNotFound | Refusal::CategoryNotFound { .. } => StatusCode::NOT_FOUND,
                Refusal::HoldExpired => StatusCode::GONE,
                Refusal::NotHolder => StatusCode::FORBIDDEN,
                _ => StatusCode::CONFLICT,
            },
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Engine(Error::InvalidCommand { .. }) => StatusCode::BAD_REQUEST,
            Self::Engine(error) => match error.advice() {
                Advice::Retry | Advice::Wait | Advice::Stop => StatusCode::SERVICE_UNAVAILABLE,
                Advice::Fix => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// One word for programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NoSuchShow => "show_not_found",
            Self::NoSuchSeat => "not_found",
            Self::NoSeats => "no_seats",
            Self::SeatTwice(_) => "seat_twice",
            Self::Taken => "conflict",
            Self::Refused(refusal) => refusal.reason(),
            Self::Malformed(_) | Self::Engine(Error::InvalidCommand { .. }) => "bad_request",
            Self::Busy(_) => "busy",
            Self::NoSuchRoute => "no_such_route",
            Self::WrongMethod => "method_not_allowed",
            Self::TooLarge => "body_too_large",
            Self::TooSlow => "request_timeout",
            Self::Engine(error) => match error.advice() {
                Advice::Retry => "try_again",
                // It was decided, and only the disk is slow.
                Advice::Wait => "not_yet_durable",
                Advice::Stop => "out_of_service",
                Advice::Fix => "internal_error",
            },
        }
    }

    /// A sentence for people. None for what the original wire says in one word, and nothing else.
    pub(crate) fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::NoSuchShow | Self::NoSuchSeat | Self::NoSeats | Self::Taken => return None,
            Self::SeatTwice(seat) => format!("seat {seat} is in the cart twice; name it once"),
            Self::Refused(refusal) => explain(refusal),
            Self::Malformed(why) => why.clone(),
            Self::Busy(why) => (*why).into(),
            Self::NoSuchRoute => "there is nothing at this address; begin at /".into(),
            Self::WrongMethod => "this address takes another method".into(),
            Self::TooLarge => "the body is larger than any cart of this hall needs".into(),
            Self::TooSlow => "the request took too long to arrive or to be answered".into(),
            Self::Engine(error) => error.to_string(),
        })
    }
}

/// A refusal as a sentence.
fn explain(refusal: &Refusal) -> String {
    match refusal {
        Refusal::HoldNotFound => "there is no such hold".into(),
        Refusal::HoldExpired => "the time was up, and the seats may be somebody else's by now".into(),
        Refusal::HoldConfirmed => "the hold was confirmed already; its seats are sold to you".into(),
        Refusal::NotHolder => "this hold is somebody else's".into(),
        Refusal::LifetimeReached => "the hold has all the time that it can have".into(),
        Refusal::SoldOut => "no seat is free there".into(),
        Refusal::NoSuchBlock { wants } => format!("{wants} seats side by side are not free there"),
        other => other.to_string(),
    }
}
