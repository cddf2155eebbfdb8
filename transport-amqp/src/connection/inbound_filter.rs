//! Inbound frames that the engine could not parse, rewritten before the engine reads them.
//!
//! The engine ends the connection over a frame that it cannot parse. The broker then redelivers the
//! message, which ends the next connection. The broker checks less than the engine: a property in
//! Latin-1 is a text to the broker and a parse error to the engine. So such a frame is rewritten
//! here, and the message takes the way of any other undecodable delivery.
//!
//! - [`filtered_stream`]: the stream between TLS and the engine; [`filtering_reactor`] makes the
//!   engine accept its type. The other direction has the
//!   [`outbound_filter`](super::outbound_filter).
//! - [`frame_filter`]: finds the frames in the stream by their [heads](frame_head), and holds
//!   those to check until they are complete.
//! - [`content_header`] checks and rewrites the properties of a message, and [`method_text_check`]
//!   the methods with texts of other programs. [`fields`] walks over texts and tables.
//! - [`confirm_frames`] reads confirms and returned messages for the publishers, and changes none.
//! - [`fatal_message_search`] finds a message over which the engine fails for another reason, with
//!   [`frame_by_frame_reading`] of one frame at a time.

mod confirm_frames;
mod content_header;
pub(super) mod fatal_message_search;
mod fields;
pub(super) mod filtered_stream;
pub(super) mod filtering_reactor;
mod frame_by_frame_reading;
mod frame_filter;
pub(super) mod frame_head;
#[cfg(fuzzing)]
pub(super) mod fuzz;
mod method_text_check;
pub(super) mod unexpected_tls;

#[cfg(test)]
mod tests;
