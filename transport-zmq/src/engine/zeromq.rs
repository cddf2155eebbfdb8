//! Engine `zeromq`: the sockets of the `zeromq` crate, with additions.
//!
//! The crate does not reconnect, so each connection has a socket of its own. A dropped send loses
//! its message, so a task owns the sending half. It notices a lost connection only while it is
//! read, so another task always reads. The crate neither authenticates peers nor bounds what they
//! send: it is for peers that are trusted.

mod dealer;
mod frames;
mod router;
#[cfg(unix)]
mod socket_file;

pub(super) use self::dealer::ZeromqDealer;
pub(super) use self::router::ZeromqRouter;
