//! Capabilities of transports.

/// Capabilities of a transport: facts about its semantics in its current configuration.
///
/// Core and programs check a capability before they rely on it. A backend refuses a request for a
/// missing capability at once, with [`ErrorKind::Unsupported`].
///
/// The struct is `#[non_exhaustive]`. A backend starts from [`Capabilities::least`] and adds what
/// it supports:
///
/// ```
/// use polywire_core::Capabilities;
///
/// let capabilities = Capabilities::least(1 << 20).with_pipeline(true).with_settlement(true);
/// assert!(capabilities.settlement && !capabilities.pubsub);
/// ```
///
/// [`ErrorKind::Unsupported`]: crate::ErrorKind::Unsupported
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Receipts take effect: an unsettled request goes to another responder, an unsettled job to
    /// another puller, and an unsettled event of a group to another member. One claim for all the
    /// patterns that the backend has.
    pub settlement: bool,
    /// A server is notified when the client of a running call stops waiting. Without this
    /// capability the handler runs until the deadline of the call.
    pub cancellation: bool,
    /// A client learns within two seconds that the server of a call has died which runs
    /// [at most once](crate::at_most_once), by a fault of
    /// [`Code::Interrupted`](crate::Code::Interrupted). Without this capability it learns at the
    /// deadline of the call.
    pub interruption: bool,
    /// The backend routes a [declined](super::Outcome::Decline) request to another server. Without
    /// this capability the client sends the request again, up to seven times, to the next
    /// available server.
    pub declining: bool,
    /// Attempts at a delivery are counted. Without this capability, a later attempt is only known
    /// not to be the first.
    pub attempts: bool,
    /// A failed delivery can be retried after a delay and carries the errors of its attempts.
    pub delayed_retries: bool,
    /// Failed deliveries can be kept in a dead-letter queue, inspected, redriven and discarded.
    pub dead_letters: bool,
    /// Messages have priorities. A queue that is configured for priorities delivers higher ones
    /// first.
    pub priorities: bool,
    /// Messages that were handed over survive the death of the receiving process, because a broker
    /// keeps them.
    pub durable: bool,
    /// Jobs can be pushed and pulled.
    pub pipeline: bool,
    /// Events can be published and subscribed to.
    pub pubsub: bool,
    /// A job waits in its queue while the queue has no puller.
    pub holding: bool,
    /// Subscribers can form a group: each message goes to one member.
    pub groups: bool,
    /// A durable group collects messages while it has no member.
    pub durable_groups: bool,
    /// A subscriber learns, by an error of the kind
    /// [`Disconnected`](crate::ErrorKind::Disconnected), that it may have missed events. Without
    /// this capability, events may be lost without a word while a connection is lost.
    pub loss_reports: bool,
    /// A request to an unknown service fails at once. Without this capability the request fails
    /// after the connect time.
    pub unroutable_at_once: bool,
    /// Peers authenticate in the current configuration, and handlers see the verified identity;
    /// see [`Message::peer`](crate::Message::peer).
    pub security: bool,
    /// Largest body, in bytes.
    pub body_max: usize,
}

impl Capabilities {
    /// Returns the capabilities of a minimal backend: requests and replies with bodies of up to
    /// `body_max` bytes, and nothing else.
    #[must_use]
    pub const fn least(body_max: usize) -> Self {
        Self {
            settlement: false,
            cancellation: false,
            interruption: false,
            declining: false,
            attempts: false,
            delayed_retries: false,
            dead_letters: false,
            priorities: false,
            durable: false,
            pipeline: false,
            pubsub: false,
            holding: false,
            groups: false,
            durable_groups: false,
            loss_reports: false,
            unroutable_at_once: false,
            security: false,
            body_max,
        }
    }

    /// Sets [`settlement`](Self::settlement).
    #[must_use]
    pub const fn with_settlement(self, settlement: bool) -> Self {
        Self { settlement, ..self }
    }

    /// Sets [`cancellation`](Self::cancellation).
    #[must_use]
    pub const fn with_cancellation(self, cancellation: bool) -> Self {
        Self { cancellation, ..self }
    }

    /// Sets [`interruption`](Self::interruption).
    #[must_use]
    pub const fn with_interruption(self, interruption: bool) -> Self {
        Self { interruption, ..self }
    }

    /// Sets [`declining`](Self::declining).
    #[must_use]
    pub const fn with_declining(self, declining: bool) -> Self {
        Self { declining, ..self }
    }

    /// Sets [`attempts`](Self::attempts).
    #[must_use]
    pub const fn with_attempts(self, attempts: bool) -> Self {
        Self { attempts, ..self }
    }

    /// Sets [`delayed_retries`](Self::delayed_retries).
    #[must_use]
    pub const fn with_delayed_retries(self, delayed_retries: bool) -> Self {
        Self { delayed_retries, ..self }
    }

    /// Sets [`dead_letters`](Self::dead_letters).
    #[must_use]
    pub const fn with_dead_letters(self, dead_letters: bool) -> Self {
        Self { dead_letters, ..self }
    }

    /// Sets [`priorities`](Self::priorities).
    #[must_use]
    pub const fn with_priorities(self, priorities: bool) -> Self {
        Self { priorities, ..self }
    }

    /// Sets [`durable`](Self::durable).
    #[must_use]
    pub const fn with_durable(self, durable: bool) -> Self {
        Self { durable, ..self }
    }

    /// Sets [`pipeline`](Self::pipeline).
    #[must_use]
    pub const fn with_pipeline(self, pipeline: bool) -> Self {
        Self { pipeline, ..self }
    }

    /// Sets [`pubsub`](Self::pubsub).
    #[must_use]
    pub const fn with_pubsub(self, pubsub: bool) -> Self {
        Self { pubsub, ..self }
    }

    /// Sets [`holding`](Self::holding).
    #[must_use]
    pub const fn with_holding(self, holding: bool) -> Self {
        Self { holding, ..self }
    }

    /// Sets [`groups`](Self::groups).
    #[must_use]
    pub const fn with_groups(self, groups: bool) -> Self {
        Self { groups, ..self }
    }

    /// Sets [`durable_groups`](Self::durable_groups).
    #[must_use]
    pub const fn with_durable_groups(self, durable_groups: bool) -> Self {
        Self { durable_groups, ..self }
    }

    /// Sets [`loss_reports`](Self::loss_reports).
    #[must_use]
    pub const fn with_loss_reports(self, loss_reports: bool) -> Self {
        Self { loss_reports, ..self }
    }

    /// Sets [`unroutable_at_once`](Self::unroutable_at_once).
    #[must_use]
    pub const fn with_unroutable_at_once(self, unroutable_at_once: bool) -> Self {
        Self { unroutable_at_once, ..self }
    }

    /// Sets [`security`](Self::security).
    #[must_use]
    pub const fn with_security(self, security: bool) -> Self {
        Self { security, ..self }
    }
}
