//! The declarations of queues and exchanges, each of which nameko repeats exactly.

use polywire_amqp::{
    AmqpLayout, BindingDeclaration, ExchangeDeclaration, ExchangeKind, QueueDeclaration, Topology,
};
use polywire_dialects::Nameko;

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
