//! Engine `zeromq`: the sockets of the `zeromq` crate, behind relays.
//!
//! The crate neither reconnects nor bounds what its peers send. It reports neither which peer got a
//! message, nor that a puller has left. So each connection is a *link*: a socket of the crate with
//! one peer, and a relay between the two. The crate frames, matches and queues; the relay bounds,
//! counts, and watches the peer.
//!
//! - `zmtp`, `socket_kind`, `inbound_filter`, `outbound_filter`: the bytes of a connection. No I/O.
//!
//! - `relay`, `one_peer_socket` with `inner_listener`, `outbox`, `link`: one connection. `link_set`
//!   with `link_set_options`, `link_set_state`, `linked_endpoints`, `connect`, `arrival_stream`,
//!   `streams` and `socket_file_guard`: all of a socket.
//!
//! - One file for each socket type: `dealer`, `push`, `client_router`, `router`, `pull`, `sub`,
//!   `xpub` with `subscribers`.

mod arrival_stream;
mod client_router;
mod connect;
mod dealer;
mod frame_conversion;
mod inbound_filter;
mod inner_listener;
mod link;
mod link_set;
mod link_set_options;
mod link_set_state;
mod linked_endpoints;
mod one_peer_socket;
mod outbound_filter;
mod outbox;
mod pull;
mod push;
mod relay;
mod router;
#[cfg(unix)]
mod socket_file_guard;
mod socket_kind;
mod streams;
mod sub;
mod subscribers;
mod xpub;
mod zmtp;

pub(super) use self::client_router::ZeromqClientRouter;
pub(super) use self::dealer::ZeromqDealer;
#[cfg(fuzzing)]
pub(crate) use self::inbound_filter::fuzz::inbound_filter as fuzz_inbound_filter;
pub(super) use self::pull::ZeromqPull;
pub(super) use self::push::ZeromqPush;
pub(super) use self::router::ZeromqRouter;
pub(super) use self::sub::ZeromqSub;
pub(super) use self::xpub::ZeromqXPub;
