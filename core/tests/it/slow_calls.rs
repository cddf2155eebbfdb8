//! The warning of calls that wait long for their replies.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::health::{ConnectionState, HealthReporter};
use polywire_core::rpc::ClientConnect;
use polywire_core::{AnyTransport, Client, Memory, Router, Server};
use tokio::time::{Instant, sleep};

use crate::scripted::{Scripted, sent};
use crate::watching::{Seen, watch};

const WAITS: &str = "calls wait for replies";
const OVER: &str = "no call waits long any more";

/// Serves methods that take so many seconds, and returns a client.
async fn client(
    transport: &Memory,
    options: impl FnOnce(
        ClientConnect<'_, Memory, MessagePack>,
    ) -> ClientConnect<'_, Memory, MessagePack>,
) -> Client<MessagePack> {
    let take = async |seconds: u64| {
        sleep(Duration::from_secs(seconds)).await;
        Ok(())
    };
    let router = Router::new(MessagePack).method("pay", take).method("refund", take);
    let server = Server::bind(transport, "billing").await.unwrap();
    tokio::spawn(server.serve(router));
    options(Client::connect(transport, "billing", MessagePack)).await.unwrap()
}

/// Starts a call that takes so many seconds.
fn start(client: &Client<MessagePack>, method: &'static str, seconds: u64) {
    let client = client.clone();
    tokio::spawn(async move { client.call::<()>(method, &seconds).await });
}

async fn until_said(seen: &Seen, message: &str, times: usize) {
    while seen.said(message).len() < times {
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn slow_service_is_named_within_seconds_and_its_end_too() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let client = client(&transport, |connect| connect).await;
    let begin = Instant::now();
    start(&client, "pay", 28);
    tokio::task::yield_now().await;
    (0..3).for_each(|_| start(&client, "refund", 27));
    until_said(&seen, WAITS, 1).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_millis(6_500), "{took:?}");
    let warning = seen.said(WAITS).remove(0);
    let fields = ["level", "service", "method", "waiting"].map(|field| &*warning[field]);
    assert_eq!(fields, ["WARN", "billing", "pay", "4"]);
    assert!(["4", "5", "6"].contains(&&*warning["oldest_s"]), "{warning:?}");
    // One line each ten seconds, and one when all are answered.
    until_said(&seen, OVER, 1).await;
    assert!(begin.elapsed() < Duration::from_secs(31));
    assert_eq!(seen.said(WAITS).len(), 3);
    assert_eq!(seen.said(WAITS)[2]["waiting"], "4");
    assert_eq!(seen.said(OVER)[0]["level"], "INFO");
}

#[tokio::test(start_paused = true)]
async fn calls_that_expire_are_no_recovery() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let client = client(&transport, |connect| connect).await;
    let patient = client.with_timeout(Duration::from_secs(8));
    patient.call::<()>("pay", &3_600).await.unwrap_err();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((seen.said(WAITS).len(), seen.said(OVER).len()), (1, 0));
    patient.call::<()>("pay", &0).await.unwrap();
    until_said(&seen, OVER, 1).await;
}

#[tokio::test(start_paused = true)]
async fn connection_is_named_and_not_the_service_while_it_is_blocked() {
    let (seen, _guard) = watch();
    let (transport, _script) = Scripted::new(sent);
    let blocked = ConnectionState::Blocked { reason: "low on disk".to_owned() };
    transport.health.set_connection(blocked);
    let client = Client::connect(&transport, "billing", MessagePack).await.unwrap();
    start(&client, "pay", 0);
    until_said(&seen, "calls wait for the connection", 1).await;
    let warning = seen.said("calls wait for the connection").remove(0);
    let fields = ["method", "waiting", "connection"].map(|field| &*warning[field]);
    assert_eq!(fields, ["pay", "1", "blocked: low on disk"]);
    assert!(seen.said(WAITS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn connection_of_other_names_is_not_the_cause() {
    let (seen, _guard) = watch();
    let (mut transport, _script) = Scripted::new(sent);
    let blocked = ConnectionState::Blocked { reason: "low on disk".to_owned() };
    transport.health.set_connection(blocked);
    transport.health_of_names = Some(HealthReporter::new(ConnectionState::Connected));
    // The erased transport must forward the name.
    let transport = AnyTransport::new(transport);
    let client = Client::connect(&transport, "billing", MessagePack).await.unwrap();
    start(&client, "pay", 0);
    until_said(&seen, WAITS, 1).await;
    assert_eq!(seen.said(WAITS)[0]["service"], "billing");
    assert!(seen.said("calls wait for the connection").is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_fast_calls_and_a_client_without_the_warning_are_quiet() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let client = client(&transport, |connect| connect.slow_after(Duration::MAX)).await;
    client.call::<()>("pay", &20).await.unwrap();
    let client = Client::connect(&transport, "billing", MessagePack).await.unwrap();
    for _ in 0..20 {
        client.call::<()>("pay", &3).await.unwrap();
    }
    assert!(seen.said(WAITS).is_empty(), "{:?}", seen.said(WAITS));
}

#[tokio::test(start_paused = true)]
async fn time_after_which_a_call_is_slow_can_be_set() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let client = client(&transport, |connect| connect.slow_after(Duration::from_secs(1))).await;
    client.call::<()>("refund", &2).await.unwrap();
    assert_eq!(seen.said(WAITS)[0]["method"], "refund");
}
