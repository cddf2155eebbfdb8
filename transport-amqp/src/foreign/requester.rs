//! The requester of a service in a foreign layout.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::transport::{Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Error, ErrorKind, Limits, Message, Result, Window};

use super::exchange_publisher::{ExchangePublisher, Repetition};
use super::layout::AmqpLayout;
use super::responder::{foreign_message, queue_spec};
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::consumed_queue::{ConsumedQueue, HealthEntry};
use crate::consuming::open_consumer;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::unique_number::unique;

/// Opens a requester of `service`, with a reply queue of its own. The queue of the service is up to
/// its servers.
///
/// # Errors
///
/// Those of the layout, and of declaring and consuming the reply queue. Dropping the future deletes
/// the reply queue.
pub(super) async fn open(
    shared: &Arc<AmqpShared>,
    layout: Arc<dyn AmqpLayout>,
    service: &Address,
) -> Result<(Sender, Receiver)> {
    let unique = unique_text();
    let publisher =
        ExchangePublisher::open(shared, layout.request_exchange(service)?, Repetition::Unsent)
            .await?;
    let queue = queue_spec(shared, layout.reply_queue(service, &unique)?)?;
    let (name, of_queue) = (service.clone(), layout.clone());
    let consumed = Arc::new(ForeignReplyQueue { name, queue, layout: of_queue });
    let receiver = open_consumer::open(shared, consumed, Window::new(REPLIES_MAX)).await?;
    let requests = ForeignRequestSender { service: service.clone(), unique, publisher, layout };
    Ok((Sender::new(requests), receiver))
}

/// Returns a text in the form of a random UUID, which no other handle gets.
pub(super) fn unique_text() -> String {
    // Version 4, variant 1.
    let number = unique() & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{number:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

/// Unsettled replies; core settles each one at once.
const REPLIES_MAX: usize = 1024;

/// The sender of requests.
struct ForeignRequestSender {
    service: Address,
    /// The text of this requester in its requests.
    unique: String,
    publisher: ExchangePublisher,
    layout: Arc<dyn AmqpLayout>,
}

impl Outbound for ForeignRequestSender {
    fn send(&self, message: Message) -> Sending<'_> {
        let deadline = message.deadline;
        let checked = self.publisher.shared.check_message(&message);
        let checked = checked.and_then(|()| check_expressible(&message));
        let request =
            checked.and_then(|()| self.layout.encode_request(&self.service, message, &self.unique));
        match request {
            Ok(request) => self.publisher.publish(request, deadline),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

/// Checks that a layout can express the request. The questions of a server that runs a call at most
/// once are messages of the native wire.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`], unsent, for a call that runs at most once.
fn check_expressible(message: &Message) -> Result<()> {
    match message.at_most_once {
        true => {
            let text = "cannot send a call that runs at most once: the layout cannot express it";
            Err(Error::new(ErrorKind::Unsupported, text).with("option", "at_most_once").unsent())
        }
        false => Ok(()),
    }
}

/// The queue for the replies to one requester.
struct ForeignReplyQueue {
    name: Address,
    queue: QueueSpec,
    layout: Arc<dyn AmqpLayout>,
}

impl ConsumedQueue for ForeignReplyQueue {
    // Replies wait in the queue while the connection is lost. Calls end by their deadlines.
    const REPORTS_LOSS: bool = false;
    const HEALTH: HealthEntry = HealthEntry::None;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Responder, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, _: &SupervisedConnection, _: bool) -> Result<()> {
        Ok(())
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        let message = self.layout.decode_reply(foreign_message(raw)?)?;
        // The caller of a reply over the limits learns the cause.
        limits.check(&message).map_err(|error| match message.id {
            Some(id) => error.with_call(id),
            None => error,
        })?;
        Ok(message)
    }

    fn requeue_mode(&self) -> RequeueMode {
        RequeueMode::Broker
    }

    async fn close(&self, shared: &AmqpShared) {
        shared.delete_private_queue(&self.queue).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_that_runs_at_most_once_is_refused_unsent() {
        let message = Message::default().with_at_most_once(true);
        let error = check_expressible(&message).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!((error.is_unsent(), error.detail("option")), (true, Some("at_most_once")));
        check_expressible(&message.with_at_most_once(false)).unwrap();
    }

    #[test]
    fn unique_text_is_a_uuid_of_version_4() {
        let (first, second) = (unique_text(), unique_text());
        assert_ne!(first, second);
        let lengths: Vec<_> = first.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&first[14..15], "4", "{first}");
        assert!("89ab".contains(&first[19..20]), "{first}");
    }
}
