//! The loop that receives deliveries, shared by servers, workers and listeners.
//!
//! [`Serving`] is the future of a running server, worker or listener, and [`Ended`] the reason for
//! its end. [`HandlerService`] makes a service of a handler. [`WorkHandle`] drains a worker or a
//! listener, and [`WorkStats`] counts what it does. [`Retries`] is the policy for jobs and events
//! whose handlers fail.

mod counter;
mod delivery_span;
mod end_reason;
mod final_failure_log;
mod inline_policy;
mod job_expiry;
mod lifecycle;
mod processor;
mod receive_loop;
mod serving;
mod serving_task;
mod suspect_isolation;

mod bound_worker;
mod handler_service;
mod job_processor;
mod retries;
mod work_handle;
mod work_stats;

pub(crate) use self::bound_worker::BoundWorker;
pub(crate) use self::counter::Counter;
pub(crate) use self::delivery_span::{
    DeliveryScope, delivery_span, describe, described_method, failed_in, in_delivery,
};
pub use self::end_reason::Ended;
pub use self::handler_service::HandlerService;
pub(crate) use self::job_expiry::poll_unexpired;
pub(crate) use self::lifecycle::{Lifecycle, StopGuard};
pub(crate) use self::processor::{EndpointLabel, Processor};
pub(crate) use self::receive_loop::receive;
pub use self::retries::Retries;
pub(crate) use self::retries::dead_letter_or_discard;
pub use self::serving::Serving;
pub use self::work_handle::WorkHandle;
pub use self::work_stats::WorkStats;
