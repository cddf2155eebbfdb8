//! The layout of calls and their outcomes in messages.

mod codec;
mod either;
mod encoding;

pub use self::codec::Codec;
pub use self::encoding::Dialect;
