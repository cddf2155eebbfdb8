//! The gate that a request passes before it begins, if it must never be begun twice.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Code, Fault, Result};
use crate::transport::Receipt;

/// The gate of one delivery of a request, with its receipt.
///
/// The server takes the receipt at the end, to settle the request. A request that passes the gate
/// is settled before it begins: then no server gets it again, not even one that knows of no gate.
pub(crate) struct AtMostOnceGate {
    /// The number of the delivery, from 1.
    attempt: u32,
    state: Mutex<State>,
}

struct State {
    passage: Passage,
    receipt: Receipt,
}

/// The state of a gate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// The request need not pass the gate, or has not done so yet.
    Open,
    /// The request passed.
    Begun,
    /// The caller denied the delivery. It gets no reply.
    Denied,
    /// The request does not begin. Its caller gets a fault.
    Refused,
}

impl AtMostOnceGate {
    /// Creates the gate of a delivery.
    #[inline]
    pub(crate) fn new(receipt: Receipt, attempt: u32) -> Self {
        Self { attempt, state: Mutex::new(State { passage: Passage::Open, receipt }) }
    }

    /// Takes the receipt out. It settles nothing if it was taken before.
    pub(crate) fn take_receipt(&self) -> Receipt {
        std::mem::replace(&mut self.state().receipt, Receipt::none())
    }

    /// Returns whether the request has passed.
    pub(crate) fn is_begun(&self) -> bool {
        self.state().passage == Passage::Begun
    }

    /// Returns whether the caller denied this delivery.
    pub(crate) fn is_denied(&self) -> bool {
        self.state().passage == Passage::Denied
    }

    /// Returns whether the request was not begun, although its service was run.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.state().passage, Passage::Denied | Passage::Refused)
    }

    /// Passes the gate for a caller that cannot be asked: settles the request, so that no other
    /// server gets it.
    ///
    /// # Errors
    ///
    /// [`Code::Interrupted`] for a request that was delivered before: that delivery may have begun,
    /// since its settlement may be lost.
    pub(crate) fn settle_first(&self) -> Result<(), Fault> {
        if self.is_begun() {
            return Ok(());
        }
        if self.attempt > 1 {
            let cause = "cannot run the request: an earlier delivery may have run it";
            return self.refuse(Passage::Refused, Fault::new(Code::Interrupted, cause));
        }
        self.pass();
        Ok(())
    }

    /// Records the answer of the caller; `None` if it did not answer in time.
    ///
    /// # Errors
    ///
    /// [`Code::Interrupted`] if the caller denied, [`Code::Unavailable`] without an answer.
    pub(crate) fn answered(&self, is_permitted: Option<bool>) -> Result<(), Fault> {
        match is_permitted {
            Some(true) => {
                self.pass();
                Ok(())
            }
            Some(false) => {
                let cause = "cannot run the request: its caller has gone, or another delivery of \
                             it has begun";
                self.refuse(Passage::Denied, Fault::new(Code::Interrupted, cause))
            }
            None => {
                let cause = "cannot run the request: its caller did not permit it in time";
                self.refuse(Passage::Refused, Fault::new(Code::Unavailable, cause))
            }
        }
    }

    /// Settles the request, which begins next.
    fn pass(&self) {
        self.state().passage = Passage::Begun;
        // Not under the lock: the backend settles.
        self.take_receipt().ack();
    }

    fn refuse(&self, passage: Passage, fault: Fault) -> Result<(), Fault> {
        let mut state = self.state();
        // Another question about this delivery was answered first.
        if state.passage == Passage::Begun {
            return Ok(());
        }
        state.passage = passage;
        Err(fault)
    }

    // No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AtMostOnceGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtMostOnceGate").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// A guard that returns the receipt of a request to its server when the handler has ended, was
/// dropped or has panicked. The handler may have handed the gate to tasks that live on.
pub(crate) struct ReturnReceipt<'g> {
    pub(crate) gate: &'g AtMostOnceGate,
    pub(crate) receipt: &'g mut Receipt,
}

impl Drop for ReturnReceipt<'_> {
    fn drop(&mut self) {
        *self.receipt = self.gate.take_receipt();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::transport::{Outcome, Settle};

    #[derive(Default)]
    struct SettleLog(Mutex<Vec<Outcome>>);

    impl Settle for SettleLog {
        fn settle(&self, _: u64, outcome: Outcome) {
            self.0.lock().unwrap().push(outcome);
        }
    }

    fn gate(attempt: u32) -> (AtMostOnceGate, Arc<SettleLog>) {
        let log = Arc::new(SettleLog::default());
        (AtMostOnceGate::new(Receipt::new(log.clone(), 1), attempt), log)
    }

    #[test]
    fn request_of_a_caller_that_cannot_be_asked_is_settled_before_it_begins() {
        let (gate, log) = gate(1);
        assert!(gate.settle_first().is_ok() && gate.is_begun());
        assert_eq!(*log.0.lock().unwrap(), [Outcome::Ack]);
        assert!(gate.settle_first().is_ok(), "a request passes its gate once");
        assert!(!gate.take_receipt().is_some());
    }

    #[test]
    fn redelivered_request_of_a_caller_that_cannot_be_asked_does_not_begin() {
        let (gate, log) = gate(2);
        assert_eq!(gate.settle_first().unwrap_err().code, Code::Interrupted);
        assert!(gate.is_refused() && !gate.is_denied() && log.0.lock().unwrap().is_empty());
        gate.take_receipt().ack();
    }

    #[test]
    fn permitted_request_is_settled_before_it_begins() {
        let (gate, log) = gate(2);
        assert!(gate.answered(Some(true)).is_ok() && gate.is_begun());
        assert!(!gate.take_receipt().is_some());
        assert_eq!(*log.0.lock().unwrap(), [Outcome::Ack]);
        // Another question about the same delivery, asked at the same time.
        assert!(gate.answered(Some(false)).is_ok() && gate.is_begun());
    }

    #[test]
    fn receipt_returns_to_the_server_when_the_handler_ends_in_any_way() {
        let (gate, log) = gate(1);
        let mut receipt = Receipt::none();
        drop(ReturnReceipt { gate: &gate, receipt: &mut receipt });
        assert!(receipt.is_some() && !gate.take_receipt().is_some());
        drop(receipt);
        assert_eq!(*log.0.lock().unwrap(), [Outcome::Requeue]);
    }

    #[test]
    fn denied_request_and_one_without_an_answer_do_not_begin() {
        for (answer, code) in [(Some(false), Code::Interrupted), (None, Code::Unavailable)] {
            let (gate, _) = gate(1);
            assert_eq!(gate.answered(answer).unwrap_err().code, code);
            assert_eq!((gate.is_begun(), gate.is_denied()), (false, answer.is_some()));
            gate.take_receipt().ack();
        }
    }
}
