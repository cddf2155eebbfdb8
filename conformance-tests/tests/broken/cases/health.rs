//! Flaws of the health that a backend reports.

use crate::caught::caught;
use crate::flaw::HealthFlaw;
use crate::flaws::health::ReportsWrongly;

caught! {
    handle_that_never_consumes: ReportsWrongly(HealthFlaw::NeverConsumes),
        "health.bound_handles_consume", "once a server is bound, the health is: connected, consuming 0 of 1";
    drain_that_core_cannot_report: ReportsWrongly(HealthFlaw::HidesDrains),
        "health.drain_turns_readiness_off_first", "right after a drain was requested, the health is ready";
    canary_that_passes_no_receiver: ReportsWrongly(HealthFlaw::AnswersForTheReceiver),
        "health.canary_comes_back_and_reaches_no_handler", "the canary of a server that is never polled came back";
    cut_that_nobody_notices: ReportsWrongly(HealthFlaw::StaysConnected),
        "health.cut_link_turns_readiness_off_and_on", "under the disturbance, a client is not ready";
    broker_that_stays_away: ReportsWrongly(HealthFlaw::StaysOff),
        "health.dead_broker_turns_readiness_off_and_on", "after the disturbance, a client is ready";
}
