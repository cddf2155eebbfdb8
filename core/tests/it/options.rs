//! Options that a transport does not support: each error names the option that asked for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use polywire_codec::MessagePack;
use polywire_core::transport::{
    DeadLetterQueue, Delivery, Filters, Inbound, Receiver, Sender, Subscription, async_trait,
};
use polywire_core::{
    Address, CallError, Capabilities, Client, DeadLetters, Error, ErrorKind, Group, Listener,
    Memory, Message, Publisher, Puller, Pusher, Replier, Reply, Request, Result, Retries, Server,
    Service, Subscriber, Transport, Window, Worker,
};

use tokio::sync::mpsc;

use crate::scripted::{Scripted, sent};

/// A transport with the capabilities that the test gives it.
struct Claiming<T>(T, Capabilities);

/// A receiver of requests that does not count their deliveries.
struct Uncounted(Receiver);

impl Stream for Uncounted {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

impl Inbound for Uncounted {
    fn counts_attempts(&self) -> bool {
        false
    }

    fn stop(mut self: Pin<&mut Self>) {
        self.0.stop();
    }
}

/// Memory that says that it can do less than it can.
fn lacking(can: fn(Capabilities) -> Capabilities) -> Claiming<Memory> {
    Claiming(Memory::new(), can(Capabilities::least(1 << 20)))
}

impl<T: Transport> Transport for Claiming<T> {
    fn capabilities(&self) -> Capabilities {
        self.1
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.0.requester(service).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let (sender, receiver) = self.0.responder(service, window).await?;
        Ok((sender, Receiver::new(Uncounted(receiver))))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.0.pusher(queue).await
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.0.puller(queue, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.0.publisher(channel).await
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.0.subscriber(channel, subscription).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

fn check(error: &Error, option: &str, capability: &str) {
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.is_unsent(), "{error}");
    assert_eq!(error.detail("option"), Some(option), "{error}");
    assert_eq!(error.detail("capability"), Some(capability), "{error}");
    let start = format!("the transport does not support `{option}` (capability: {capability}");
    assert!(error.to_string().starts_with(&start), "{error}");
}

fn check_call(outcome: std::result::Result<(), CallError>, option: &str, capability: &str) {
    let CallError::Failed(error) = outcome.unwrap_err() else {
        unreachable!("the call is not sent")
    };
    check(&error, option, capability);
}

#[tokio::test]
async fn retries_name_the_option_and_its_part() {
    let transport = lacking(|can| can.with_pipeline(true));
    let settling = lacking(|can| can.with_pipeline(true).with_settlement(true));
    for (transport, retries, capability, part) in [
        (
            &transport,
            Retries::new(1).then_dead_letter(),
            "dead_letters",
            "Retries::then_dead_letter",
        ),
        (&transport, Retries::at_once(3), "settlement", "more than one attempt"),
        (&settling, Retries::new(3), "delayed_retries", "pauses between attempts"),
    ] {
        let worker = Worker::bind(transport, "q", MessagePack).retries(retries);
        let error = worker.await.unwrap_err();
        check(&error, "Worker::retries", capability);
        assert_eq!(error.detail("part"), Some(part));
        let group = Group::new("g").unwrap();
        let listener = Listener::bind(transport, "c", MessagePack).group(group).retries(retries);
        check(&listener.await.unwrap_err(), "Listener::retries", capability);
    }
}

#[tokio::test]
async fn groups_name_the_option() {
    let transport = lacking(|can| can.with_pubsub(true));
    let group = || Group::new("g").unwrap();
    let subscriber = Subscriber::<u32>::bind(&transport, "c", MessagePack).group(group());
    check(&subscriber.await.map(drop).unwrap_err(), "Subscriber::group", "groups");
    let listener = Listener::bind(&transport, "c", MessagePack).group(group());
    check(&listener.await.unwrap_err(), "Listener::group", "groups");
    let transport = lacking(|can| can.with_pubsub(true).with_groups(true));
    let subscriber = Subscriber::<u32>::bind(&transport, "c", MessagePack).group(group().durable());
    check(&subscriber.await.map(drop).unwrap_err(), "Group::durable", "durable_groups");
}

#[tokio::test]
async fn servers_and_calls_name_the_option() {
    let transport = lacking(|can| can);
    let server = Server::bind(&transport, "s").deliveries(1).await;
    check(&server.map(drop).unwrap_err(), "Server::deliveries", "dead_letters");
    let client = Client::connect(&transport, "s", MessagePack).await.unwrap();
    let call = client.request("m").priority(1).call::<()>(&());
    check_call(call.await, "CallBuilder::priority", "priorities");
    let kept = client.request("m").ttl(Duration::from_secs(1)).keep_expired().send(&());
    check_call(kept.await, "CallBuilder::keep_expired", "dead_letters");

    // More than one delivery needs a count of attempts as well.
    let keeping = lacking(|can| can.with_dead_letters(true));
    let server = Server::bind(&keeping, "s").deliveries(2).await;
    check(&server.map(drop).unwrap_err(), "Server::deliveries", "attempts");
}

#[tokio::test]
async fn jobs_and_dead_letters_name_the_option() {
    let transport = lacking(|can| can.with_pipeline(true));
    let durable = Pusher::connect(&transport, "q", MessagePack).durable().await;
    check(&durable.unwrap_err(), "Pusher::durable", "durable");
    let pusher = Pusher::connect(&transport, "q", MessagePack).await.unwrap();
    let error = pusher.with_priority(1).push(&1_u32).await.unwrap_err();
    check(&error, "Pusher::with_priority", "priorities");
    let kept = pusher.with_ttl(Duration::from_secs(1)).with_keep_expired();
    let error = kept.push(&1_u32).await.unwrap_err();
    check(&error, "Pusher::with_keep_expired", "dead_letters");
    check(&DeadLetters::of_queue(&transport, "q").unwrap_err(), "DeadLetters", "dead_letters");

    let (transport, script) = Scripted::new(sent);
    let mut jobs: Puller<u32> = Puller::bind(&transport, "q", MessagePack).await.unwrap();
    for _ in 0..3 {
        script.incoming.send(Ok(Delivery::settled(Message::new(&b"\x01"[..])))).unwrap();
    }
    let mut next = async || jobs.next().await.unwrap().unwrap();
    let error = next().await.requeue().unwrap_err();
    check(error.error(), "Job::requeue", "settlement");
    let error = next().await.retry_after(Duration::from_secs(1), "no").unwrap_err();
    check(error.error(), "Job::retry_after", "delayed_retries");
    let error = next().await.dead_letter("no").unwrap_err();
    check(error.error(), "Job::dead_letter", "dead_letters");
}

#[tokio::test]
async fn options_of_events_name_their_publisher() {
    let transport = lacking(|can| can.with_pubsub(true));
    let publisher = Publisher::connect(&transport, "c", MessagePack).await.unwrap();
    let error = publisher.with_priority(1).publish("t", &1_u32).await.unwrap_err();
    check(&error, "Publisher::with_priority", "priorities");
}

/// A dead-letter queue of a backend that cannot count.
struct Uncountable;

#[async_trait]
impl DeadLetterQueue for Uncountable {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        Ok(None)
    }

    async fn redrive(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn discard(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn count_of_dead_letters_names_the_option() {
    let error = Uncountable.count().await.unwrap_err();
    check(&error, "DeadLetters::count", "counted dead letters");
}

/// A service of one's own, which replies early without a router.
struct Early(mpsc::UnboundedSender<Error>);

impl Service for Early {
    async fn call(&self, _: Request) -> Result<Reply, CallError> {
        let error = Replier::<u32>::current().reply(&1).await.unwrap_err();
        self.0.send(error).unwrap();
        Ok(Reply::default())
    }
}

#[tokio::test]
async fn early_reply_without_a_router_names_the_option() {
    let (transport, (errors, mut seen)) = (Memory::new(), mpsc::unbounded_channel());
    tokio::spawn(Server::bind(&transport, "s").await.unwrap().serve(Early(errors)));
    let client = Client::connect(&transport, "s", MessagePack).await.unwrap();
    // The reply has no body, which the client cannot decode.
    client.call::<u32>("m", &()).await.unwrap_err();
    let error = seen.recv().await.unwrap();
    check(&error, "Replier", "early replies without a router");
}
