//! Engine `zeromq`: the sockets of the `zeromq` crate, behind relays.
//!
//! The crate neither reconnects nor bounds what its peers send. It reports neither which peer got a
//! message, nor that a puller has left. So each connection is a *link*: a socket of the crate with
//! one peer, and a relay between the two. The crate frames, matches and queues; the relay bounds,
//! counts, and watches the peer.
//!
//! - `zmtp`, `kind`, `inbound_filter`, `outbound_filter`: the bytes of a connection. No I/O.
//!
//! - `relay`, `port`, `outbox`, `link`: one connection. `link_set` with `set_options`,
//!   `endpoints`, `arrivals`, `streams` and `socket_file_guard`: all of a socket.
//!
//! - One file for each socket type: `dealer`, `push`, `client_router`, `router`, `pull`, `sub`,
//!   `xpub` with `subscribers`.

mod arrivals;
mod client_router;
mod dealer;
mod endpoints;
mod frames;
mod inbound_filter;
mod kind;
mod link;
mod link_set;
mod outbound_filter;
mod outbox;
mod port;
mod pull;
mod push;
mod relay;
mod router;
mod set_options;
#[cfg(unix)]
mod socket_file_guard;
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
