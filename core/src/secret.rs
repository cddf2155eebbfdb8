//! Secrets of transports: passwords and keys, by value or by their source.
//!
//! A URL is logged, stored and shown, so it names the source of a secret instead of the secret:
//! `file:/run/secrets/password` or `env:PASSWORD`. Every backend reads these sources by
//! [`SecretSource`].

#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod secret;
mod source;

pub use self::secret::Secret;
pub use self::source::SecretSource;
