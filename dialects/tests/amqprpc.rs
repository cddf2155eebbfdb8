//! The dialect against amqprpc, over RabbitMQ: its clients and our servers, our clients and its
//! servers, both sides ours, and servers of both on one queue.
//!
//! The packages of amqprpc are on no registry: `amqprpc/peer.py` stands in for the servers and the
//! clients of Python and of Go. The first test installs its libraries from PyPI into a virtual
//! environment below the target folder. Where Python or pip is missing, and on a broker that denies
//! the queues of amqprpc, the tests with a peer are reported as not run. The broker is that of
//! `cargo xtask test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

#[path = "amqprpc/amqprpc_peer.rs"]
mod amqprpc_peer;
#[path = "support/answered.rs"]
mod answered;
#[path = "amqprpc/both_ours.rs"]
mod both_ours;
#[path = "support/broker_test.rs"]
mod broker_test;
#[path = "amqprpc/one_queue.rs"]
mod one_queue;
#[path = "amqprpc/our_client.rs"]
mod our_client;
#[path = "amqprpc/our_server.rs"]
mod our_server;
#[path = "support/patience.rs"]
mod patience;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/python.rs"]
mod python;
#[path = "amqprpc/service.rs"]
mod service;
#[path = "support/values.rs"]
mod values;

use libtest_mimic::Arguments;

use self::broker_test::broker;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(3);
    let trials = vec![
        broker("amqprpc_calls_our_server", our_server::in_json),
        broker("amqprpc_calls_our_server_in_messagepack", our_server::in_messagepack),
        broker("errors_of_our_server_reach_amqprpc", our_server::errors_reach_amqprpc),
        broker("our_client_calls_amqprpc", our_client::in_json),
        broker("our_client_calls_amqprpc_in_messagepack", our_client::in_messagepack),
        broker("errors_of_amqprpc_reach_our_client", our_client::errors_reach_our_client),
        broker("our_client_calls_our_server", both_ours::our_client_calls_our_server),
        broker("drained_server_leaves_its_calls_to_others", both_ours::drained_server),
        broker("native_and_amqprpc_callers_share_a_service", both_ours::two_handles),
        broker("servers_of_both_share_a_queue", one_queue::servers_of_both_share_a_queue),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
