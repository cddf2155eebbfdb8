//! Flaws of headers.

use polywire_core::transport::Sender;
use polywire_core::{Headers, Message};

use crate::flaw::{Flaw, Halves};
use crate::halves::altered;

/// Sends messages with reserved headers, without these headers.
#[derive(Clone)]
pub(crate) struct SendsReserved {
    /// Requests are sent so; otherwise jobs and events.
    pub(crate) requests: bool,
}

impl Flaw for SendsReserved {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (if self.requests { without_reserved(sender) } else { sender }, receiver)
    }

    fn pushing(&self, sender: Sender) -> Sender {
        if self.requests { sender } else { without_reserved(sender) }
    }
}

fn without_reserved(sender: Sender) -> Sender {
    altered(sender, |message: Message| {
        let headers =
            message.headers.iter().filter(|(name, _)| !name.starts_with(Headers::RESERVED));
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        vec![message.with_headers(headers)]
    })
}
