//! The declarations of queues and exchanges, each of which nameko repeats exactly.

use polywire_amqp::{
    AmqpLayout, BindingDeclaration, EventConsumer, ExchangeDeclaration, ExchangeKind,
    QueueDeclaration, Topology,
};
use polywire_core::{Dialect, ErrorKind, Filter};
use polywire_dialects::Nameko;
use polywire_dialects::nameko::SINGLETON;

use crate::address;

fn of_exchange(name: &str) -> Topology {
    Topology::new().exchange(ExchangeDeclaration::new(name, ExchangeKind::Topic))
}

#[test]
fn queues_of_calls_are_those_of_nameko() {
    let nameko = Nameko::new();
    let service = address("peer_math");
    let requests = nameko.request_queue(&service).unwrap();
    let binding = BindingDeclaration::queue("nameko-rpc", "rpc-peer_math");
    let expected = of_exchange("nameko-rpc")
        .queue(QueueDeclaration::new("rpc-peer_math"))
        .binding(binding.routing_key("peer_math.*"));
    assert_eq!((requests.name.as_str(), requests.is_private), ("rpc-peer_math", false));
    assert_eq!(requests.topology, expected);
    let replies = nameko.reply_queue(&service, "7efc").unwrap();
    let name = "rpc.reply-polywire-7efc";
    let expected = of_exchange("nameko-rpc")
        .queue(QueueDeclaration::new(name).argument("x-expires", 300_000))
        .binding(BindingDeclaration::queue("nameko-rpc", name).routing_key("7efc"));
    assert_eq!((replies.name.as_str(), replies.is_private), (name, true));
    assert_eq!(replies.topology, expected);
    for exchange in [nameko.request_exchange(&service), nameko.reply_exchange(&service)] {
        let exchange = exchange.unwrap();
        assert_eq!(
            (exchange.name, exchange.topology),
            ("nameko-rpc".into(), of_exchange("nameko-rpc"))
        );
    }
    let other = Nameko::new().rpc_exchange("other").request_exchange(&service).unwrap();
    assert_eq!((other.name, other.topology), ("other".into(), of_exchange("other")));
}

#[test]
fn exchange_of_events_is_that_of_nameko() {
    let exchange = Nameko::new().event_exchange(&address("peer_math")).unwrap();
    assert_eq!(exchange.name, "peer_math.events");
    assert_eq!(exchange.topology, of_exchange("peer_math.events"));
}

#[test]
fn queues_of_events_are_those_of_nameko() {
    let (channel, handler) = (address("peer_math"), address("shop.on_done"));
    let (singleton, filters) = (address(SINGLETON), [Filter::new("thing_done").unwrap()]);
    let consumer = EventConsumer::new(&channel, &filters, "7efc");
    let queue = |name: &str| QueueDeclaration::new(name);
    for (consumer, queue, is_private) in [
        (
            consumer.with_group(&handler, true),
            queue("evt-peer_math-thing_done--shop.on_done"),
            false,
        ),
        (
            consumer.with_group(&handler, false),
            queue("evt-peer_math-thing_done--shop.on_done").auto_delete(),
            false,
        ),
        (consumer.with_group(&singleton, true), queue("evt-peer_math-thing_done"), false),
        (
            consumer,
            queue("evt-peer_math-thing_done--polywire-7efc").argument("x-expires", 60_000),
            true,
        ),
    ] {
        let found = Nameko::new().event_queue(&consumer).unwrap();
        let binding = BindingDeclaration::queue("peer_math.events", &found.name);
        let expected =
            of_exchange("peer_math.events").queue(queue).binding(binding.routing_key("thing_done"));
        assert_eq!((found.topology, found.is_private), (expected, is_private), "{}", found.name);
    }
    let two = [filters[0].clone(), Filter::new("sold").unwrap()];
    for filters in [&[][..], &two] {
        let refused = Nameko::new().event_queue(&EventConsumer::new(&channel, filters, "7efc"));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn event_is_the_value_alone() {
    let nameko = Nameko::new();
    let mut event = polywire_core::Message::default().with_topic(address("thing_done"));
    nameko.encode_call(&serde_json::json!({ "id": 5 }), &mut event).unwrap();
    let sent = nameko.encode_event(&address("peer_math"), event).unwrap();
    assert_eq!(sent.routing_key.as_str(), "thing_done");
    assert_eq!(&sent.body[..], br#"{"id":5}"#);
    let expected = crate::json_properties().with_headers(Default::default());
    assert_eq!((sent.mandatory, &sent.properties), (false, &expected));
    let read = nameko.decode_event(&address("peer_math"), sent).unwrap();
    assert_eq!(read.topic, Some(address("thing_done")));
    let value: serde_json::Value = nameko.decode_call(&read).unwrap();
    assert_eq!(value, serde_json::json!({ "id": 5 }));
}
