//! ruststream over its broker for lapin: direct replies and transient messages, which is its only
//! way of request and reply. The replies have no confirms.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use ruststream::OutgoingMessage;
use ruststream::codec::{Codec, MsgpackCodec};
use ruststream_lapin::prelude::*;
use ruststream_lapin::{ConnectedLapinBroker, LapinRequester};
use serde::{Deserialize, Serialize};

use crate::address;
use crate::echo::Echo;

/// The queue of the requests.
///
/// The broker removes the queue with its last consumer, so no request of an earlier measurement is
/// in it.
const QUEUE: &str = "bench.ruststream";
/// Unacknowledged requests that the server may hold. At most 256 of them run at once, as of
/// `workers`.
const PREFETCH: u16 = 1024;
/// The time of a call.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The message in both directions.
#[derive(Clone, Debug, Deserialize, Outgoing, PartialEq, Serialize)]
struct Body {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

#[subscriber(
    RabbitQueue::new(QUEUE).auto_delete(true),
    reply("bench.unanswered"),
    workers(256)
)]
async fn echo(body: &Body) -> Body {
    body.clone()
}

/// Prints the URL of the broker, and echoes.
///
/// The URL is printed when the service has started. All measurements share the broker.
pub(crate) async fn serve(url: &str) -> Result<()> {
    let prefetch = NonZeroU16::new(PREFETCH).unwrap_or(NonZeroU16::MIN);
    let broker = LapinBroker::new(url).declare_topology(true).prefetch(prefetch);
    let service = RustStream::new(AppInfo::new("bench", "0.0.0"));
    let service = service.with_broker_codec(broker, MsgpackCodec, |scope| {
        scope
            .include(echo)
            .out_reply(Publish::default())
            .codec(MsgpackCodec)
            .transform(DirectReplyTo);
    });
    let running = async {
        // The service has started.
        if address::print(url).is_ok() {
            std::future::pending().await
        }
    };
    Ok(service.run_until(running).await?)
}

/// A client of the server.
///
/// All clones share one connection.
#[derive(Clone)]
pub(crate) struct Caller {
    requester: LapinRequester,
    /// Keeps the connection open.
    _connection: Arc<ConnectedLapinBroker>,
}

impl Caller {
    /// Connects to the broker.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let connected = LapinBroker::new(url).connect().await?;
        let requester = connected.requester(LapinRequest::default());
        Ok(Self { requester, _connection: Arc::new(connected) })
    }
}

impl Echo for Caller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let body = MsgpackCodec.encode(&Body { bytes: body.to_vec() })?;
        let request = OutgoingMessage::new(QUEUE, body.as_ref());
        let reply = self.requester.request(request, TIMEOUT).await?;
        let Body { bytes } = MsgpackCodec.decode(reply.payload())?;
        Ok(bytes.into())
    }
}
