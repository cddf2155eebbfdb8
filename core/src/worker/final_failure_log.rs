//! The log line about a job or an event that is not attempted again.

use tracing::Span;

use super::delivery_span::delivery_span;
use super::processor::EndpointLabel;
use crate::transport::DeadLetterSource;

/// The facts about a delivery that is not attempted again. They are logged once the delivery is
/// settled, since a dead letter that was not kept must not be reported as one.
pub(super) struct FinalFailure {
    label: EndpointLabel,
    source: Option<DeadLetterSource>,
    fault: String,
    attempt: u32,
    why: &'static str,
    span: Span,
}

impl FinalFailure {
    /// Collects the facts about the delivery that is processed here. `source` is the queue or the
    /// group whose dead letters may get the delivery.
    pub(super) fn new(
        label: &EndpointLabel,
        source: Option<&DeadLetterSource>,
        fault: String,
        attempt: u32,
        why: &'static str,
    ) -> Self {
        let (label, source, span) = (label.clone(), source.cloned(), delivery_span());
        Self { label, source, fault, attempt, why, span }
    }

    /// Logs the failure. Not throttled: each line names a message that an operator has to look at.
    pub(super) fn log(&self, is_kept: bool) {
        let Self { label: EndpointLabel { role, name }, fault, attempt, why, .. } = self;
        let source = self.source.as_ref().map(tracing::field::display);
        self.span.in_scope(|| match is_kept {
            true => {
                tracing::error!(role, %name, %fault, attempt, why, dead_letters_of = source, "failed for good: dead-lettered");
            }
            false => {
                tracing::error!(role, %name, %fault, attempt, why, "failed for good: discarded");
            }
        });
    }
}
