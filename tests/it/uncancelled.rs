//! Methods of `#[service]` that run to their end, even if their callers leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire::{CallError, Fault, Memory, MessagePack, Server, service};
use tokio::time::sleep;

const BRIEF: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

#[service]
trait Bank {
    #[method(uncancelled)]
    async fn transfer(&self, amount: u32) -> Result<(), Fault>;

    async fn balance(&self) -> Result<(), Fault>;
}

#[service(call, push, uncancelled)]
trait Vault {
    async fn store(&self, amount: u32) -> Result<(), Fault>;
}

/// Counts the amounts that came through.
#[derive(Clone, Default)]
struct Till(Arc<AtomicU32>);

impl Till {
    async fn add(&self, amount: u32) {
        sleep(LONG).await;
        self.0.fetch_add(amount, Ordering::SeqCst);
    }
}

impl Bank for Till {
    async fn transfer(&self, amount: u32) -> Result<(), Fault> {
        self.add(amount).await;
        Ok(())
    }

    async fn balance(&self) -> Result<(), Fault> {
        self.add(100).await;
        Ok(())
    }
}

impl Vault for Till {
    async fn store(&self, amount: u32) -> Result<(), Fault> {
        self.add(amount).await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn uncancelled_methods_outlive_their_callers() {
    let (till, transport) = (Till::default(), Memory::new());
    let server = Server::bind(&transport, "bank").await.unwrap();
    tokio::spawn(server.serve(BankServer::new(till.clone(), MessagePack)));
    let server = Server::bind(&transport, "vault").await.unwrap();
    tokio::spawn(server.serve(VaultServer::new(till.clone(), MessagePack)));
    let bank = BankClient::connect(&transport, "bank", MessagePack).await.unwrap();
    let vault = VaultClient::connect(&transport, "vault", MessagePack).await.unwrap();
    let (bank, vault) = (bank.with_timeout(BRIEF), vault.with_timeout(BRIEF));
    let outcomes = tokio::join!(bank.transfer(1), bank.balance(), vault.store(10));
    for outcome in [outcomes.0, outcomes.1, outcomes.2] {
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    }
    sleep(2 * LONG).await;
    assert_eq!(till.0.load(Ordering::SeqCst), 11);
}
