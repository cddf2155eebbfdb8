//! The dialect against the real nameko, over RabbitMQ: its clients and our servers, our clients and
//! its servers, both sides ours, and servers of both on one queue.
//!
//! The first test installs nameko from PyPI into a virtual environment below the target folder.
//! Where Python or pip is missing, the tests with nameko are reported as not run. The broker is
//! that of `cargo xtask test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

#[path = "support/answered.rs"]
mod answered;
#[path = "nameko/both_ours.rs"]
mod both_ours;
#[path = "support/broker_test.rs"]
mod broker_test;
#[path = "nameko/environment.rs"]
mod environment;
#[path = "nameko/events.rs"]
mod events;
#[path = "nameko/nameko_peer.rs"]
mod nameko_peer;
#[path = "nameko/one_queue.rs"]
mod one_queue;
#[path = "nameko/our_client.rs"]
mod our_client;
#[path = "nameko/our_server.rs"]
mod our_server;
#[path = "support/patience.rs"]
mod patience;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/python.rs"]
mod python;
#[path = "nameko/service.rs"]
mod service;
#[path = "support/values.rs"]
mod values;

use libtest_mimic::Arguments;

use self::broker_test::broker;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(3);
    let trials = vec![
        broker("nameko_calls_our_server", our_server::nameko_calls_our_server),
        broker("nameko_calls_our_server_in_messagepack", our_server::in_messagepack),
        broker("errors_of_our_server_reach_nameko", our_server::errors_reach_nameko),
        broker("context_data_passes_through_our_server", our_server::context_data_passes_through),
        broker("our_client_calls_nameko", our_client::our_client_calls_nameko),
        broker("our_client_calls_nameko_in_messagepack", our_client::in_messagepack),
        broker("typed_values_survive", our_client::typed_values),
        broker("errors_of_nameko_reach_our_client", our_client::errors_reach_our_client),
        broker("our_client_calls_our_server", both_ours::our_client_calls_our_server),
        broker("drained_server_leaves_its_calls_to_others", both_ours::drained_server),
        broker("native_and_nameko_callers_share_a_service", both_ours::two_handles),
        broker("servers_of_both_share_a_queue", one_queue::servers_of_both_share_a_queue),
        broker("requests_of_a_dead_nameko_server_go_on", one_queue::dead_nameko_server),
        broker("events_of_nameko_reach_each_kind_of_handler", events::events_of_nameko),
        broker("our_events_reach_nameko", events::our_events),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
