//! `pares_join` to `pares_leave`: an instance, what it is, its calls and its jobs.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::callback::{FreeUser, Inside, Lent, User, not_inside};
use super::config::Plan;
use super::given::{Data, Handle, Slot, Text};
use super::number::{CEnum, word};
use super::result::{Code, Failure, asked, guarded, null};
use super::table::{hand_out_bytes, hand_out_text, table};
use super::time;
use crate::client::Client;
use crate::event::Role;
use crate::instance::Instance;
use crate::job::{Job, Tenure};

/// `pares_instance`.
pub(crate) struct Member {
    pub(super) instance: Instance,
    number: usize,
}

/// `pares_guard`: what a job holds while it runs.
pub(crate) struct Guard(Arc<Tenure>);

/// `pares_job_function`.
pub(crate) type JobFunction = Option<unsafe extern "C" fn(guard: Handle<Guard>, user: *mut c_void)>;

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_role_name(role: c_int) -> *const c_char {
    word::<Role>(role, c"unknown role")
}

impl Member {
    /// What asks the group, for as long as a C function waits.
    pub(super) fn client(&self, timeout_ms: u64) -> Client {
        self.instance.client().with_timeout(time(timeout_ms))
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_join(
    config: Handle<Plan>,
    instance_out: Slot<Handle<Member>>,
) -> c_int {
    guarded(|| {
        let instance_out = instance_out.open("instance_out")?;
        let plan = config.get("config")?;
        // First its number, which its functions know it by: they may be called before this returns.
        let number = table().reserve()?;
        let instance = Instance::join(plan.config(number))?;
        table().put(number, Arc::new(Member { instance, number }));
        instance_out.set(Handle::of(number));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_leave(instance: Handle<Member>) -> c_int {
    guarded(|| {
        not_inside(instance.number())?;
        if let Some(member) = instance.take()? {
            member.instance.end();
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_instance_name(
    instance: Handle<Member>,
    name_out: Slot<*const c_char>,
) -> c_int {
    guarded(|| {
        let name_out = name_out.open("name_out")?;
        name_out.set(hand_out_text(instance.get("instance")?.instance.name()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_instance_role(
    instance: Handle<Member>,
    role_out: Slot<c_int>,
) -> c_int {
    guarded(|| {
        let role_out = role_out.open("role_out")?;
        role_out.set(instance.get("instance")?.instance.role().number());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_instance_is_supervisor(instance: Handle<Member>) -> c_int {
    asked(false, || Ok(instance.get("instance")?.instance.is_supervisor()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_instance_term(
    instance: Handle<Member>,
    term_out: Slot<u64>,
) -> c_int {
    guarded(|| {
        let term_out = term_out.open("term_out")?;
        term_out.set(instance.get("instance")?.instance.term());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_pulse(instance: Handle<Member>) -> c_int {
    guarded(|| {
        instance.get("instance")?.instance.pulse();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_step_down(instance: Handle<Member>, timeout_ms: u64) -> c_int {
    guarded(|| {
        let member = instance.get("instance")?;
        // A job would be waited for in itself. An admin function would not; but one rule for all
        // callbacks is enough.
        not_inside(member.number)?;
        let outcome = member.instance.step_down(time(timeout_ms));
        if member.instance.role() == Role::Stopped {
            return Err(Failure::new(Code::Stopped, "this instance has left its group"));
        }
        Ok(outcome?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_call(
    instance: Handle<Member>,
    name: Text,
    function: Text,
    payload: Data,
    payload_bytes: usize,
    timeout_ms: u64,
    result_out: Slot<*const c_void>,
    result_bytes_out: Slot<usize>,
) -> c_int {
    guarded(|| {
        let (result_out, bytes_out) =
            (result_out.open("result_out")?, result_bytes_out.open("result_bytes_out")?);
        let (name, function) = (name.get("name")?, function.get("function")?);
        let payload = payload.bytes(payload_bytes, "payload")?;
        let result = instance.get("instance")?.instance.client().call(
            name,
            function,
            payload,
            time(timeout_ms),
        );
        // A function's own error is handed on in its own words.
        let result = result.map_err(|error| match error {
            crate::error::CallError::Failed { detail: text } => {
                Failure::new(Code::FunctionFailed, text)
            }
            error => error.into(),
        })?;
        bytes_out.set(result.len());
        result_out.set(hand_out_bytes(result));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_while_supervisor(
    instance: Handle<Member>,
    job: JobFunction,
    user: *mut c_void,
    free_user: FreeUser,
    job_out: Slot<Handle<Job>>,
) -> c_int {
    let user = User::new(user, free_user);
    guarded(move || {
        let job_out = job_out.open("job_out")?;
        let job = job.ok_or_else(|| null("job"))?;
        let member = instance.get("instance")?;
        let (number, kept) = (table().reserve()?, member.number);
        let started = member.instance.while_supervisor(move |guard| {
            let user = &user; // the whole of it, for its destructor
            let Ok(lent) = Lent::new(Guard(guard.tenure())) else { return };
            let _inside = Inside::enter(kept);
            // SAFETY: the program gave the function and the pointer for this.
            unsafe { job(lent.handle(), user.pointer) };
        })?;
        table().put(number, Arc::new(started));
        job_out.set(Handle::of(number));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_job_end(job: Handle<Job>) -> c_int {
    guarded(|| job.take().map(drop))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_guard_term(guard: Handle<Guard>, term_out: Slot<u64>) -> c_int {
    guarded(|| {
        let term_out = term_out.open("term_out")?;
        term_out.set(guard.get("guard")?.0.term());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_guard_should_stop(guard: Handle<Guard>) -> c_int {
    asked(true, || Ok(guard.get("guard")?.0.is_over()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_guard_wait(guard: Handle<Guard>, timeout_ms: u64) -> c_int {
    asked(true, || Ok(guard.get("guard")?.0.wait(time(timeout_ms))))
}
