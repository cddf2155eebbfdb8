//! Sizes of what moves along with each call. A larger value is copied at each step: if a bound is
//! raised, the commit says why. The bytes that a server allocates for a call are in
//! `bench/costs.json`.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::error::Error;
use polywire_core::rpc::Requester;
use polywire_core::transport::Delivery;
use polywire_core::{Client, Deadline, Memory, Message, Reply, Request, Server, Service};

#[test]
fn values_that_move_through_each_layer_are_small() {
    let sizes = [
        ("Message", size_of::<Message>(), 280),
        ("Delivery", size_of::<Delivery>(), 56),
        ("Result<Delivery>", size_of::<Result<Delivery, Error>>(), 56),
        ("Request", size_of::<Request>(), 64),
        ("Reply", size_of::<Reply>(), 8),
    ];
    check(&sizes);
}

#[tokio::test]
async fn futures_of_a_call_are_small() {
    let transport = Memory::new();
    let _server = Server::bind(&transport, "shop").await.unwrap();
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    let requester = Requester::open(&transport, "shop".try_into().unwrap(), 8).await.unwrap();
    let deadline = Deadline::after(Duration::from_secs(30));
    let request = || Request::new(Message::request("m".try_into().unwrap(), deadline));
    let sizes = [
        ("Requester::call", size_of_val(&requester.call(request())), 128),
        ("Client::call", size_of_val(&client.call::<i64>("m", &(1, 2))), 488),
    ];
    check(&sizes);
}

/// Compares sizes with their bounds, and names all that are larger.
fn check(sizes: &[(&str, usize, usize)]) {
    let larger: Vec<_> = sizes.iter().filter(|(_, size, max)| size > max).collect();
    assert!(larger.is_empty(), "larger than their bounds: {larger:?}, of {sizes:?}");
}
