//! Flaws of loops over operations that fail at once.

use crate::caught::caught;
use crate::flaws::budget::RestoresBudget;

caught! {
    budget_restored_by_calls: RestoresBudget,
        "budget.failing_calls_leave_other_tasks_their_turns", "requests over the limit left other tasks no turn";
    budget_restored_by_pushes: RestoresBudget,
        "budget.failing_pushes_leave_other_tasks_their_turns", "pushes over a closed transport left other tasks no turn";
    budget_restored_by_publishes: RestoresBudget,
        "budget.failing_publishes_leave_other_tasks_their_turns", "events over a closed transport left other tasks no turn";
}
