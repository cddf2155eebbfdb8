//! The part of binding that subscribers and listeners share: their options, and the opening.

use super::event_stream::EventStream;
use super::overflow::Overflow;
use crate::error::{Error, Result};
use crate::message::{Address, Filter};
use crate::transport::{Capabilities, Group, Subscription, Transport, Window};

/// The event stream of a subscriber or a listener that is about to bind.
pub(super) struct EventStreamBind<'t, C> {
    transport: &'t C,
    pub(super) channel: Result<Address>,
    filters: Result<Vec<Filter>>,
    pub(super) group: Option<Group>,
    pub(super) window: Window,
    pub(super) overflow: Overflow,
    /// The option of the handle that sets the group, for an error.
    group_option: &'static str,
}

impl<'t, C> EventStreamBind<'t, C> {
    pub(super) fn new(
        transport: &'t C,
        channel: impl TryInto<Address, Error: Into<Error>>,
        group_option: &'static str,
    ) -> Self {
        Self {
            transport,
            channel: channel.try_into().map_err(Into::into),
            filters: Ok(Vec::new()),
            group: None,
            window: Window::default(),
            overflow: Overflow::default(),
            group_option,
        }
    }

    /// Adds a filter. Binding fails with the error of the first malformed filter.
    pub(super) fn filter(&mut self, filter: impl TryInto<Filter, Error: Into<Error>>) {
        match (&mut self.filters, filter.try_into()) {
            (Ok(filters), Ok(filter)) => filters.push(filter),
            (Ok(_), Err(error)) => self.filters = Err(error.into()),
            (Err(_), _) => {}
        }
    }
}

impl<C: Transport> EventStreamBind<'_, C> {
    pub(super) fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    /// Opens the subscription. Without a filter it receives every event.
    pub(super) async fn open(self) -> Result<EventStream> {
        let mut filters = self.filters?;
        if filters.is_empty() {
            filters.push(Filter::all());
        }
        let subscription = Subscription { filters, group: self.group, window: self.window };
        let (transport, channel) = (self.transport, self.channel?);
        EventStream::open(transport, &channel, subscription, self.overflow, self.group_option).await
    }
}
