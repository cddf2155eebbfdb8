//! The layout of calls and their outcomes in messages.

mod encoding;
mod codec;
mod either;

pub use self::codec::Codec;
pub use self::encoding::Dialect;
