//! Orderly hand-over, on the thread that asks for it.

use std::time::Instant;

use super::shared::Shared;
use crate::error::StepDownError;
use crate::event::Role;

/// Ends the jobs, gives up the port, and waits for a successor; all until `deadline`.
pub(crate) fn hand_over(shared: &Shared, deadline: Instant) -> Result<(), StepDownError> {
    let server = shared.presence.server().ok_or(StepDownError::NotSupervisor)?;
    if server.read(|supervisor| supervisor.is_alone()) {
        return Err(StepDownError::Alone);
    }
    let term = shared.presence.change(|inside| {
        inside.stepping_down = true;
        inside.term
    });
    // The port is held until the jobs have ended: their successors begin only after them.
    if shared.presence.wait(Some(deadline), |inside| (inside.jobs == 0).then_some(())).is_none() {
        shared.presence.change(|inside| inside.stepping_down = false);
        return Err(StepDownError::JobRunning);
    }
    shared.presence.change(|inside| {
        if inside.role() == Role::Supervisor && inside.term == term {
            inside.hand_over = true;
            inside.call_away();
        }
    });
    let outcome = shared.presence.wait(Some(deadline), |inside| match inside.role() {
        Role::Subordinate | Role::Stopped => Some(Ok(())),
        // Nobody wanted it.
        Role::Supervisor if inside.term != term => Some(Err(StepDownError::Alone)),
        Role::Supervisor | Role::Contending => None,
    });
    outcome.unwrap_or(Err(StepDownError::TimedOut))
}
