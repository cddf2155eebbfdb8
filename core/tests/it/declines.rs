//! Declined requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::transport::Delivery;
use polywire_core::{CallError, Client, Code, Fault, Memory, Message, Router, Server, Transport};

use crate::scripted::{Scripted, sent};

/// The servers that got the request, in order.
type Asked = Arc<Mutex<Vec<&'static str>>>;

/// Serves requests whose argument contains `name`, and declines all others.
async fn serve(transport: &Memory, name: &'static str, asked: &Asked) -> ServerHandle {
    let server = Server::bind(&transport.peer(), "render").await.unwrap();
    let handle = server.handle();
    let asked = asked.clone();
    let router = Router::new(MessagePack).method("film", move |argument: String| {
        asked.lock().unwrap().push(name);
        async move {
            if argument.contains(name) {
                Ok(name)
            } else {
                Err(Fault::declined(format!("{name} has no lens")))
            }
        }
    });
    tokio::spawn(server.serve(router));
    handle
}

async fn client(transport: &Memory) -> Client<MessagePack> {
    Client::connect(transport, "render", MessagePack).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn declined_request_goes_to_each_other_server_once() {
    let (transport, asked) = (Memory::new(), Asked::default());
    let mut servers = Vec::new();
    for name in ["ann", "bob", "cy"] {
        servers.push(serve(&transport, name, &asked).await);
    }
    let client = client(&transport).await;
    for name in ["ann", "bob", "cy"] {
        asked.lock().unwrap().clear();
        assert_eq!(client.call::<String>("film", name).await.unwrap(), name);
        let mut asked = asked.lock().unwrap().clone();
        assert_eq!(asked.last(), Some(&name));
        let all = asked.len();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), all, "no server gets the request twice");
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_all_servers_decline_ends_with_the_last_fault() {
    let (transport, asked) = (Memory::new(), Asked::default());
    let servers = [serve(&transport, "ann", &asked).await, serve(&transport, "bob", &asked).await];
    let client = client(&transport).await;
    let error = client.call::<String>("film", "dan").await.unwrap_err();
    assert!(error.is_declined());
    let last = *asked.lock().unwrap().last().unwrap();
    assert_eq!(error.fault().unwrap().message, format!("{last} has no lens"));
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(servers.map(|server| server.stats().declined), [1, 1]);
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn request_waits_for_a_server_that_has_not_declined_until_it_closes() {
    let (transport, asked) = (Memory::new(), Asked::default());
    let ann = serve(&transport, "ann", &asked).await;
    // Bound, and not serving yet.
    let idle = Server::bind(&transport.peer(), "render").await.unwrap();
    let client = client(&transport).await;
    let call = client.request("film").start::<String>("dan").unwrap();
    while ann.stats().declined == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!call.is_finished());
    drop(idle);
    assert!(call.await.unwrap_err().is_declined());
    assert_eq!(*asked.lock().unwrap(), ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn declined_one_way_call_is_dropped() {
    let (transport, asked) = (Memory::new(), Asked::default());
    let ann = serve(&transport, "ann", &asked).await;
    let client = client(&transport).await;
    client.request("film").send("dan").await.unwrap();
    assert_eq!(client.call::<String>("film", "ann").await.unwrap(), "ann");
    assert_eq!((ann.stats().declined, ann.stats().answered), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn server_that_runs_requests_at_most_once_answers_a_declined_request() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "render").at_most_once().await.unwrap();
    let router = Router::new(MessagePack)
        .method("film", async |_: String| Err::<(), _>(Fault::declined("no")));
    tokio::spawn(server.serve(router));
    let _other = Server::bind(&transport, "render").await.unwrap();
    let called = client(&transport).await.call::<()>("film", "bob").await;
    assert!(called.unwrap_err().is_declined());
}

#[tokio::test(start_paused = true)]
async fn nested_decline_is_not_a_decline_of_the_outer_call() {
    let (transport, asked) = (Memory::new(), Asked::default());
    let _ann = serve(&transport, "ann", &asked).await;
    let back = client(&transport).await;
    let front = Router::new(MessagePack).method("film", move |argument: String| {
        let back = back.clone();
        async move { Ok(back.call::<String>("film", &argument).await?) }
    });
    let server = Server::bind(&transport, "front").await.unwrap();
    tokio::spawn(server.serve(front));
    let client = Client::connect(&transport, "front", MessagePack).await.unwrap();
    let Err(CallError::Fault(fault)) = client.call::<String>("film", "dan").await else {
        unreachable!("every server declines");
    };
    assert_eq!((fault.code, &*fault.message), (Code::Unavailable, "ann has no lens"));
}

/// The client sends a declined request again, each time as a new call.
#[tokio::test]
async fn client_resends_where_the_transport_does_not_forward() {
    let (transport, mut script) = Scripted::new(sent);
    assert!(!transport.capabilities().declining);
    let client = Client::connect(&transport, "render", MessagePack).await.unwrap();
    let call = client.request("film").header("of", "cats").start::<u32>(&1).unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = script.request().await;
        assert_eq!(
            (request.body.as_slice(), request.headers.get("of")),
            (Some(&b"\x01"[..]), Some("cats"))
        );
        ids.push(request.id);
        let mut reply = Message::failed(Fault::declined("not me"));
        reply.id = request.id;
        script.incoming.send(Ok(Delivery::settled(reply))).unwrap();
    }
    let id = script.request().await.id;
    script.reply(id, b"\x05");
    assert_eq!(call.await.unwrap(), 5);
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!((client.stats().in_flight, client.stats().late_replies), (0, 0));
}

#[tokio::test]
async fn client_resends_a_bounded_number_of_times() {
    let (transport, mut script) = Scripted::new(sent);
    let client = Client::connect(&transport, "render", MessagePack).await.unwrap();
    let call = client.request("film").start::<u32>(&1).unwrap();
    for _ in 0..8 {
        let mut reply = Message::failed(Fault::declined("not me"));
        reply.id = script.request().await.id;
        script.incoming.send(Ok(Delivery::settled(reply))).unwrap();
    }
    assert!(call.await.unwrap_err().is_declined());
    assert!(script.sent.try_recv().is_err());
}
