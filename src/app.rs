#![doc = include_str!("../docs/app.md")]

pub use polywire_app::{
    AnyService, App, AppTransport, BoxError, Component, Connect, Exit, IntoService, Layers,
    Settings, shutdown_signal,
};
