//! The invoices: one for each order, and a mail with each.

use std::sync::Arc;

use polywire::app::{BoxError, Component};
use polywire::{Code, Fault, Group, MessagePack, Pusher, Transport};

use crate::book::{Book, failed};
use crate::contracts::{Mail, Order, Placed, ReportServer};

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport and of the book.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let (written, group) = (Arc::new(Book::open("invoices")?), Group::new("invoices")?.durable());
    let mails = Pusher::connect(app.transport(), "mails", MessagePack).await?;
    app.serve("invoices", ReportServer::new(written.clone(), MessagePack)).await?;
    // Events wait for the group while no invoices run, where the transport can keep them.
    let keeps = app.transport().capabilities().durable_groups;
    let handler = move |placed: Placed| {
        let (written, mails) = (written.clone(), mails.clone());
        async move { invoice(&written, &mails, placed).await }
    };
    let listening = app.listen_with(
        "order_events",
        MessagePack,
        move |listener| match keeps {
            true => listener.filter("*.placed").group(group.clone()),
            false => listener.filter("*.placed"),
        },
        handler,
    );
    Ok(listening.await?)
}

/// Writes the invoice after its mail is pushed: a crash in between repeats the event, and the mail
/// with it, which the mailer knows by its order.
async fn invoice(
    written: &Book<u64>,
    mails: &Pusher<MessagePack>,
    placed: Placed,
) -> Result<(), Fault> {
    let Placed { order, cents } = placed;
    let number = order.number;
    if !written.contains(number).map_err(failed)? {
        mail(mails, order, cents).await?;
    }
    written.enter(number, |_| Ok(cents)).map(drop).map_err(failed)
}

async fn mail(mails: &Pusher<MessagePack>, order: Order, cents: u64) -> Result<(), Fault> {
    let text = format!("{} x {}: {cents} cents", order.pieces, order.article);
    let mail = Mail { order: order.number, to: order.customer, text };
    let pushed = mails.push(&mail).await;
    pushed.map_err(|error| Fault::new(Code::Unavailable, error.to_string()))
}
