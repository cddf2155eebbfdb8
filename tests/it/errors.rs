//! Declared errors, which the client receives as their own type.

use std::error::Error as _;
use std::fmt;

use polywire::{
    CallError, Client, Code, Declared, Dialect, Fault, Json, MessagePack, Router, Server, service,
};
use serde::{Deserialize, Serialize};

use crate::backends::Backend;

/// A declared error.
#[derive(Debug, PartialEq, Fault, thiserror::Error)]
enum BankError {
    #[error("{missing} more are needed")]
    Insufficient { missing: u64, fault: Option<String> },
    #[error("there is no account {0}")]
    NoSuchAccount(String),
    #[error("only {0}")]
    Few(u64),
    #[error("{0:?} is not {1}")]
    Mixed(Vec<u8>, f64),
    #[fault(code = Unavailable, kind = "Closed", permanent)]
    #[error("come back tomorrow")]
    Closed,
    #[error("the ledger is gone")]
    #[fault(opaque, code = Code::Internal)]
    Ledger(#[from] fmt::Error),
    #[error("seen at {0}")]
    Seen(#[fault(skip)] u32, #[fault()] String),
}

/// A declared error that is a struct.
#[derive(Debug, PartialEq, Fault)]
struct Overheated {
    degrees: f64,
    r#type: String,
}

impl fmt::Display for Overheated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} degrees", self.degrees)
    }
}

impl std::error::Error for Overheated {}

/// A bank that fails as configured.
#[service]
trait Bank {
    /// Withdraws an amount.
    async fn withdraw(&self, how: How) -> Result<u64, BankError>;

    /// Withdraws an amount at a branch.
    async fn forward(&self, how: How) -> Result<u64, Fault>;

    /// Fails with the struct error.
    async fn heat(&self) -> Result<(), Overheated>;
}

/// The configured failure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum How {
    Well,
    Insufficient,
    NoSuchAccount,
    Mixed,
    Closed,
    Ledger,
    Seen,
    Panic,
}

struct Vault;

impl Bank for Vault {
    async fn withdraw(&self, how: How) -> Result<u64, BankError> {
        match how {
            How::Well => Ok(7),
            How::Insufficient => Err(BankError::Insufficient { missing: 5, fault: None }),
            How::NoSuchAccount => Err(BankError::NoSuchAccount("ada".into())),
            How::Mixed => Err(BankError::Mixed(vec![1, 2], 0.5)),
            How::Closed => Err(BankError::Closed),
            How::Ledger => Err(fmt::Error)?,
            How::Seen => Err(BankError::Seen(7, "noon".into())),
            How::Panic => panic!("the vault is open"),
        }
    }

    async fn forward(&self, how: How) -> Result<u64, Fault> {
        Ok(self.withdraw(how).await?)
    }

    async fn heat(&self) -> Result<(), Overheated> {
        Err(Overheated { degrees: 99.5, r#type: "oven".into() })
    }
}

async fn bank<D: Dialect>(dialect: D) -> Result<BankClient<D>, CallError> {
    bank_that_speaks(dialect.clone(), dialect).await
}

async fn bank_that_speaks<D: Dialect>(
    dialect: impl Dialect,
    to: D,
) -> Result<BankClient<D>, CallError> {
    bank_on(&Backend::memory(), dialect, to).await
}

async fn bank_on<D: Dialect>(
    backend: &Backend,
    dialect: impl Dialect,
    to: D,
) -> Result<BankClient<D>, CallError> {
    let (transport, name) = (backend.open("bank").await?, backend.name("bank"));
    let server = Server::bind(&transport, &*name).await?;
    tokio::spawn(server.serve(BankServer::new(Vault, dialect)));
    Ok(BankClient::connect(&transport, &*name, to).await?)
}

/// Returns the declared error of a call.
fn declared<T: fmt::Debug, E: fmt::Debug>(result: Result<T, CallError<E>>) -> E {
    match result {
        Err(CallError::Declared(error)) => error,
        other => panic!("not declared: {other:?}"),
    }
}

fn fault<T: fmt::Debug, E: fmt::Debug>(result: Result<T, CallError<E>>) -> Fault {
    match result {
        Err(CallError::Fault(fault)) => fault,
        other => panic!("not a fault: {other:?}"),
    }
}

async fn declared_errors_come_back_as_themselves<D: Dialect>(dialect: D) -> Result<(), CallError> {
    for backend in Backend::all() {
        let bank = bank_on(&backend, dialect.clone(), dialect.clone()).await?;
        outcomes_are_those_of_the_vault(&bank).await?;
        backend.close().await?;
    }
    Ok(())
}

async fn outcomes_are_those_of_the_vault<D: Dialect>(
    bank: &BankClient<D>,
) -> Result<(), CallError> {
    assert_eq!(bank.withdraw(How::Well).await?, 7);
    for (how, error) in [
        (How::Insufficient, BankError::Insufficient { missing: 5, fault: None }),
        (How::NoSuchAccount, BankError::NoSuchAccount("ada".into())),
        (How::Mixed, BankError::Mixed(vec![1, 2], 0.5)),
        (How::Closed, BankError::Closed),
        (How::Seen, BankError::Seen(0, "noon".into())),
    ] {
        assert_eq!(declared(bank.withdraw(how).await), error);
    }
    assert_eq!(declared(bank.heat().await), Overheated { degrees: 99.5, r#type: "oven".into() });
    Ok(())
}

#[tokio::test]
async fn declared_errors_come_back_as_themselves_in_json() -> Result<(), CallError> {
    declared_errors_come_back_as_themselves(Json).await
}

#[tokio::test]
async fn declared_errors_come_back_as_themselves_in_msgpack() -> Result<(), CallError> {
    declared_errors_come_back_as_themselves(MessagePack).await
}

#[tokio::test]
async fn unknown_error_type_becomes_a_fault_with_all_of_it() -> Result<(), CallError> {
    let bank = bank(Json).await?;
    let fault = fault(bank.as_ref().call::<u64>("withdraw", &[How::Insufficient]).await);
    assert_eq!((fault.code, fault.kind.as_str()), (Code::Application, "BankError.Insufficient"));
    assert_eq!(fault.message, "5 more are needed");
    assert_eq!(fault.details, r#"{"missing":5,"fault":null}"#);
    Ok(())
}

#[tokio::test]
async fn codes_and_kinds_are_those_that_were_given() -> Result<(), CallError> {
    let bank = bank(Json).await?;
    let closed = fault(bank.as_ref().call::<u64>("withdraw", &[How::Closed]).await);
    assert_eq!((closed.code, closed.kind.as_str()), (Code::Unavailable, "Closed"));
    assert!(closed.is_permanent());
    Ok(())
}

#[tokio::test]
async fn error_that_cannot_be_encoded_becomes_a_fault_with_its_causes() -> Result<(), CallError> {
    let ledger = fault(bank(Json).await?.withdraw(How::Ledger).await);
    assert_eq!((ledger.code, ledger.kind.as_str()), (Code::Internal, "BankError.Ledger"));
    assert_eq!(ledger.message, format!("the ledger is gone: {}", fmt::Error));
    Ok(())
}

#[tokio::test]
async fn a_crash_is_no_declared_error() -> Result<(), CallError> {
    let panic = fault(bank(MessagePack).await?.withdraw(How::Panic).await);
    assert_eq!((panic.code, panic.kind.as_str()), (Code::Internal, "Panic"));
    assert_eq!(panic.message, "the handler panicked: the vault is open");
    Ok(())
}

#[tokio::test]
async fn question_marks_work_in_handlers_and_in_callers() -> Result<(), CallError> {
    async fn anything(bank: &BankClient<Json>) -> Result<u64, CallError> {
        Ok(bank.withdraw(How::Insufficient).await?)
    }
    async fn just_so(bank: &BankClient<Json>) -> Result<u64, CallError<BankError>> {
        bank.forward(How::Well).await.map_err(CallError::widen)?;
        bank.withdraw(How::Insufficient).await
    }
    let bank = bank(Json).await?;
    let forwarded =
        bank.as_ref().request("forward").declares::<BankError>().call::<u64>(&[How::Closed]).await;
    assert_eq!(declared(forwarded), BankError::Closed);
    assert_eq!(fault(anything(&bank).await).kind, "BankError.Insufficient");
    let error = just_so(&bank).await.unwrap_err();
    assert_eq!(error.to_string(), "5 more are needed");
    Ok(())
}

#[tokio::test]
async fn errors_pass_through_a_handler_that_calls_in_another_format() -> Result<(), CallError> {
    let behind =
        BankClient::from(Client::new(std::sync::Arc::new(BankServer::new(Vault, Json)), Json));
    let router = Router::new(MessagePack).method("withdraw", move |how: How| {
        let behind = behind.clone();
        async move { Ok(behind.withdraw(how).await?) }
    });
    let withdraw = Client::new(router, MessagePack);
    let withdraw = withdraw.request("withdraw").declares::<BankError>();
    assert_eq!(
        declared(withdraw.call::<u64>(&How::NoSuchAccount).await),
        BankError::NoSuchAccount("ada".into())
    );
    Ok(())
}

#[tokio::test]
async fn an_unknown_variant_and_unknown_details_stay_a_fault() -> Result<(), CallError> {
    let newer = Router::new(Json)
        .method("variant", |(): ()| async move {
            Err::<(), _>(Fault::new(Code::Application, "frozen").with_kind("BankError.Frozen"))
        })
        .method("details", |(): ()| async move {
            let fault = Fault::new(Code::Application, "more").with_kind("BankError.Insufficient");
            Err::<(), _>(fault.with_value("a lot"))
        });
    let client = Client::new(newer, Json);
    for (method, kind) in [("variant", "BankError.Frozen"), ("details", "BankError.Insufficient")] {
        let failed = client.request(method).declares::<BankError>().call::<()>(&()).await;
        assert_eq!(fault(failed).kind, kind);
    }
    Ok(())
}

#[tokio::test]
async fn details_in_another_format_are_not_read() -> Result<(), CallError> {
    let router = Router::new(Json)
        .method("withdraw", |(): ()| async move { Err::<(), _>(BankError::Few(7).into_fault()) });
    // MessagePack would decode the JSON digit as another number.
    let mixed = polywire::service_fn({
        let router = std::sync::Arc::new(router);
        move |mut request: polywire::Request| {
            let router = router.clone();
            async move {
                request.message.body = "null".into();
                request.message.content_type = None;
                polywire::Service::call(&router, request).await
            }
        }
    });
    let client = Client::new(mixed, MessagePack);
    let failed = client.request("withdraw").declares::<BankError>().call::<()>(&()).await;
    assert_eq!(fault(failed).details, "7");
    Ok(())
}

#[tokio::test]
async fn details_that_cannot_be_written_are_an_internal_fault() -> Result<(), CallError> {
    let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
    let router = Router::new(Json).method("odd", move |(): ()| {
        let odd = odd.clone();
        async move { Err::<(), _>(Fault::new(Code::Application, "odd").with_value(odd)) }
    });
    let odd = fault(Client::new(router, Json).call::<()>("odd", &()).await);
    assert_eq!(odd.code, Code::Internal);
    assert!(odd.message.starts_with("cannot encode the fault"), "{odd}");
    Ok(())
}

#[tokio::test]
async fn each_request_is_answered_in_its_own_format() -> Result<(), CallError> {
    let both = || (MessagePack, Json);
    outcomes_are_those_of_the_vault(&bank_that_speaks(both(), Json).await?).await?;
    outcomes_are_those_of_the_vault(&bank_that_speaks(both(), MessagePack).await?).await?;
    outcomes_are_those_of_the_vault(&bank_that_speaks(both(), (Json, MessagePack)).await?).await
}

#[tokio::test]
async fn failure_names_its_cause_and_the_method() -> Result<(), CallError> {
    let bank = bank(Json).await?;
    let texts = [
        bank.withdraw(How::NoSuchAccount).await.unwrap_err().to_string(),
        bank.withdraw(How::Panic).await.unwrap_err().to_string(),
        bank.forward(How::Closed).await.unwrap_err().to_string(),
    ];
    assert_eq!(
        texts,
        [
            "there is no account ada",
            "bank/withdraw: Panic: the handler panicked: the vault is open",
            "bank/forward: Closed: come back tomorrow",
        ]
    );
    let late =
        bank.as_ref().request("withdraw").timeout(std::time::Duration::ZERO).call::<()>(&()).await;
    let late = late.unwrap_err();
    assert_eq!(late.to_string(), "bank/withdraw: the deadline passed before a reply arrived");
    assert!(late.source().is_none());
    Ok(())
}
