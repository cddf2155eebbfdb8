//! Messages: what every transport carries, independent of its wire format.

mod address;
mod body;
mod call_id;
mod deadline;
mod extensions;
mod failure_history;
mod filter;
mod first_and_rest;
mod headers;
mod instance;
mod instance_text;
mod limits;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod message;
mod message_id;
mod name_syntax;
mod peer_identity;
mod reply_to;
mod sent_at;
mod short_bytes;

pub use self::address::Address;
pub use self::body::Body;
pub use self::call_id::CallId;
pub use self::deadline::Deadline;
pub use self::extensions::Extensions;
pub use self::failure_history::{DeadLetterReason, DeadLetterRecord, History};
pub use self::filter::Filter;
pub use self::headers::Headers;
pub use self::instance::Instance;
pub use self::limits::Limits;
pub use self::message::Message;
pub use self::message_id::MessageId;
pub use self::peer_identity::Identity;
pub use self::reply_to::ReplyTo;
pub use self::sent_at::SentAt;
pub(crate) use self::sent_at::system_time;
pub(crate) use self::short_bytes::copy_short;
