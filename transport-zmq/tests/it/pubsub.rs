//! Publish-subscribe over real sockets.

mod closing;
mod filters;
mod malformed;
mod reconnect;
mod slow;
