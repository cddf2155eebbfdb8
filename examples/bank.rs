//! A service that reads like Rust: errors that come back as themselves, arguments with defaults,
//! methods that may be repeated or that nobody waits for, and services nested in one.
//!
//! ```text
//! cargo run --example bank
//! cargo run --example bank -- mem://demo
//! cargo run --features amqp --example bank -- amqp://guest:guest@localhost
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use polywire::{CallError, Client, Fault, MessagePack, Server, Transport, service};

/// What the bank offers: two services under one name.
#[service]
trait Bank {
    /// Keeps money.
    fn accounts(&self) -> impl Accounts;

    /// Hears what happens.
    fn audit(&self) -> impl Audit;
}

/// Keeps money.
#[service]
trait Accounts {
    /// Puts something in, and says what there is then.
    async fn deposit(&self, account: String, amount: u64) -> Result<u64, BankError>;

    /// Takes something out, and says what is left.
    async fn withdraw(&self, account: String, amount: u64) -> Result<u64, BankError>;

    /// What there is. A layer may ask twice, and nobody waits for long.
    #[method(idempotent, timeout = "5s")]
    async fn balance(&self, account: String) -> Result<u64, BankError>;

    /// The last changes.
    async fn statement(
        &self,
        account: String,
        #[arg(default = 3)] last: usize,
    ) -> Result<Vec<i64>, BankError>;
}

/// What a bank says no with. It crosses the wire as itself.
#[derive(Debug, Fault, thiserror::Error)]
enum BankError {
    #[error("{missing} more are needed")]
    Insufficient { missing: u64 },
    #[error("there is no account {0}")]
    NoSuchAccount(String),
}

/// Hears what happens.
#[service]
trait Audit {
    /// Takes a note. Nobody waits for it.
    #[method(oneway)]
    async fn note(&self, line: String);
}

/// A house with a vault.
struct House;

impl Bank for House {
    fn accounts(&self) -> impl Accounts {
        Vault::default()
    }

    fn audit(&self) -> impl Audit {
        Screen
    }
}

/// Money in memory: the changes of each account.
#[derive(Default)]
struct Vault(Mutex<BTreeMap<String, Vec<i64>>>);

impl Accounts for Vault {
    async fn deposit(&self, account: String, amount: u64) -> Result<u64, BankError> {
        let mut accounts = self.accounts();
        let changes = accounts.entry(account).or_default();
        changes.push(amount.cast_signed());
        Ok(sum(changes))
    }

    async fn withdraw(&self, account: String, amount: u64) -> Result<u64, BankError> {
        let mut accounts = self.accounts();
        let changes = accounts.get_mut(&account).ok_or(BankError::NoSuchAccount(account))?;
        let missing = amount.saturating_sub(sum(changes));
        if missing > 0 {
            return Err(BankError::Insufficient { missing });
        }
        changes.push(-amount.cast_signed());
        Ok(sum(changes))
    }

    async fn balance(&self, account: String) -> Result<u64, BankError> {
        self.accounts()
            .get(&account)
            .map(|changes| sum(changes))
            .ok_or(BankError::NoSuchAccount(account))
    }

    async fn statement(&self, account: String, last: usize) -> Result<Vec<i64>, BankError> {
        let accounts = self.accounts();
        let changes = accounts.get(&account).ok_or(BankError::NoSuchAccount(account))?;
        Ok(changes.iter().rev().take(last).copied().collect())
    }
}

impl Vault {
    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, Vec<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(changes: &[i64]) -> u64 {
    changes.iter().sum::<i64>().unsigned_abs()
}

/// Notes on the screen.
struct Screen;

impl Audit for Screen {
    async fn note(&self, line: String) {
        println!("noted: {line}");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5563".to_owned());

    // The server.
    let transport = polywire::connect(&url).await?;
    let server = Server::bind(&transport, "bank").await?;
    let handle = server.handle();
    tokio::spawn(server.serve(BankServer::new(House, MessagePack)));

    // Its client, in a process of its own if you like: all it needs is the URL.
    let transport = polywire::connect(&url).await?;
    let bank = BankClient::connect(&transport, "bank", MessagePack).await?;
    let (accounts, audit) = (bank.accounts()?, bank.audit()?);

    println!("ada has {}", accounts.deposit("ada".into(), 10).await?);
    audit.note("ada was here".into()).await?;
    match accounts.withdraw("ada".into(), 15).await {
        Err(CallError::Declared(BankError::Insufficient { missing })) => {
            println!("ada is {missing} short")
        }
        other => return Err(format!("she cannot have it: {other:?}").into()),
    }
    match accounts.balance("bob".into()).await {
        Err(CallError::Declared(error @ BankError::NoSuchAccount(_))) => println!("{error}"),
        other => return Err(format!("he has none: {other:?}").into()),
    }
    println!("ada has {}", accounts.withdraw("ada".into(), 4).await?);

    // Who has no types gets a fault, and may leave out what has a default.
    let client: &Client<MessagePack> = bank.as_ref();
    let changes: Vec<i64> = client.call("accounts.statement", &["ada"]).await?;
    println!("ada's account: {changes:?}");
    let refused = client.call::<u64>("accounts.withdraw", &("ada", 7)).await;
    println!(
        "{}",
        refused.err().and_then(|error| error.fault().cloned()).ok_or("she cannot have it")?
    );

    handle.drain().await;
    transport.close().await?;
    Ok(())
}
