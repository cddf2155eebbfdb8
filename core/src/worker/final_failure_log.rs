//! The log line about a job or an event that is not attempted again.

use std::sync::Arc;

use tracing::Span;
use tracing::field::display;

use super::delivery_span::{About, described};
use super::processor::EndpointLabel;
use crate::middleware::{FailureKind, FailureLogThrottle};
use crate::transport::DeadLetterSource;

/// The log of a worker or a listener about deliveries that are not attempted again.
///
/// In ten seconds, ten deliveries of one method or topic that failed for one reason and ended alike
/// have a line each. The next line stands for the others.
pub(super) struct FinalFailureLog {
    label: EndpointLabel,
    /// The queue or the group whose dead letters get the deliveries.
    source: Option<DeadLetterSource>,
    throttle: FailureLogThrottle,
}

/// The facts about a delivery that is not attempted again. They are logged once the delivery is
/// settled, since a dead letter that was not kept must not be reported as one.
pub(super) struct FinalFailure {
    log: Arc<FinalFailureLog>,
    delivery: Option<About>,
    fault: String,
    attempt: u32,
    why: &'static str,
}

/// The end of a delivery that is not attempted again.
#[derive(Clone, Copy, Debug)]
pub(super) enum FailureEnd {
    /// The delivery is a dead letter.
    DeadLettered,
    /// The delivery is discarded, as the policy of retries or the transport says.
    Discarded,
    /// The delivery is discarded, although it was to be kept.
    Lost,
}

impl FinalFailureLog {
    /// Creates the log of the worker or listener `label`. `source` is the queue or the group whose
    /// dead letters may get the deliveries.
    pub(super) fn new(label: EndpointLabel, source: Option<DeadLetterSource>) -> Self {
        Self { label, source, throttle: FailureLogThrottle::default() }
    }
}

impl FinalFailure {
    /// Collects the facts about the delivery that is processed here.
    pub(super) fn new(
        log: &Arc<FinalFailureLog>,
        fault: String,
        attempt: u32,
        why: &'static str,
    ) -> Self {
        Self { log: log.clone(), delivery: described(), fault, attempt, why }
    }

    /// Lets the span of a layer end before the delivery is settled. A line then stands in a span of
    /// its own.
    pub(super) fn outside_of_layers(mut self) -> Self {
        self.delivery.iter_mut().for_each(About::leave_layer);
        self
    }

    /// Logs the failure: at `warn` if the delivery was to be discarded, else at `error`.
    pub(super) fn log(&self, end: FailureEnd) {
        let Self { log, delivery, fault, attempt, why } = self;
        let FinalFailureLog { label: EndpointLabel { role, name }, source, throttle } = &**log;
        let kind = FailureKind {
            name: delivery.as_ref().and_then(About::name),
            error: (*why).to_owned(),
            fault: Some(format!("{end:?}")),
        };
        // The line is the last trace of a delivery that is lost.
        let count = match end {
            FailureEnd::Lost => 1,
            _ => match throttle.note(kind) {
                Some(count) => count,
                None => return,
            },
        };
        let source = source.as_ref().map(display);
        let span = delivery.as_ref().map_or_else(Span::none, About::span);
        span.in_scope(|| match end {
            FailureEnd::DeadLettered => {
                tracing::error!(role, %name, %fault, attempt, why, count, dead_letters_of = source, "failed for good: dead-lettered");
            }
            FailureEnd::Lost => {
                tracing::error!(role, %name, %fault, attempt, why, "failed for good: discarded");
            }
            FailureEnd::Discarded => {
                tracing::warn!(role, %name, %fault, attempt, why, count, "failed for good: discarded");
            }
        });
    }
}
