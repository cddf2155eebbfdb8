//! The identity of a call on AMQP.

use polywire_core::message::CallId;

use super::digits::push_decimal;

/// A requester and one of its calls. Requests carry it, and replies repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correlation {
    /// Number of the requester, unique within its transport.
    pub(crate) requester: u64,
    /// Number of the call, unique within its requester.
    pub(crate) call: CallId,
}

impl Correlation {
    /// Returns the text of the correlation id: `REQUESTER-CALL`.
    pub(crate) fn text(self) -> String {
        let mut text = String::with_capacity(20 + 1 + 20);
        push_decimal(&mut text, self.requester);
        text.push('-');
        push_decimal(&mut text, self.call.0);
        text
    }
}
