//! Settings of clients and calls.

use polywire_codec::MessagePack;
use polywire_core::rpc::Requester;
use polywire_core::testing::FlakyTransport;
use polywire_core::{Address, Client, Deadline};

use super::extremes::{Row, any, good, good_if_most, good_or_too_little, row};
use super::served::{client, served};

/// The error of a call or a job without the time that it needs.
const LATE: &str = "DeadlineExceeded";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("Client::with_timeout", async |x| {
            let client = client(&served().await).await.with_timeout(x.time());
            good_or_too_little(x, client.call::<i64>("double", &1).await, LATE)
        }),
        row("rpc::ClientConnect::timeout", async |x| {
            let memory = served().await;
            let client = Client::connect(&memory, "service", MessagePack).timeout(x.time());
            good_or_too_little(x, client.await.unwrap().call::<i64>("double", &1).await, LATE)
        }),
        row("rpc::ClientConnect::pending_max", async |x| {
            let memory = served().await;
            let client = Client::connect(&memory, "service", MessagePack).pending_max(x.usize());
            good(client.await.unwrap().call::<i64>("double", &1).await)
        }),
        row("rpc::ClientConnect::slow_after", async |x| {
            let memory = served().await;
            let client = Client::connect(&memory, "service", MessagePack).slow_after(x.time());
            good(client.await.unwrap().call::<i64>("double", &1).await)
        }),
        row("rpc::AnyClient::with_timeout", async |x| {
            let client = Client::any(&served().await, MessagePack).with_timeout(x.time());
            good_or_too_little(x, client.call::<i64>("service", "double", &1).await, LATE)
        }),
        row("rpc::AnyClient::with_services_max", async |x| {
            let client = Client::any(&served().await, MessagePack).with_services_max(x.usize());
            good(client.call::<i64>("service", "double", &1).await)
        }),
        row("rpc::Requester::open", async |x| {
            let memory = served().await;
            let service = Address::new("service").unwrap();
            let requester = Requester::open(&memory, service, x.usize()).await.unwrap();
            let client = Client::new(requester, MessagePack);
            good(client.call::<i64>("double", &1).await)
        }),
        row("rpc::CallBuilder::timeout", async |x| {
            let client = client(&served().await).await;
            let call = client.request("double").timeout(x.time());
            good_or_too_little(x, call.call::<i64>(&1).await, LATE)
        }),
        row("rpc::CallBuilder::ttl", async |x| {
            let client = client(&served().await).await;
            any(client.request("double").ttl(x.time()).send(&1).await)
        }),
        row("rpc::CallBuilder::default_timeout", async |x| {
            let client = client(&served().await).await;
            let call = client.request("double").default_timeout(x.time());
            good_or_too_little(x, call.call::<i64>(&1).await, LATE)
        }),
        row("rpc::CallBuilder::priority", async |x| {
            let client = client(&served().await).await;
            any(client.request("double").priority(x.u8()).call::<i64>(&1).await)
        }),
        row("Deadline::after", async |x| {
            let client = client(&served().await).await;
            let call = client.request("double").deadline(Deadline::after(x.time()));
            good_or_too_little(x, call.call::<i64>(&1).await, LATE)
        }),
        row("Deadline::since", async |x| {
            let deadline = Deadline::since(tokio::time::Instant::now(), x.time());
            good_if_most(x, if deadline.is_expired() { Err("expired") } else { Ok(()) })
        }),
        row("Deadline::after_ms", async |x| {
            let client = client(&served().await).await;
            let call = client.request("double").deadline(Deadline::after_ms(x.u64()));
            good_or_too_little(x, call.call::<i64>(&1).await, LATE)
        }),
        row("testing::FlakyTransport::fail_next", async |x| {
            let flaky = FlakyTransport::over(served().await);
            flaky.fail_next(x.usize());
            let client = Client::connect(&flaky, "service", MessagePack).await.unwrap();
            any(client.call::<i64>("double", &1).await)
        }),
        row("testing::FlakyTransport::lose_next", async |x| {
            let flaky = FlakyTransport::over(served().await);
            flaky.lose_next(x.usize());
            let client = Client::connect(&flaky, "service", MessagePack).await.unwrap();
            any(client.call::<i64>("double", &1).await)
        }),
        row("testing::FlakyTransport::delay_next", async |x| {
            let flaky = FlakyTransport::over(served().await);
            flaky.delay_next(x.usize(), x.time());
            let client = Client::connect(&flaky, "service", MessagePack).await.unwrap();
            any(client.call::<i64>("double", &1).await)
        }),
    ]
}
