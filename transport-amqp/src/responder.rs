//! The serving end.

use std::sync::Arc;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use polywire_core::transport::{Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Code, Fault, Limits, Message, Result, Window};

use crate::consumer::{self, GivingBack, Source};
use crate::control;
use crate::topology::Queue;
use crate::transport::Inner;
use crate::wire::{Garbled, Native, Wire};

/// Opens a serving end of `service`; it is ready when this returns.
pub(crate) async fn open(
    transport: &Arc<Inner>,
    service: &Address,
    window: Window,
) -> Result<(Sender, Receiver)> {
    let queue = transport.config.queues.kept(Native.request_queue(service)?);
    // First, so that whoever is served can also be heard.
    let abandoned = control::listen(transport, service).await?;
    let source = Arc::new(Requests { queue });
    let receiver = consumer::open_with(transport, source, window, Some(abandoned)).await?;
    Ok((Sender::new(Replies { transport: transport.clone() }), receiver))
}

/// The sending half.
struct Replies {
    transport: Arc<Inner>,
}

impl Outbound for Replies {
    fn send(&self, message: Message) -> Sending<'_> {
        let Inner { config, lines, .. } = &*self.transport;
        let publishing = self.transport.check(&message);
        match publishing.and_then(|()| Native.encode_reply(message, config.persistent)) {
            Ok(publishing) => lines.publish(publishing, None),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

/// Where the receiving half takes from.
struct Requests {
    queue: Queue,
}

impl Source for Requests {
    // Its callers have deadlines.
    const TELLS_OF_LOSS: bool = false;

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn feed(&self, _: &Channel, _: bool) -> Result<()> {
        Ok(())
    }

    fn read(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        Native.decode_request(raw, limits).or_else(|garbled| answerable(*garbled))
    }

    fn giving_back(&self) -> GivingBack {
        // To the front of the queue: its caller waits.
        GivingBack::BrokerOrDeclined
    }

    async fn leave(&self, _: &Inner) {}
}

/// What a server gets of a request that cannot be read: one to be answered with a fault, if it can
/// be answered.
fn answerable(garbled: Garbled) -> Result<Message> {
    let Garbled { mut message, error, .. } = garbled;
    if message.reply_to.is_none() {
        return Err(error);
    }
    let fault = Fault::new(Code::InvalidArguments, format!("the request cannot be read: {error}"));
    message.fault = Some(Box::new(fault));
    Ok(message)
}
