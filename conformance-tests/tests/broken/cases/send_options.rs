//! Flaws of the options of a single message.

use std::time::Duration;

use polywire_core::Deadline;

use crate::caught::caught;
use crate::flaws::messages::Alters;
use crate::flaws::send_options::SendsReserved;

caught! {
    lost_headers_of_calls: Alters(|message| message.headers = Default::default()),
        "send_options.headers_of_a_call_reach_its_handler", "the header of a call came as None";
    lost_headers_of_one_way_calls: Alters(|message| {
        if message.id.is_none() {
            message.headers = Default::default();
        }
    }),
        "send_options.headers_of_a_call_reach_its_handler",
        "the header of a one-way call came as None";
    lost_headers_of_jobs: Alters(|message| message.headers = Default::default()),
        "send_options.headers_of_a_job_arrive", "the header of a job came as None";
    lost_headers_of_events: Alters(|message| message.headers = Default::default()),
        "send_options.headers_of_an_event_arrive", "the header of an event came as None";
    reserved_headers_of_calls: SendsReserved { requests: true },
        "send_options.reserved_header_is_refused", "a call with polywire.fault";
    reserved_headers_of_jobs: SendsReserved { requests: false },
        "send_options.reserved_header_is_refused", "a job with polywire.fault was sent";
    lost_time_of_jobs: Alters(|message| message.deadline = None),
        "send_options.expired_job_never_runs", "the job 13 came instead of 14";
    renewed_time_of_jobs: Alters(|message| {
        message.deadline = message.deadline.map(|_| Deadline::after(Duration::from_secs(60)));
    }),
        "send_options.expired_job_never_runs", "the job 13 came instead of 14";
    removed_when_expired: Alters(|message| message.keep_expired = false),
        "send_options.expired_job_is_kept_if_it_asks", "the job is not among the dead letters";
    lost_time_of_events: Alters(|message| message.deadline = None),
        "send_options.expired_event_is_dropped", "the event 13 came instead of 14";
}
