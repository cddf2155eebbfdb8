//! Events of nameko, both ways.

use polywire_core::{ErrorKind, Group, Publisher, Subscriber};
use polywire_dialects::Nameko;
use polywire_dialects::nameko::SINGLETON;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::patience::PATIENCE;
use crate::peer::Peer;
use crate::service::{client, connect};

pub(crate) async fn events_of_nameko(url: String) {
    let test = "events_of_nameko_reach_each_kind_of_handler";
    let Some(mut peer) = Peer::client(test, &url, "json").await else { return };
    let nameko = connect(&url).await;
    let subscribe = async |group: Option<Group>| {
        let binding = Subscriber::<Value>::bind(&nameko, "theirs_source", Nameko::new());
        let binding = binding.filter("made");
        let binding = match group {
            Some(group) => binding.group(group),
            None => binding,
        };
        binding.await.unwrap()
    };
    let pool = |name: &str| Some(Group::new(name.to_owned()).unwrap().durable());
    let mut all = [
        subscribe(None).await,
        subscribe(None).await,
        subscribe(pool("shop.on_made")).await,
        subscribe(pool("bank.on_made")).await,
        subscribe(pool(SINGLETON)).await,
    ];
    let data = json!({ "id": 5, "name": "café" });
    let order = json!({ "source": "theirs_source", "type": "made", "data": data });
    assert_eq!(peer.ask(order).await, json!({ "result": null }));
    for subscriber in &mut all {
        let event = timeout(PATIENCE, subscriber.next()).await.expect("the event arrives");
        let event = event.unwrap().unwrap();
        assert_eq!(event.topic().as_str(), "made");
        assert_eq!(*event, data);
        event.ack();
    }
    let several = Subscriber::<Value>::bind(&nameko, "theirs_source", Nameko::new());
    let refused = several.filter("made").filter("sold").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

pub(crate) async fn our_events(url: String) {
    let (test, service) = ("our_events_reach_nameko", "theirs_events");
    let Some(_peer) = Peer::serve(test, &url, service, "json").await else { return };
    let nameko = connect(&url).await;
    let publisher = Publisher::connect(&nameko, "theirs_events.source", Nameko::new()).await;
    let data = json!([1, "é", null]);
    publisher.unwrap().publish("made", &data).await.unwrap();
    let client = client(&nameko, service).await;
    // The handler of events runs beside those of calls.
    let seen = async {
        loop {
            let seen: Value = client.call("events", &()).await.unwrap();
            if seen != json!([]) {
                return seen;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, seen).await.expect("the event is handled"), json!([data]));
}
