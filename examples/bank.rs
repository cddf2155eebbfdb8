//! A service trait with declared errors, default arguments, idempotent and one-way methods, and two
//! nested services.
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

/// The bank: two services under one name.
#[service]
trait Bank {
    /// The accounts.
    fn accounts(&self) -> impl Accounts;

    /// The log of notes.
    fn audit(&self) -> impl Audit;
}

/// Accounts that hold money.
#[service]
trait Accounts {
    /// Adds an amount and returns the balance.
    async fn deposit(&self, account: String, amount: u64) -> Result<u64, BankError>;

    /// Removes an amount and returns the balance.
    async fn withdraw(&self, account: String, amount: u64) -> Result<u64, BankError>;

    /// Returns the balance. A layer may repeat the call; the timeout is short.
    #[method(idempotent, timeout = "5s")]
    async fn balance(&self, account: String) -> Result<u64, BankError>;

    /// Returns the latest changes.
    async fn statement(
        &self,
        account: String,
        #[arg(default = 3)] last: usize,
    ) -> Result<Vec<i64>, BankError>;
}

/// The error that the methods declare. The client receives this type.
#[derive(Debug, Fault, thiserror::Error)]
enum BankError {
    #[error("{missing} more are needed")]
    Insufficient { missing: u64 },
    #[error("there is no account {0}")]
    NoSuchAccount(String),
}

/// A log of notes.
#[service]
trait Audit {
    /// Writes a note. The client does not wait for a reply.
    #[method(oneway)]
    async fn note(&self, line: String);
}

/// An implementation of both services.
struct House;

impl Bank for House {
    fn accounts(&self) -> impl Accounts {
        Vault::default()
    }

    fn audit(&self) -> impl Audit {
        Screen
    }
}

/// Accounts in memory: the changes of each.
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

/// A log that prints its notes.
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

    // The client. In another process it needs the URL and nothing else.
    let transport = polywire::connect(&url).await?;
    let bank = BankClient::connect(&transport, "bank", MessagePack).await?;
    let (accounts, audit) = (bank.accounts()?, bank.audit()?);

    println!("ada has {}", accounts.deposit("ada".into(), 10).await?);
    audit.note("ada was here".into()).await?;
    match accounts.withdraw("ada".into(), 15).await {
        Err(CallError::Declared(BankError::Insufficient { missing })) => {
            println!("ada is {missing} short");
        }
        other => return Err(format!("she cannot have it: {other:?}").into()),
    }
    match accounts.balance("bob".into()).await {
        Err(CallError::Declared(error @ BankError::NoSuchAccount(_))) => println!("{error}"),
        other => return Err(format!("he has none: {other:?}").into()),
    }
    println!("ada has {}", accounts.withdraw("ada".into(), 4).await?);

    // An untyped client receives a fault, and may omit arguments with defaults.
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
