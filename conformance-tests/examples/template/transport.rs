//! The transport of a backend that supports nothing yet.
//!
//! Every method refuses, and the capabilities claim the least, so that the suite runs from the
//! first minute: the cases of the minimum set fail, and all others are not run. Write `responder`
//! and `requester` first, then claim one capability after the other. The guide to backends says
//! what each method owes. The module `polywire_core::transport::kit` has the parts that most
//! backends need: envelopes of messages, limits, receiving halves, unsettled deliveries.

use polywire_core::transport::{Filters, Receiver, Sender, Subscription};
use polywire_core::{Address, Capabilities, Error, Result, Transport, Window};

/// The largest body, in bytes: 1 MiB.
const BODY_MAX: usize = 1 << 20;

/// The transport.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Template;

impl Template {
    /// Creates a transport. It connects to nothing.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Transport for Template {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(BODY_MAX)
    }

    async fn requester(&self, _: &Address) -> Result<(Sender, Receiver)> {
        Err(Error::unsupported("request-reply"))
    }

    async fn responder(&self, _: &Address, _: Window) -> Result<(Sender, Receiver)> {
        Err(Error::unsupported("request-reply"))
    }

    async fn pusher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pipeline"))
    }

    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        Err(Error::unsupported("pipeline"))
    }

    async fn publisher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pubsub"))
    }

    async fn subscriber(&self, _: &Address, _: Subscription) -> Result<(Receiver, Filters)> {
        Err(Error::unsupported("pubsub"))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
