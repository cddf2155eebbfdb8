//! Pipelines over real sockets.

mod delivery;
mod pullers;
