//! The table of a router: methods by their names, event handlers by their filters.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::erased_handler::Method;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Filter};

/// The methods and the event handlers of a router. A clone shares the handlers.
pub(in crate::rpc) struct Table<D> {
    /// Found by names from the network, but filled by the program: no collisions are made.
    methods: FxHashMap<Address, Arc<dyn Method<D>>>,
    events: Vec<(Filter, Arc<dyn Method<D>>)>,
    /// Stays set when the last event handler is removed: an event without a handler succeeds.
    handles_events: bool,
}

impl<D> Table<D> {
    /// Adds a method. Fails if there is one of that name.
    pub(in crate::rpc) fn add(&mut self, name: Address, method: Arc<dyn Method<D>>) -> Result<()> {
        if self.methods.contains_key(&name) {
            let text = format!("cannot add the method: two methods are named {name}");
            return Err(Error::new(ErrorKind::Config, text).with_named("method", name));
        }
        self.methods.insert(name, method);
        Ok(())
    }

    /// Adds a handler of events.
    pub(in crate::rpc) fn add_event(&mut self, filter: Filter, handler: Arc<dyn Method<D>>) {
        self.events.push((filter, handler));
        self.handles_events = true;
    }

    /// Adds the methods of `inner` under a word, and its event handlers unchanged. A failure leaves
    /// some of them out.
    pub(in crate::rpc) fn nest(&mut self, word: &Address, inner: &Self) -> Result<()> {
        for (name, method) in &inner.methods {
            self.add(word.join(name)?, method.clone())?;
        }
        self.events.extend(inner.events.iter().cloned());
        self.handles_events |= inner.handles_events;
        Ok(())
    }

    /// Removes a method. Returns whether there was one.
    pub(in crate::rpc) fn remove(&mut self, name: &str) -> bool {
        self.methods.remove(name).is_some()
    }

    /// Removes the event handlers that were added for this filter. Returns their number.
    pub(in crate::rpc) fn remove_events(&mut self, filter: &Filter) -> usize {
        let before = self.events.len();
        self.events.retain(|(other, _)| other != filter);
        before - self.events.len()
    }

    /// Replaces each method by what `wrap` makes of it.
    pub(super) fn map(self, wrap: impl Fn(Arc<dyn Method<D>>) -> Arc<dyn Method<D>>) -> Self {
        let methods = self.methods.into_iter().map(|(name, method)| (name, wrap(method))).collect();
        Self { methods, ..self }
    }

    /// Returns the method of this name.
    pub(super) fn method(&self, name: &Address) -> Option<&dyn Method<D>> {
        self.methods.get(name).map(|method| &**method)
    }

    /// Returns whether there is, or was, a handler of events.
    pub(super) fn handles_events(&self) -> bool {
        self.handles_events
    }

    /// Iterates over the handlers of the events of this topic.
    pub(super) fn handlers_of(
        &self,
        topic: Option<&Address>,
    ) -> impl Iterator<Item = &dyn Method<D>> {
        let matching = move |(filter, _): &&(Filter, Arc<dyn Method<D>>)| {
            topic.is_some_and(|topic| filter.matches(topic))
        };
        self.events.iter().filter(matching).map(|(_, handler)| &**handler)
    }

    /// Returns the names of the methods, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.methods.keys().map(Address::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Iterates over the filters of the event handlers.
    pub(super) fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.events.iter().map(|(filter, _)| filter)
    }
}

impl<D> Default for Table<D> {
    fn default() -> Self {
        Self { methods: FxHashMap::default(), events: Vec::new(), handles_events: false }
    }
}

impl<D> Clone for Table<D> {
    fn clone(&self) -> Self {
        let (methods, events) = (self.methods.clone(), self.events.clone());
        Self { methods, events, handles_events: self.handles_events }
    }
}
