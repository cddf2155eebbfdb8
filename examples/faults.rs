//! What can go wrong in a handler, and what its caller learns: an error of the service's own as
//! itself, `?` over the errors of others, a cause that cannot travel as text, a crash as a fault,
//! and what nobody declared.
//!
//! ```text
//! cargo run --example faults
//! cargo run --example faults -- mem://demo
//! cargo run --features amqp --example faults -- amqp://guest:guest@localhost
//! ```

use std::error::Error;

use polywire::{CallError, Code, Fault, MessagePack, Server, Transport, service};

/// Prints.
#[service]
trait Printer {
    /// Prints a page, on paper that may run out.
    async fn print(&self, text: String) -> Result<u32, PrintError>;

    /// Prints a file.
    async fn print_file(&self, path: String) -> Result<u32, PrintError>;

    /// Prints this many numbers; its faults are nobody's type.
    async fn count(&self, pages: String) -> Result<u32, Fault>;
}

/// What a printer says no with.
#[derive(Debug, Fault, thiserror::Error)]
enum PrintError {
    /// The caller has every field.
    #[error("out of paper: {left} of {wanted} pages are left")]
    OutOfPaper { left: u32, wanted: u32 },
    /// Whoever has the code only knows that it may work later, and elsewhere.
    #[fault(code = Unavailable)]
    #[error("it is warming up")]
    WarmingUp,
    /// The cause cannot travel; what it says does.
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
        // With a number that is too large, this is a bug: it panics, and the server lives.
        let last = sheets[usize::try_from(pages).unwrap_or(usize::MAX)];
        // What the handler calls may fail in its own way: `?` makes a fault of it.
        Ok(last + self.print("a page".to_owned()).await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Panics are told by the fault and the log. Here they would only disturb what is printed.
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
    // An error that was declared and does not travel whole, and one that was not declared: both say
    // what and where.
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
