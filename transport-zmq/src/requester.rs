//! The calling end: which link a request takes, and what becomes of those that a link loses.

mod ledger;
mod link;
mod links;
mod replies;

use std::sync::Arc;

use polywire_core::{Address, Limits, Message, Outbound, Receiver, Result, Sender, Sending};
use tokio::sync::mpsc;

use self::ledger::Entry;
use self::link::Link;
use self::links::{Board, Links};
use self::replies::Replies;
use crate::config::Settings;
use crate::engine;
use crate::error::closed;
use crate::transport::{Bound, End};
use crate::wire::{Native, Role, Wire};

/// Opens the calling end of `service`. It waits for no peer longer than a moment; requests do.
pub(crate) async fn open(
    settings: &Settings,
    service: &Address,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Sender, Receiver)> {
    let (failures, failed) = mpsc::unbounded_channel();
    let board = Arc::new(Board::new(failures));
    let mut links = Vec::new();
    if !settings.calling.bind.is_empty() {
        let (dealer, real) = engine::listen(settings, &settings.calling.bind).await?;
        links.push(Link::new(real.join(", "), true, dealer, board.clone()));
        bound.add(real);
    }
    for endpoint in &settings.calling.connect {
        let endpoint = endpoint.clone().dialled()?;
        let name = endpoint.to_string();
        links.push(Link::new(name, false, engine::dial(settings, &endpoint)?, board.clone()));
    }
    let links = Arc::new(Links::new(links, board, settings.connect_timeout));
    links.settle_in().await;
    let requests =
        Requests { links: links.clone(), role: Role::Request(service.clone()), limits: settings.limits };
    let replies = Replies::new(links.clone(), failed, settings.limits, service.clone());
    Ok((links, Sender::new(requests), Receiver::new(replies)))
}

/// The sending half.
struct Requests {
    links: Arc<Links>,
    role: Role,
    limits: Limits,
}

impl Outbound for Requests {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.links.is_closed() {
            return Sending::ready(Err(closed()));
        }
        if let Err(error) = self.limits.check(&message) {
            return Sending::ready(Err(error));
        }
        let (call, deadline) = (message.id, message.deadline);
        let frames = match Native.encode(&self.role, message, &self.limits) {
            Ok(frames) => frames,
            Err(error) => return Sending::ready(Err(error)),
        };
        let entry = Entry::new(call, deadline);
        // Who comes now does not overtake those who wait.
        let sent = if self.links.is_crowded() { Err(frames) } else { self.links.try_send(&entry, frames) };
        match sent {
            Ok(()) => Sending::ready(Ok(())),
            Err(frames) => Sending::later(self.links.send(entry, deadline, frames)),
        }
    }
}
