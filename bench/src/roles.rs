//! The two processes of a measurement, as roles of this program.
//!
//! The process that starts a role chooses the program of its subject. So a role of another
//! program's subject is an error, and is not passed on.

use anyhow::{Result, bail};

use crate::bare_lapin::LapinCaller;
use crate::bare_omq::OmqCaller;
use crate::bare_tcp::TcpCaller;
use crate::bare_zeromq::ZeromqCaller;
use crate::calls::measure;
use crate::figures::Figures;
use crate::mode::Mode;
use crate::omq_setup::OmqSetup;
use crate::polywire_calls::{RawCaller, TypedCaller};
use crate::subject::Subject;
use crate::trial::{Kind, Order};
use crate::{
    bare_lapin, bare_omq, bare_tcp, bare_zeromq, lapin_streams, omq_events, polywire_calls,
    polywire_streams,
};

/// The URL of a server of polywire over ZeroMQ, on a free port.
///
/// The kernel chooses the port, and the printed address has that port.
const ZMQ: &str = "zmq+tcp://127.0.0.1:*";
/// The option of a URL for calls in batches.
///
/// Server and client of a batched subject both set the option.
const BATCHES: &str = "batch=auto";

/// Serves or produces, until the process is killed. The address is printed first.
///
/// `broker` is the URL of RabbitMQ, for subjects that need it.
///
/// Subjects without RabbitMQ ignore `broker`. A mode that the subject does not have is an error
/// before anything is printed.
///
/// # Errors
///
/// If the server cannot start or ends early, and for subjects of other programs.
pub(crate) async fn serve(subject: Subject, broker: &str, mode: Mode) -> Result<()> {
    use OmqSetup::{OwnThread, Shared};

    let holds = mode == Mode::Hold;
    match (subject, mode) {
        (Subject::LapinJobs, Mode::Produce { body, number }) => {
            lapin_streams::push(broker, body, number).await
        }
        (Subject::AmqpJobs, Mode::Produce { body, number }) => {
            polywire_streams::push(broker, body, number).await
        }
        (Subject::OmqEvents, Mode::Produce { body, .. }) => omq_events::publish(Shared, body).await,
        (Subject::OmqThreadEvents, Mode::Produce { body, .. }) => {
            omq_events::publish(OwnThread, body).await
        }
        (Subject::LapinEvents, Mode::Produce { body, .. }) => {
            lapin_streams::publish(broker, body).await
        }
        (Subject::ZmqEvents, Mode::Produce { body, .. }) => {
            polywire_streams::publish(ZMQ, Some(body)).await
        }
        (Subject::AmqpEvents, Mode::Produce { body, .. }) => {
            polywire_streams::publish(broker, Some(body)).await
        }
        (Subject::ZmqEvents, Mode::Quiet) => polywire_streams::publish(ZMQ, None).await,
        (Subject::AmqpEvents, Mode::Quiet) => polywire_streams::publish(broker, None).await,
        (_, Mode::Produce { .. } | Mode::Quiet) => bail!("{} sends no stream", subject.name()),
        (Subject::TcpFrames, _) => bare_tcp::serve(holds).await,
        (Subject::OmqLoop | Subject::OmqCalls, _) => bare_omq::serve(Shared, holds).await,
        (Subject::OmqThread, _) => bare_omq::serve(OwnThread, holds).await,
        (Subject::ZeromqCalls, _) => bare_zeromq::serve(holds).await,
        (Subject::LapinCalls, _) => bare_lapin::serve(broker, holds).await,
        (Subject::ZmqRaw, _) => polywire_calls::serve_raw(ZMQ, holds).await,
        (Subject::ZmqTyped, _) => polywire_calls::serve_typed(ZMQ, holds).await,
        (Subject::ZmqBatched, _) => {
            polywire_calls::serve_typed(&format!("{ZMQ}?{BATCHES}"), holds).await
        }
        (Subject::AmqpRaw | Subject::AmqpDirect, _) => {
            polywire_calls::serve_raw(broker, holds).await
        }
        (Subject::AmqpTyped, _) => polywire_calls::serve_typed(broker, holds).await,
        (Subject::AmqpBatched, _) => {
            polywire_calls::serve_typed(&format!("{broker}?{BATCHES}"), holds).await
        }
        _ => bail!("{} does not serve in this program", subject.name()),
    }
}

/// Calls or consumes, and returns the figures of the order.
///
/// `at` is the line that the server printed.
///
/// Subjects of calls make the kind of the trial. Subjects of jobs and events have one load each,
/// and read the kind for idle subscriptions alone.
///
/// # Errors
///
/// If the measurement fails, and for subjects of other programs.
pub(crate) async fn call(subject: Subject, at: &str, order: &Order) -> Result<Figures> {
    use OmqSetup::{OwnThread, Shared};

    match subject {
        Subject::TcpFrames => measure(order, TcpCaller::connect(at)).await,
        Subject::OmqLoop => bare_omq::flood(at, order).await,
        Subject::OmqCalls => measure(order, OmqCaller::connect(Shared, at)).await,
        Subject::OmqThread => measure(order, OmqCaller::connect(OwnThread, at)).await,
        Subject::ZeromqCalls => measure(order, ZeromqCaller::connect(at)).await,
        Subject::LapinCalls => measure(order, LapinCaller::connect(at)).await,
        Subject::ZmqRaw | Subject::AmqpRaw => measure(order, RawCaller::connect(at)).await,
        Subject::AmqpDirect => {
            let at = with_option(at, "reply_mode=direct");
            measure(order, RawCaller::connect(&at)).await
        }
        Subject::ZmqTyped | Subject::AmqpTyped => measure(order, TypedCaller::connect(at)).await,
        Subject::ZmqBatched | Subject::AmqpBatched => {
            measure(order, TypedCaller::connect(&with_option(at, BATCHES))).await
        }
        Subject::LapinJobs => lapin_streams::work(at, order).await,
        Subject::AmqpJobs => polywire_streams::work(at, order).await,
        Subject::OmqEvents => omq_events::subscribe(Shared, at, order).await,
        Subject::OmqThreadEvents => omq_events::subscribe(OwnThread, at, order).await,
        Subject::LapinEvents => lapin_streams::subscribe(at, order).await,
        Subject::ZmqEvents | Subject::AmqpEvents if order.trial.kind == Kind::Subscriptions => {
            polywire_streams::idle_subscriptions(at, order).await
        }
        Subject::ZmqEvents | Subject::AmqpEvents => polywire_streams::subscribe(at, order).await,
        _ => bail!("{} does not call in this program", subject.name()),
    }
}

/// Adds an option to the URL of an address, which ends at the first space.
///
/// The URL must have no options: servers of polywire print theirs without any.
fn with_option(at: &str, option: &str) -> String {
    match at.split_once(' ') {
        Some((url, name)) => format!("{url}?{option} {name}"),
        None => format!("{at}?{option}"),
    }
}
