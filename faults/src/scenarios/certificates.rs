//! Certificates that are valid, of another host, expired, or of an unknown authority; and logins by
//! certificate.

mod authority;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use polywire_amqp::Amqp;
use polywire_core::{Error, ErrorKind, Transport};
use polywire_rabbitmq_node::Setup;

use self::authority::{Authority, Validity};
use crate::Plan;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// The user that the client's certificate names.
const USER: &str = "turing";

/// Runs the scenario: calls under a valid certificate, then refused connections for each invalid
/// one.
///
/// The broker's certificate is replaced while the node runs, so every refusal has the same node.
/// Each refusal must name the certificate as its reason.
///
/// A login by certificate must work with a certificate alone, and must be denied without one. The
/// certificate of an impostor names the same user, under an unknown authority.
///
/// # Errors
///
/// If an invalid certificate is accepted, if an error has no reason, or if an operation is lost.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let folder = folder.path();
    let (known, unknown) = (Authority::new("known")?, Authority::new("unknown")?);
    known.write(folder, "ca")?;
    unknown.write(folder, "unknown-ca")?;
    known.issue("localhost", Validity::Now)?.write(folder, "server")?;
    known.issue(USER, Validity::Now)?.write(folder, "client")?;
    unknown.issue(USER, Validity::Now)?.write(folder, "impostor")?;
    let broker = start(folder).await?;
    let test = TlsTest { plan, recorder, broker: &broker, folder };

    test.works(&test.url("ca", "")).await.context("a valid certificate")?;
    test.is_refused("an unknown authority", &test.url("unknown-ca", "")).await?;
    test.exchange(&known.issue("elsewhere.example", Validity::Now)?).await?;
    test.is_refused("the certificate of another host", &test.url("ca", "")).await?;
    test.exchange(&known.issue("localhost", Validity::Expired)?).await?;
    test.is_refused("an expired certificate", &test.url("ca", "")).await?;
    test.exchange(&known.issue("localhost", Validity::Now)?).await?;

    test.works(&test.url_as("client")).await.context("a login by certificate")?;
    test.is_refused("the certificate of an impostor", &test.url_as("impostor")).await?;
    let error = Amqp::connect(&test.url("ca", "&auth_mechanism=external")).await.err();
    let error = error.context("a login by certificate works without a certificate")?;
    ensure!(
        error.kind() == ErrorKind::Denied,
        "a login by certificate without one fails as {error:?}"
    );
    recorder.check_nothing_lost().await
}

/// Starts a node with the user, which accepts logins by password and by certificate.
async fn start(folder: &Path) -> Result<Broker> {
    let setup = Setup::new()
        .plugin("rabbitmq_auth_mechanism_ssl")
        .certificates(folder)
        .config("ssl_options.fail_if_no_peer_cert = false")
        .config("auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name");
    let broker = Broker::start_with(setup).await?;
    broker.ctl(["add_user", USER, "never used"]).await?;
    broker.ctl(["set_permissions", USER, ".*", ".*", ".*"]).await?;
    Ok(broker)
}

/// The node under test, with its certificates.
struct TlsTest<'a> {
    plan: &'a Plan,
    recorder: &'a Arc<Recorder>,
    broker: &'a Broker,
    folder: &'a Path,
}

impl TlsTest<'_> {
    /// Returns a URL with the kind of the queues that trusts the authority in the file
    /// `AUTHORITY.pem`, with more parameters.
    fn url(&self, authority: &str, more: &str) -> String {
        let (port, at) = (self.broker.tls_port.unwrap_or_default(), self.folder.display());
        let url = self.plan.url(&format!("amqps://guest:guest@localhost:{port}"));
        format!("{url}&cacertfile={at}/{authority}.pem{more}")
    }

    /// Returns a URL for a login by certificate. The user of the URL does not exist.
    fn url_as(&self, name: &str) -> String {
        let at = self.folder.display();
        let more =
            format!("&auth_mechanism=external&certfile={at}/{name}.pem&keyfile={at}/{name}.key");
        self.url("ca", &more).replace("guest:guest", "unknown:nothing")
    }

    /// Checks that calls succeed, also after a kill of the broker.
    ///
    /// There are 100 calls in a quick run and 2,000 in a full one, with a deadline of 60 seconds
    /// each. The kill comes after half of the calls; at least half of them must succeed.
    async fn works(&self, url: &str) -> Result<()> {
        let _server = Peer::start(self.plan, PeerRole::Server, url, 0, self.recorder).await?;
        let amqp = Amqp::connect(url).await?;
        let total = self.plan.pick(100, 2_000);
        let load =
            Calls { total, callers: 10, timeout: Duration::from_secs(60), pause: Duration::ZERO };
        let acknowledged = self.recorder.summary().acknowledged;
        let killing = async {
            let half = self.recorder.ended() + total / 2;
            self.recorder.until_ended(half).await?;
            self.broker.kill().await?;
            self.broker.restart().await
        };
        tokio::try_join!(load.run(&amqp, self.recorder), killing)?;
        ensure!(
            self.recorder.summary().acknowledged >= acknowledged + total / 2,
            "calls fail over TLS"
        );
        Ok(amqp.close().await?)
    }

    /// Checks that connecting fails, with an error that names the certificate.
    ///
    /// An error without a reason leads to another attempt, and there are [`REFUSALS_MAX`] attempts
    /// at most. Each refusal is recorded as a failure.
    async fn is_refused(&self, what: &'static str, url: &str) -> Result<()> {
        let mut last = String::new();
        for _ in 0..REFUSALS_MAX {
            let error = Amqp::connect(url)
                .await
                .err()
                .with_context(|| format!("the broker accepts {what}"))?;
            self.recorder.failed(format!("refused {what}: {}", kind(&error)));
            last = format!("{error:?}").to_lowercase();
            if has_reason(&last) {
                return Ok(());
            }
        }
        bail!("the broker refuses {what}, but the error has no reason: {last}");
    }

    /// Replaces the certificate of the running node.
    ///
    /// The node reads the file again, since its cache is cleared as well.
    async fn exchange(&self, certificate: &authority::Certificate) -> Result<()> {
        certificate.write(self.folder, "server")?;
        self.broker.ctl(["eval", "ssl:clear_pem_cache()."]).await.map(drop)
    }
}

/// Attempts until an error names the certificate. The broker sends its reason after the client has
/// finished the handshake, and then resets the connection: the reset may overtake the reason.
const REFUSALS_MAX: usize = 20;

/// Either side may name the reason: in its own words, or with an alert of TLS.
///
/// The text has to be in lower case.
fn has_reason(text: &str) -> bool {
    ["certificate", "unknown ca", "unknownca"].iter().any(|word| text.contains(word))
}

fn kind(error: &Error) -> String {
    format!("{:?}", error.kind())
}
