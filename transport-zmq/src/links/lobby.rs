//! Where servers come that dial their callers: each has a link, for as long as its connection
//! lasts.

use std::sync::{Arc, OnceLock, Weak};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::Result;
use rustc_hash::FxHashSet;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::link::PRUNE_PAUSE;
use super::{Link, LinkKind, Links};
use crate::endpoint::EndpointChange;
use crate::engine::{self, Guest, Ports};
use crate::error::closed;

/// A socket that peers dial, and the task that looks who is there.
pub(super) struct Lobby {
    socket: Arc<dyn engine::Lobby>,
    name: String,
    attendant: OnceLock<AbortHandle>,
}

impl Lobby {
    fn new(socket: Arc<dyn engine::Lobby>, name: String) -> Self {
        Self { socket, name, attendant: OnceLock::new() }
    }

    /// The endpoint that it was opened for.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn ports(&self) -> &dyn Ports {
        &*self.socket
    }

    /// What arrives, and by which connection. To be called once.
    pub(super) fn replies(&self) -> BoxStream<'static, (u64, crate::wire::Frames)> {
        self.socket.replies()
    }

    /// Looks from now on who is there, in a task of its own.
    fn attend(&self, links: Weak<Links>) {
        self.attendant
            .get_or_init(|| tokio::spawn(attend(links, self.socket.guests())).abort_handle());
    }

    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.abandon();
        self.socket.close()
    }

    /// Lets go of the socket, which its task holds.
    pub(super) fn abandon(&self) {
        if let Some(attendant) = self.attendant.get() {
            attendant.abort();
        }
    }
}

async fn attend(links: Weak<Links>, mut guests: BoxStream<'static, Vec<Guest>>) {
    loop {
        let present = timeout(PRUNE_PAUSE, guests.next()).await;
        let Some(links) = links.upgrade() else { return };
        match present {
            Ok(Some(present)) => links.receive(present),
            Ok(None) => return,
            Err(_) => links.all().iter().for_each(|link| link.prune()),
        }
    }
}

impl Links {
    /// Binds an endpoint for servers to dial.
    pub(super) async fn bind_lobby(&self, change: &EndpointChange) -> Result<Option<String>> {
        let lobby = match self.lobby.get() {
            Some(lobby) => lobby,
            None => {
                let socket = engine::lobby(&self.settings)?;
                self.lobby.get_or_init(|| Lobby::new(socket, change.endpoint.to_string()))
            }
        };
        let real = engine::apply(lobby.ports(), change).await?;
        self.listening.note(change, real.as_ref());
        lobby.attend(self.me.clone());
        // Whoever reads has one more to read.
        self.replace(|_| {});
        // Looked at after that: whoever closed before has not seen it, and whoever closes after
        // does.
        if self.is_closed() {
            self.listening.clear();
            lobby.close().await;
            return Err(closed());
        }
        Ok(real)
    }

    /// Gives a link to each guest who came, and takes those of the others away: the calls on them
    /// fail.
    fn receive(&self, present: Vec<Guest>) {
        let ids: FxHashSet<u64> = present.iter().map(|guest| guest.connection).collect();
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        self.replace(|links| {
            let is_gone =
                |link: &mut Arc<Link>| matches!(link.kind(), LinkKind::Guest(id) if !ids.contains(&id));
            gone.extend(links.extract_if(.., is_gone));
            let known: FxHashSet<LinkKind> = links.iter().map(|link| link.kind()).collect();
            let numbers: FxHashSet<usize> = links.iter().map(|link| link.number()).collect();
            let mut free = (0..).filter(|number| !numbers.contains(number));
            for Guest { connection, name, dealer } in present {
                let kind = LinkKind::Guest(connection);
                if known.contains(&kind) {
                    continue;
                }
                let number = free.next().unwrap_or(usize::MAX);
                come.push(Link::new(name, number, kind, dealer, self.board.clone()));
            }
            links.extend_from_slice(&come);
        });
        gone.iter().for_each(|link| link.went());
        for link in &come {
            link.welcome();
            link.came();
        }
    }
}
