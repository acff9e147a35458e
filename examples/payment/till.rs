//! The till: how a job talks to the provider.

use std::time::Duration;

use crate::payment::Answer;
use crate::provider::Order;
use crate::support::Failure;

/// Longer than the provider ever takes; the time to wait for a lock must be longer still.
const CALL_TAKES_AT_MOST: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) struct Till {
    agent: ureq::Agent,
    provider: String,
}

impl Till {
    pub(crate) fn new(provider: impl std::fmt::Display) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TAKES_AT_MOST))
            // What the provider says no to has its own meaning here.
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { agent: config.into(), provider: format!("http://{provider}") }
    }

    /// The key of a payment's charge. Whoever works on the payment, and however often: it is the same.
    pub(crate) fn key(payment: &str) -> String {
        format!("{payment}-charge")
    }

    /// What became of the payment at the provider, if it knows.
    pub(crate) fn ask(&self, payment: &str) -> Result<Option<Answer>, Failure> {
        let url = format!("{}/charges/{}", self.provider, Self::key(payment));
        let mut reply = self.agent.get(url).call()?;
        match reply.status().as_u16() {
            200 | 404 => Ok(reply.body_mut().read_json()?),
            status => Err(format!("the provider answered {status} to a question").into()),
        }
    }

    /// Charges. Slow; and if there is no answer, nobody knows whether it happened.
    pub(crate) fn charge(&self, payment: &str, cents: u64) -> Result<Answer, Failure> {
        let order = Order { key: Self::key(payment), payment: payment.into(), cents };
        let mut reply = self.agent.post(format!("{}/charges", self.provider)).send_json(&order)?;
        let answer: Option<Answer> = reply.body_mut().read_json()?;
        answer.ok_or_else(|| format!("the provider answered {} to an order", reply.status()).into())
    }
}
