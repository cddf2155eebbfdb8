//! Credentials are revoked under calls: a transport with fixed ones is denied and gives up, a
//! transport with a provider continues with new ones.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use polywire_amqp::{Amqp, ConnectionChange, Credentials};
use polywire_codec::MessagePack;
use polywire_core::{Client, ErrorKind, Server};

use crate::Plan;
use crate::broker::Broker;
use crate::calls::{SERVICE, call};
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;
use crate::wait::{until, within};

/// Concurrent callers of each transport that is denied.
const CALLERS: usize = 5;
/// The deadline of each call.
const BRIEF: Duration = Duration::from_secs(15);
/// Time of refusals after which a denied transport gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);
/// Each of the two connections of a transport tries six times.
const LOGINS_MAX: usize = 12;

/// Runs the scenario: a changed password, a deleted user, and a password that a provider renews.
///
/// A transport with fixed credentials must give up after about a second of refusals. Then its calls
/// fail as denied, and its logins stop.
///
/// # Errors
///
/// If a denied transport continues to log in, if a transport with a provider does not recover, or
/// if an operation is lost.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    // The queue of the service has the kind of the run; clients declare none.
    let url = plan.url(&broker.url);
    let _server = Peer::start(plan, PeerRole::Server, &url, 0, recorder).await?;
    let test = CredentialsTest { broker: &broker, recorder };
    let renewing = async {
        for _ in 0..plan.pick(1, 5) {
            test.is_asked_again().await?;
        }
        Ok(())
    };
    tokio::try_join!(
        test.is_denied("changed", ["change_password", "changed", "other"]),
        test.is_denied("deleted", ["delete_user", "deleted"]),
        renewing,
    )?;
    let mut logins = 0;
    for user in ["changed", "deleted"] {
        let tried = test.refused_logins(user).await?;
        ensure!(tried <= LOGINS_MAX, "{user} was refused and tried {tried} times");
        logins += tried;
    }
    recorder.figure("refused logins of two transports", logins);
    recorder.check_nothing_lost().await
}

/// The broker whose users change.
struct CredentialsTest<'a> {
    broker: &'a Broker,
    recorder: &'a Arc<Recorder>,
}

impl CredentialsTest<'_> {
    /// Revokes a user's credentials under calls, and waits until both connections have given up.
    ///
    /// The callers go on until each of them got the kind `Denied`. Both connections must report
    /// their refusal. A server that binds afterwards must fail as `Denied`, too.
    async fn is_denied<const N: usize>(&self, user: &str, revocation: [&str; N]) -> Result<()> {
        self.add(user).await?;
        let amqp = Amqp::builder(&self.url(user))?.give_up_after(GIVE_UP_AFTER).build().await?;
        let mut events = amqp.events();
        let client = Client::connect(&amqp, SERVICE, MessagePack).await?;
        let calling = join_all((0..CALLERS).map(|_| self.call_until_denied(&client)));
        let revoking = async {
            self.some_more_calls().await?;
            self.broker.ctl(revocation).await?;
            self.broker.ctl(["close_all_user_connections", user, "revoked"]).await?;
            for _ in 0..2 {
                while !matches!(
                    events.next().await.context("the events end")?.change,
                    ConnectionChange::Refused(_)
                ) {}
            }
            anyhow::Ok(())
        };
        let (_, revoked) =
            within("calls are denied", async { tokio::join!(calling, revoking) }).await?;
        revoked?;
        let error = Server::bind(&amqp, "late")
            .await
            .err()
            .context("a server binds without credentials")?;
        ensure!(
            error.kind() == ErrorKind::Denied,
            "a server without credentials fails as {error:?}"
        );
        Ok(())
    }

    /// Makes calls until one fails as denied. Other failures are recorded, and the next call
    /// follows.
    async fn call_until_denied(&self, client: &Client<MessagePack>) {
        while !call(client, BRIEF, self.recorder)
            .await
            .is_err_and(|error| error.kind() == Some(ErrorKind::Denied))
        {}
    }

    /// Changes a password under calls; the provider returns the new one from then on.
    ///
    /// Each of the two connections has to ask once more, and 50 more calls have to succeed then.
    ///
    /// The user is a new one in each call, and starts with the password `first`.
    async fn is_asked_again(&self) -> Result<()> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let user = format!("renewed-{}", LAST.fetch_add(1, Ordering::Relaxed));
        self.add(&user).await?;
        let (asked, password) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new("first")));
        let builder = Amqp::builder(&format!("amqp://127.0.0.1:{}", self.broker.port))?
            .credentials({
                let (user, asked, password) = (user.clone(), asked.clone(), password.clone());
                move || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let now = *password.lock().unwrap_or_else(PoisonError::into_inner);
                    let credentials = Credentials::new(user.clone(), now);
                    async move { Ok(credentials) }
                }
            });
        let amqp = builder.build().await?;
        let client = Client::connect(&amqp, SERVICE, MessagePack).await?;
        self.answered(&client).await?;
        let before = asked.load(Ordering::Relaxed);
        self.broker.ctl(["change_password", &user, "second"]).await?;
        *password.lock().unwrap_or_else(PoisonError::into_inner) = "second";
        self.broker.ctl(["close_all_user_connections", &user, "renewed"]).await?;
        until("the provider is asked for new credentials", || {
            asked.load(Ordering::Relaxed) >= before + 2
        })
        .await?;
        self.answered(&client).await
    }

    /// Calls until 50 calls have succeeded.
    async fn answered(&self, client: &Client<MessagePack>) -> Result<()> {
        let answering = async {
            let mut answered = 0;
            while answered < 50 {
                answered += u32::from(call(client, BRIEF, self.recorder).await.is_ok());
            }
        };
        within("calls are answered", answering).await
    }

    /// Waits until 100 more operations of any transport have ended.
    async fn some_more_calls(&self) -> Result<()> {
        self.recorder.until_ended(self.recorder.ended() + 100).await
    }

    /// Adds a user with all permissions and the password `first`.
    async fn add(&self, user: &str) -> Result<()> {
        self.broker.ctl(["add_user", user, "first"]).await?;
        self.broker.ctl(["set_permissions", user, ".*", ".*", ".*"]).await.map(drop)
    }

    /// Returns a URL with the password from before the revocation.
    fn url(&self, user: &str) -> String {
        format!("amqp://{user}:first@127.0.0.1:{}", self.broker.port)
    }

    /// Returns the number of refused logins of a user, by the log of the node.
    ///
    /// Each line with `login refused: user 'NAME'` counts.
    async fn refused_logins(&self, user: &str) -> Result<usize> {
        let refused = format!("login refused: user '{user}'");
        let log = self.broker.with(|node| node.log()).await?;
        Ok(log.lines().filter(|line| line.contains(&refused)).count())
    }
}
