//! Failures of a handler as the client sees them: a declared error as its own type, `?` over the
//! errors of other calls, a source error as text, a panic as a fault, and an undeclared error.
//!
//! ```text
//! cargo run --example faults
//! cargo run --example faults -- mem://demo
//! cargo run --features amqp --example faults -- amqp://guest:guest@localhost
//! ```

use std::error::Error;

use polywire::{CallError, Code, Fault, MessagePack, Server, Transport, service};

/// A printer.
#[service]
trait Printer {
    /// Prints a page; the paper may run out.
    async fn print(&self, text: String) -> Result<u32, PrintError>;

    /// Prints a file.
    async fn print_file(&self, path: String) -> Result<u32, PrintError>;

    /// Prints numbers. Its faults have no declared type.
    async fn count(&self, pages: String) -> Result<u32, Fault>;
}

/// The declared error.
#[derive(Debug, Fault, thiserror::Error)]
enum PrintError {
    /// The client receives every field.
    #[error("out of paper: {left} of {wanted} pages are left")]
    OutOfPaper { left: u32, wanted: u32 },
    /// The code shows generic clients that a later call may succeed.
    #[fault(code = Unavailable)]
    #[error("it is warming up")]
    WarmingUp,
    /// The source is not sent; its text is.
    #[fault(opaque)]
    #[error("cannot read {0}")]
    Unreadable(String, #[source] std::io::Error),
}

struct Laser;

impl Printer for Laser {
    async fn print(&self, text: String) -> Result<u32, PrintError> {
        match text.lines().count() {
            0 => Err(PrintError::WarmingUp),
            1..=3 => Ok(1),
            lines => Err(PrintError::OutOfPaper {
                left: 3,
                wanted: u32::try_from(lines).unwrap_or(u32::MAX),
            }),
        }
    }

    async fn print_file(&self, path: String) -> Result<u32, PrintError> {
        let text =
            std::fs::read_to_string(&path).map_err(|error| PrintError::Unreadable(path, error))?;
        self.print(text).await
    }

    async fn count(&self, pages: String) -> Result<u32, Fault> {
        let pages: u32 = pages
            .parse()
            .map_err(|error| Fault::of(Code::Application, &error).with_kind("NoNumber"))?;
        let sheets = [1, 2, 3];
        // A number that is too large is a bug: the handler panics and the server goes on.
        let last = sheets[usize::try_from(pages).unwrap_or(usize::MAX)];
        // `?` converts the failure of an inner call into a fault.
        Ok(last + self.print("a page".to_owned()).await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Panics are reported by the fault and the log. The hook keeps them off this output.
    std::panic::set_hook(Box::new(|_| {}));
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5564".to_owned());
    let serving = polywire::connect(&url).await?;
    let server = Server::bind(&serving, "printer").await?;
    let handle = server.handle();
    tokio::spawn(server.serve(PrinterServer::new(Laser, MessagePack)));
    let transport = polywire::connect(&url).await?;
    let printer = PrinterClient::connect(&transport, "printer", MessagePack).await?;

    println!("{} page", printer.print("Dear Ada".to_owned()).await?);
    match printer.print("a\nb\nc\nd\ne".to_owned()).await {
        Err(CallError::Declared(PrintError::OutOfPaper { left, wanted })) => {
            println!("{} are missing", wanted - left);
        }
        other => return Err(format!("there is no paper: {other:?}").into()),
    }
    // A declared error that is not sent whole, and an undeclared one: both name the cause and the
    // method.
    for error in [
        printer.print_file("/no/such/file".to_owned()).await.err().map(CallError::from),
        printer.count("three".to_owned()).await.err(),
        printer.count("7".to_owned()).await.err(),
    ] {
        let error: CallError = error.ok_or("it failed")?;
        println!("{error} ({:?})", error.fault().map(|fault| fault.code));
    }
    println!("{} after all that", printer.count("2".to_owned()).await?);

    handle.drain().await;
    transport.close().await?;
    Ok(())
}
