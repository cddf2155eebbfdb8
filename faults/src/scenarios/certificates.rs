//! Certificates that are right, of another host, expired, and of an authority that nobody knows;
//! and logins by them.

mod authority;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use polywire_amqp::Amqp;
use polywire_core::{Error, ErrorKind, Transport};
use polywire_rabbitmq_node::Setup;

use self::authority::{Authority, Validity};
use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::peer::{Peer, Role};

/// The user whose name is in the client's certificate.
const USER: &str = "turing";

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let folder = Folder::create()?;
    let (known, unknown) = (Authority::new("known")?, Authority::new("unknown")?);
    known.write(&folder.0, "ca")?;
    unknown.write(&folder.0, "unknown-ca")?;
    known.issue("localhost", Validity::Now)?.write(&folder.0, "server")?;
    known.issue(USER, Validity::Now)?.write(&folder.0, "client")?;
    unknown.issue(USER, Validity::Now)?.write(&folder.0, "impostor")?;
    let broker = start(&folder).await?;
    let stage = Stage { plan, book, broker: &broker, folder: &folder };

    stage.works(&stage.url("ca", "")).await.context("the right certificate")?;
    stage.is_refused("an unknown authority", &stage.url("unknown-ca", "")).await?;
    stage.exchange(&known.issue("elsewhere.example", Validity::Now)?).await?;
    stage.is_refused("the certificate of another host", &stage.url("ca", "")).await?;
    stage.exchange(&known.issue("localhost", Validity::Expired)?).await?;
    stage.is_refused("an expired certificate", &stage.url("ca", "")).await?;
    stage.exchange(&known.issue("localhost", Validity::Now)?).await?;

    stage.works(&stage.url_as("client")).await.context("a login by certificate")?;
    stage.is_refused("the certificate of an impostor", &stage.url_as("impostor")).await?;
    let error = Amqp::connect(&stage.url("ca", "&auth_mechanism=external")).await.err();
    let error = error.context("a login by certificate works without a certificate")?;
    ensure!(
        error.kind() == ErrorKind::Denied,
        "a login by certificate without one fails as {error:?}"
    );
    book.nothing_is_lost().await
}

/// A node that knows the user, and takes passwords and certificates.
async fn start(folder: &Folder) -> Result<Broker> {
    let setup = Setup::new()
        .plugin("rabbitmq_auth_mechanism_ssl")
        .certificates(&folder.0)
        .config("ssl_options.fail_if_no_peer_cert = false")
        .config("auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name");
    let broker = Broker::start_with(setup).await?;
    broker.ctl(["add_user", USER, "never used"]).await?;
    broker.ctl(["set_permissions", USER, ".*", ".*", ".*"]).await?;
    Ok(broker)
}

struct Stage<'a> {
    plan: &'a Plan,
    book: &'a Arc<Book>,
    broker: &'a Broker,
    folder: &'a Folder,
}

impl Stage<'_> {
    fn url(&self, authority: &str, more: &str) -> String {
        let (port, at) = (self.broker.tls_port.unwrap_or_default(), self.folder.0.display());
        format!("amqps://guest:guest@localhost:{port}?cacertfile={at}/{authority}.pem{more}")
    }

    /// Logs in by a certificate. The name in the URL is nobody's.
    fn url_as(&self, name: &str) -> String {
        let at = self.folder.0.display();
        let more =
            format!("&auth_mechanism=external&certfile={at}/{name}.pem&keyfile={at}/{name}.key");
        self.url("ca", &more).replace("guest:guest", "nobody:nothing")
    }

    /// Calls go through, also after the broker was killed.
    async fn works(&self, url: &str) -> Result<()> {
        let _server = Peer::start(self.plan, Role::Server, url, 0, self.book).await?;
        let amqp = Amqp::connect(url).await?;
        let total = self.plan.pick(100, 2_000);
        let load =
            Calls { total, callers: 10, timeout: Duration::from_secs(60), pause: Duration::ZERO };
        let acknowledged = self.book.sum().acknowledged;
        let killing = async {
            let half = self.book.ended() + total / 2;
            self.book.until_ended(half).await?;
            self.broker.kill().await?;
            self.broker.restart().await
        };
        tokio::try_join!(load.make(&amqp, self.book), killing)?;
        ensure!(self.book.sum().acknowledged >= acknowledged + total / 2, "calls fail over TLS");
        Ok(amqp.close().await?)
    }

    /// Connecting fails, and says that it is the certificate.
    async fn is_refused(&self, what: &'static str, url: &str) -> Result<()> {
        let mut last = String::new();
        for _ in 0..REFUSALS_MAX {
            let error =
                Amqp::connect(url).await.err().with_context(|| format!("{what} is taken"))?;
            self.book.failed(format!("refused {what}: {}", kind(&error)));
            last = format!("{error:?}").to_lowercase();
            if says_why(&last) {
                return Ok(());
            }
        }
        bail!("{what} is refused, but it is not said why: {last}");
    }

    /// Gives the node another certificate while it runs.
    async fn exchange(&self, certificate: &authority::Certificate) -> Result<()> {
        certificate.write(&self.folder.0, "server")?;
        self.broker.ctl(["eval", "ssl:clear_pem_cache()."]).await.map(drop)
    }
}

/// What the broker has against a client's certificate it says after the handshake, as the client
/// sees it, and hangs up on what the client has written by then: that may overtake the reason.
const REFUSALS_MAX: usize = 20;

/// Either side may be the one that says it: with its own words, or with an alert of TLS.
fn says_why(text: &str) -> bool {
    ["certificate", "unknown ca", "unknownca"].iter().any(|word| text.contains(word))
}

fn kind(error: &Error) -> String {
    format!("{:?}", error.kind())
}

/// A folder of certificates, which goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let name = format!("../target/faults/certificates-{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path.canonicalize()?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is only clutter under target/.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
