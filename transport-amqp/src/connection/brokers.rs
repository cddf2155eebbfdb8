//! The brokers of a cluster, in turn.
//!
//! Both connections of a transport start with the first broker of the URL. A connection stays with
//! a broker until an attempt fails; then the next broker of the URL is tried, and after the last
//! one the first again.

use std::sync::Arc;

use polywire_core::Result;

use crate::common_errors::closed;
use crate::config::Config;
use crate::connection::broker_version::CurrentVersion;
use crate::connection::connection_source::{ConnectionSource, ended};
use crate::connection::dial::connect;
use crate::connection::engine_connection::OpenConnection;
use crate::connection::inbound_filter::fatal_message_search::FatalMessageSearch;
use crate::connection_events::ConnectionRole;
use crate::url::BrokerAddress;

/// The broker addresses of the URL, and the index of the next one to try.
///
/// The supervisor of a connection owns the value. So the two connections of a transport move
/// through the list independently.
pub(super) struct Brokers {
    /// Addresses in the order of the URL, at least one. For a connection of the program, the only
    /// entry holds the name of the source in place of a host.
    all: Vec<BrokerAddress>,
    /// Index of the current broker, which advances only after a failed attempt.
    next: usize,
    /// Version of the broker that was reached last.
    pub(super) version: CurrentVersion,
    /// Search for messages over which the engine fails.
    pub(super) search: FatalMessageSearch,
}

impl Brokers {
    /// Starts with the first broker of the URL.
    pub(super) fn new(config: &Config) -> Self {
        let all = match config.connections.name() {
            None => config.url.brokers(),
            Some(name) => vec![BrokerAddress { host: name.to_owned(), port: 0 }],
        };
        let (version, search) = (CurrentVersion::default(), FatalMessageSearch::default());
        Self { all, next: 0, version, search }
    }

    /// Connects to the current broker, or takes a connection of the program. After a failure, the
    /// next broker becomes the current one. The errors are those of [`connect`].
    ///
    /// If the future is dropped, the current broker stays the same.
    pub(super) async fn connect(
        &mut self,
        config: &Config,
        role: ConnectionRole,
    ) -> Result<OpenConnection> {
        let connected = match &config.connections {
            ConnectionSource::Url => {
                connect(config, self.current(), role, &self.version, &self.search).await
            }
            ConnectionSource::Function(function) => {
                let connected = function.connect(config.connect_timeout).await;
                connected.map(|connection| OpenConnection::of_program(Arc::new(connection)))
            }
            ConnectionSource::Given(connection) if connection.status().connected() => {
                return Ok(OpenConnection::of_program(connection.clone()));
            }
            ConnectionSource::Given(_) => Err(ended()),
        };
        if connected.is_err() {
            self.next = (self.next + 1) % self.all.len();
        }
        connected
    }

    /// Tries each broker once.
    ///
    /// Each attempt has the whole connect timeout. With several silent brokers, the total time is a
    /// multiple of the timeout.
    ///
    /// # Errors
    ///
    /// The error of the first broker, which the URL names as the preferred one.
    pub(super) async fn connect_to_any(
        &mut self,
        config: &Config,
        role: ConnectionRole,
    ) -> Result<OpenConnection> {
        let mut first = None;
        for _ in 0..self.all.len() {
            match self.connect(config, role).await {
                Ok(connection) => return Ok(connection),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(closed))
    }

    /// Returns the address of the current broker.
    pub(super) fn current(&self) -> &BrokerAddress {
        // A parsed URL has at least one broker, and `next` stays below their number.
        &self.all[self.next]
    }
}
