//! The span in which the log lines about a delivery stand.
//!
//! The span is created when a line is written, so that a delivery without a line costs none. A
//! [`Trace`](crate::middleware::Trace) layer has a span anyway. Once a call or a job has failed in
//! it, the lines about the failure stand in that one.

use std::cell::RefCell;
use std::future::Future;

use tracing::Span;

use crate::message::{Address, Headers, Message, MessageId};
use crate::middleware::TraceContext;

tokio::task_local! {
    /// The delivery that is processed.
    static DELIVERY: Processed;
}

/// A delivery that is processed.
struct Processed {
    /// The number of the endpoint handle that processes it.
    handle: usize,
    about: RefCell<About>,
}

/// The facts about a delivery that its span shows.
#[derive(Clone, Default)]
pub(super) struct About {
    method: Option<Address>,
    /// The number of a call, which stands for an id.
    call: Option<u64>,
    attempt: u32,
    /// The headers of the delivery, with its trace.
    headers: Headers,
    /// The facts that most calls lack. The value is swapped in and out at each poll.
    rare: Option<Box<Rare>>,
}

/// The facts about a delivery that most calls lack.
#[derive(Clone, Default)]
struct Rare {
    topic: Option<Address>,
    message_id: Option<MessageId>,
    /// The span of a layer in which the delivery has failed.
    traced: Option<Span>,
}

/// Runs `processing` as that of a delivery of the endpoint handle with this number.
pub(super) fn scope<F: Future>(
    handle: usize,
    processing: F,
) -> impl Future<Output = F::Output> + use<F> {
    let about = RefCell::new(About { attempt: 1, ..About::default() });
    DELIVERY.scope(Processed { handle, about }, processing)
}

/// The delivery that was processed where the value was made, for what is left to do elsewhere.
pub(crate) struct DeliveryScope(Processed);

impl DeliveryScope {
    /// Copies the facts about the delivery that is processed here; `None` outside of one.
    pub(crate) fn current() -> Option<Self> {
        let (handle, mut about) = (handle()?, described()?);
        // It ends with the handler, and not on the thread of a backend.
        about.leave_layer();
        Some(Self(Processed { handle, about: RefCell::new(about) }))
    }

    /// Runs `future` as part of the processing.
    pub(crate) fn run<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        DELIVERY.scope(self.0, future)
    }
}

/// Returns the number of the endpoint handle whose delivery is processed here.
pub(super) fn handle() -> Option<usize> {
    DELIVERY.try_with(|delivery| delivery.handle).ok()
}

/// Notes the facts about the delivery that is processed here. Copies no text.
pub(crate) fn describe(message: &Message, attempt: u32) {
    with_about(|about| {
        about.method.clone_from(&message.method);
        about.call = message.call_number();
        about.attempt = attempt;
        about.headers.clone_from(&message.headers);
        let Message { topic, message_id, .. } = message;
        if topic.is_some() || message_id.is_some() {
            about.rare = Some(Box::new(Rare {
                topic: topic.clone(),
                message_id: message_id.clone(),
                traced: None,
            }));
        }
    });
}

/// Returns the method of the delivery that is processed here.
pub(crate) fn described_method() -> Option<Address> {
    with_about(|about| about.method.clone()).flatten()
}

/// Notes the span of a layer in which the delivery has failed. Does nothing outside of a delivery.
pub(crate) fn failed_in(span: &Span) {
    if !span.is_disabled() {
        with_about(|about| about.rare.get_or_insert_default().traced = Some(span.clone()));
    }
}

/// Runs `log`, which writes a line about the delivery that is processed here, in its span.
pub(crate) fn in_delivery<T>(log: impl FnOnce() -> T) -> T {
    match with_about(|about| about.span()) {
        Some(span) => span.in_scope(log),
        None => log(),
    }
}

/// Returns the facts about the delivery that is processed here, for a line that may be written
/// later.
pub(super) fn described() -> Option<About> {
    with_about(|about| about.clone())
}

/// Returns the span of the delivery that is processed here, for a line that is written later.
pub(crate) fn delivery_span() -> Span {
    with_about(|about| about.span()).unwrap_or_else(Span::none)
}

/// Calls a function with the facts about the delivery that is processed here, if there is one.
fn with_about<T>(function: impl FnOnce(&mut About) -> T) -> Option<T> {
    let called = DELIVERY.try_with(|delivery| {
        // Borrowed already if a subscriber of the log gets here by itself.
        delivery.about.try_borrow_mut().ok().map(|mut about| function(&mut about))
    });
    called.ok().flatten()
}

impl About {
    /// Returns the method, or else the topic.
    pub(super) fn name(&self) -> Option<Address> {
        let topic = || self.rare.as_ref()?.topic.clone();
        self.method.clone().or_else(topic)
    }

    /// Drops the span of a layer, which ends with its last owner.
    pub(super) fn leave_layer(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.traced = None;
        }
    }

    /// Returns the span of the delivery, or that of a layer in which the delivery has failed.
    pub(super) fn span(&self) -> Span {
        let rare = self.rare.as_deref();
        if let Some(traced) = rare.and_then(|rare| rare.traced.as_ref()) {
            return traced.clone();
        }
        let of_call = || self.call.map(MessageId::of_call);
        let message_id = rare.and_then(|rare| rare.message_id.clone()).or_else(of_call);
        let topic = rare.and_then(|rare| rare.topic.as_ref());
        // At this level, so that the span is there whenever a line is.
        tracing::error_span!(
            "polywire.delivery",
            method = self.method.as_ref().map(tracing::field::display),
            topic = topic.map(tracing::field::display),
            message_id = message_id.as_ref().map(tracing::field::display),
            attempt = self.attempt,
            trace_id = TraceContext::of(&self.headers).map(|trace| trace.trace_id()),
        )
    }
}
