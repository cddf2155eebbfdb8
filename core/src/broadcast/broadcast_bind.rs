//! Binding a server to the broadcasts of a service.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::task::coop::consume_budget;

use super::envelope::{CALL_TOPIC, channel};
use super::outcome_sender::OutcomeSender;
use super::presence::{Announcer, Presence};
use super::refusals::Refusals;
use super::request_receiver::RequestReceiver;
use crate::error::{Error, Result};
use crate::message::{Address, Filter, Instance};
use crate::pubsub::{EventStream, Overflow};
use crate::rpc::Server;
use crate::transport::{
    AnyTransport, Receiver, Sender, Subscription, Transport, Window, WireKind, log_sent,
};

impl Server {
    /// Binds to the broadcasts of `service` on `transport`, as one instance of the service.
    ///
    /// The server gets each call that a [`Broadcaster`](crate::broadcast::Broadcaster) sends while
    /// it is bound, beside all other instances. It gets no calls of a [`Client`](crate::Client):
    /// for these, a second server is bound to the service, with the same router.
    ///
    /// - A handler that [declines](crate::Fault::declined) is reported as declined; one that fails
    ///   with [`Fault::silent`](crate::Fault::silent) is not reported.
    /// - A call that is broadcast is lost with the instance. After a reconnect, a broker may
    ///   deliver it once more: the instance drops a repeat of its last 1,024 broadcasts.
    /// - Beyond the window, 1,000 calls of at most 16 MiB wait. Further ones are refused as
    ///   [`Code::Unavailable`](crate::Code::Unavailable), and one-way broadcasts dropped.
    /// - [`ServerHandle::drain`](crate::rpc::ServerHandle::drain) announces the drain to callers
    ///   first; they still wait for what the server runs by then. Calls that arrive later are
    ///   refused as [`Code::Unavailable`](crate::Code::Unavailable).
    ///
    /// Set options on the returned builder, then await it. Dropping the future closes what was
    /// opened so far.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// use polywire_core::broadcast::{Broadcaster, GatherReason, InstanceOutcome};
    /// use polywire_core::{CallError, Instance, Memory, Router, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), CallError> {
    /// # let transport = Memory::new();
    /// for (shop, price) in [("north", 7), ("south", 5)] {
    ///     let server = Server::bind_broadcast(&transport, "shops").instance(Instance::new(shop)?);
    ///     let router = Router::new(MessagePack).method("price", move |_: String| async move {
    ///         Ok(price)
    ///     });
    ///     tokio::spawn(server.await?.serve(router));
    /// }
    ///
    /// let shops = Broadcaster::connect(&transport, "shops", MessagePack).await?;
    /// let mut prices = shops.request("price").gather::<u32>("lamp").await?;
    /// while let Some(price) = prices.next().await {
    ///     if let InstanceOutcome::Reply(cents) = price.outcome {
    ///         println!("{}: {cents}", price.instance.name());
    ///     }
    /// }
    /// assert_eq!(prices.end().unwrap().reason, GatherReason::Complete);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `service` is not an address,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on a transport without
    /// publish-subscribe, or the error of the transport if it cannot bind.
    pub fn bind_broadcast<T: Transport>(
        transport: &T,
        service: impl TryInto<Address, Error: Into<Error>>,
    ) -> BroadcastBind<'_, T> {
        BroadcastBind {
            transport,
            service: service.try_into().map_err(Into::into),
            instance: None,
            window: Window::default(),
            heartbeat: HEARTBEAT,
            publishing: None,
        }
    }
}

/// Builder that binds a server to broadcasts when it is awaited; made by
/// [`Server::bind_broadcast`].
#[must_use = "a server does not bind unless it is awaited"]
pub struct BroadcastBind<'t, T> {
    transport: &'t T,
    service: Result<Address>,
    instance: Option<Instance>,
    window: Window,
    heartbeat: Duration,
    publishing: Option<AnyTransport>,
}

/// The default time between two announcements of an instance.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The shortest and the longest time between two announcements.
const HEARTBEAT_BOUNDS: [Duration; 2] = [Duration::from_millis(10), Duration::from_hours(1)];

impl<T> BroadcastBind<'_, T> {
    /// Sets the description of the instance, whose id must differ from those of all others. The
    /// default is a new [`Instance`] with the name of the service.
    pub fn instance(self, instance: Instance) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// Sets the maximum number of calls that run at once. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets the time between two announcements of the instance, from 10 ms to one hour; a time
    /// beyond is shortened or lengthened. The default is 2 seconds.
    ///
    /// A caller takes an instance for gone after two heartbeats without an announcement. Each
    /// announcement is one event for each caller.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        let [shortest, longest] = HEARTBEAT_BOUNDS;
        Self { heartbeat: heartbeat.clamp(shortest, longest), ..self }
    }

    /// Sets the transport on which outcomes and announcements are published. The default is the
    /// transport on which the server is bound.
    ///
    /// Over ZeroMQ, the subscription and the publisher are two sockets, which cannot share a fixed
    /// port; and a proxy of events has a different address for each.
    pub fn publish_on(self, transport: &(impl Transport + Clone)) -> Self {
        Self { publishing: Some(AnyTransport::new(transport.clone())), ..self }
    }
}

impl<'t, T: Transport> IntoFuture for BroadcastBind<'t, T> {
    type Output = Result<Server>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, service, instance, window, heartbeat, publishing } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let service = service?;
            if !transport.capabilities().pubsub {
                return Err(Error::lacking("Server::bind_broadcast", "pubsub"));
            }
            let instance = match instance {
                Some(instance) => instance,
                None => Instance::new(service.as_str())?,
            };
            let (instance, channel) = (instance.to_header(), channel(&service)?);
            // Before the announcement, so that an announced instance misses no call.
            let subscription = Subscription::new([Filter::new(CALL_TOPIC)?]).window(window);
            let option = "Server::bind_broadcast";
            let events =
                EventStream::open(transport, &channel, subscription, Overflow::Wait, option)
                    .await?;
            let sender = match &publishing {
                Some(publishing) => publishing.publisher(&channel).await?,
                None => transport.publisher(&channel).await?,
            };
            let sender = log_sent(sender, WireKind::Event, &channel);
            let presence = Arc::new(Presence::new());
            let announcer = Announcer {
                presence: presence.clone(),
                sender: sender.clone(),
                instance: instance.clone(),
                heartbeat,
            };
            let refusals = Refusals::start(sender.clone(), instance.clone());
            let receiver = RequestReceiver::new(events.receiver, presence.clone(), refusals);
            let outcomes = OutcomeSender { sender, instance, presence };
            // The task ends when the sender of outcomes is dropped.
            drop(tokio::spawn(announcer.run()));
            let halves = (Sender::new(outcomes), Receiver::new(receiver));
            Ok(Server::of_broadcasts(service, halves, window))
        })
    }
}

impl<T> fmt::Debug for BroadcastBind<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastBind")
            .field("service", &self.service)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
