//! A connection with the listeners to its confirms.

use std::ops::Deref;
use std::sync::Arc;

use lapin::Connection;

use crate::connection::confirm_listeners::ConfirmListeners;

/// A connection of the engine.
///
/// Clones share the connection.
#[derive(Clone)]
pub(crate) struct OpenConnection {
    engine: Arc<Connection>,
    /// `None` for a connection that the program has made: its stream has no filter.
    confirms: Option<ConfirmListeners>,
}

impl OpenConnection {
    /// Wraps a connection whose stream calls `confirms`.
    pub(super) fn filtered(engine: Connection, confirms: ConfirmListeners) -> Self {
        Self { engine: Arc::new(engine), confirms: Some(confirms) }
    }

    /// Wraps a connection of the program.
    pub(super) fn of_program(engine: Arc<Connection>) -> Self {
        Self { engine, confirms: None }
    }

    /// Returns the listeners that the stream of the connection calls, if it has a filter.
    pub(super) fn confirms(&self) -> Option<&ConfirmListeners> {
        self.confirms.as_ref()
    }
}

impl Deref for OpenConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.engine
    }
}
