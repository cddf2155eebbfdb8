//! The layout of a message in the frames of a ZeroMQ message, as `docs/wire-native.md` specifies
//! it.
//!
//! A versioned envelope comes first. A small body is part of the envelope; the frames of a larger
//! one follow it. The functions here are pure: they use no socket, and no clock but that of
//! deadlines.

mod batch;
mod bounds_exchange;
mod canary;
mod decode;
mod decode_failure;
mod encode;
mod fixed_part;
mod frames;
mod layout;
mod message_role;
mod peek;
mod rewrite;
mod sync_marker;
#[cfg(test)]
mod tests;
mod topic;
mod unbatched;

#[cfg(test)]
pub(crate) use self::batch::Batched;
pub(crate) use self::batch::{BATCH_MAX, Batch};
pub(crate) use self::bounds_exchange::{
    StatedBounds, asked_bounds, bound_question, serve_on, stated_bounds,
};
pub(crate) use self::canary::{canary, is_canary};
pub(crate) use self::decode::{decode, decode_peeked};
pub(crate) use self::decode_failure::DecodeFailure;
pub(crate) use self::encode::encode;
pub(crate) use self::frames::Frames;
pub(crate) use self::layout::head_max;
pub(crate) use self::message_role::MessageRole;
pub(crate) use self::peek::{Kind, Peek, is_declined, peek};
#[cfg(feature = "engine-omq")]
pub(crate) use self::rewrite::renumber;
pub(crate) use self::rewrite::{restamp, sent_at};
pub(crate) use self::sync_marker::{SyncMarker, UNIQUE, unique};
pub(crate) use self::topic::Channel;
pub(crate) use self::unbatched::Unbatched;
