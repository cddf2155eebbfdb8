//! The layout of calls and their outcomes in messages.

mod codec;
mod codec_pair;
#[expect(clippy::module_inception, reason = "named after its main type")]
mod dialect;
mod media_type;

pub use self::codec::Codec;
pub use self::dialect::Dialect;
