//! Connections that the program makes, in place of those to the brokers of a URL.

use std::error::Error;
use std::sync::Arc;

use lapin::Connection;
#[cfg(doc)]
use polywire_core::ErrorKind;

use crate::builder::AmqpBuilder;
use crate::config::Config;
use crate::connection::connection_source::{ConnectFunction, ConnectionSource};
use crate::transport::Amqp;

impl Amqp {
    /// Creates a builder of a transport over a connection that the program has made, and may use
    /// for other things. [Connections of the program](Amqp#connections-of-the-program) lists the
    /// limits.
    ///
    /// The transport has no other connection. When this one ends, all endpoint handles fail with
    /// [`ErrorKind::Closed`], and the health with them;
    /// [`connections_from`](AmqpBuilder::connections_from) reconnects. Closing the transport closes
    /// its channels alone. The connection ends with the last owner of its [`Arc`].
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use polywire_amqp::Amqp;
    /// use polywire_amqp::lapin::{Connection, ConnectionProperties};
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let properties = ConnectionProperties::default();
    /// let connection = Arc::new(Connection::connect("amqp://localhost", properties).await?);
    /// let transport = Amqp::from_connection(connection.clone()).build().await?;
    /// let channel = connection.create_channel().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_connection(connection: impl Into<Arc<Connection>>) -> AmqpBuilder {
        AmqpBuilder { config: Config::over(connection.into()) }
    }
}

impl AmqpBuilder {
    /// Sets a function that makes each connection, in place of connecting to the brokers of the
    /// URL: for sockets, proxies and ways to log in that the transport does not know.
    /// [Connections of the program](Amqp#connections-of-the-program) lists the limits.
    ///
    /// The transport calls the function for each connection, also to reconnect, and waits for the
    /// connect timeout at most. If the engine's error says that the broker refuses, the transport
    /// [gives up](AmqpBuilder::give_up_after) in the end; after any other error it goes on.
    ///
    /// The function runs in a task, which is aborted at the timeout. A panic of the function fails
    /// the attempt.
    ///
    /// ```no_run
    /// # use polywire_amqp::Amqp;
    /// use polywire_amqp::lapin::{Connection, ConnectionProperties};
    ///
    /// # async fn connect() -> polywire_core::Result<()> {
    /// let uri = "amqp://guest:guest@localhost";
    /// let transport = Amqp::builder(uri)?
    ///     .connections_from(move || Connection::connect(uri, ConnectionProperties::default()))
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connections_from<F, Fut, E>(mut self, connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Connection, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let function = ConnectFunction::new(connect);
        self.config.connections = ConnectionSource::Function(function);
        self
    }
}
