//! The dashboard: counts what it sees.

use std::sync::Arc;

use polywire::MessagePack;
use polywire::app::{BoxError, Component};

use crate::book::{Book, failed};
use crate::contracts::{Placed, ReportServer};

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport and of the book.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let seen = Arc::new(Book::open("dashboard")?);
    app.serve("dashboard", ReportServer::new(seen.clone(), MessagePack)).await?;
    let handler = move |placed: Placed| {
        let entered = seen.enter(placed.order.number, |_| Ok(placed.cents));
        async { entered.map(drop).map_err(failed) }
    };
    Ok(app.listen("order_events", MessagePack, handler).await?)
}
