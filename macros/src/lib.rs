//! The `#[service]` macro of [polywire](https://docs.rs/polywire), which re-exports it.
