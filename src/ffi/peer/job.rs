//! `pares_peer_while_primary` and `pares_peer_guard_*`: work that only the primary does.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::{CToken, c_token};
use crate::ffi::callback::{FreeUser, Inside, Lent, User};
use crate::ffi::given::{Handle, Slot};
use crate::ffi::parcel::Parcel;
use crate::ffi::result::{asked, guarded, null};
use crate::ffi::table::table;
use crate::ffi::time;
use crate::masterless::{Job, Peer, PrimaryTenure};

/// `pares_peer_guard`.
pub(crate) struct PeerGuard(Arc<PrimaryTenure>);

/// `pares_peer_job_function`.
pub(crate) type PeerJobFunction =
    Option<unsafe extern "C" fn(guard: Handle<PeerGuard>, user: *mut c_void)>;

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_while_primary(
    peer: Handle<Peer>,
    job: PeerJobFunction,
    user: *mut c_void,
    free_user: FreeUser,
    job_out: Slot<Handle<Job>>,
) -> c_int {
    let user = User::new(user, free_user);
    guarded(move || {
        let job_out = job_out.open("job_out")?;
        let job = job.ok_or_else(|| null("job"))?;
        let kept = peer.number();
        let peer = peer.get("peer")?;
        let number = table().reserve()?;
        let started = peer.while_primary(move |guard| {
            let user = &user; // the whole of it, for its destructor
            let Ok(lent) = Lent::new(PeerGuard(guard.tenure())) else { return };
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
pub(crate) extern "C" fn pares_peer_job_end(job: Handle<Job>) -> c_int {
    guarded(|| job.take().map(drop))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_guard_token(
    guard: Handle<PeerGuard>,
    token_out: Slot<*const CToken>,
) -> c_int {
    guarded(|| {
        let token_out = token_out.open("token_out")?;
        let token = guard.get("guard")?.0.token();
        let mut parcel = Parcel::default();
        let c_token = c_token(&mut parcel, token);
        token_out.set(parcel.hand_out(c_token));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_guard_lease_ok(guard: Handle<PeerGuard>) -> c_int {
    asked(false, || Ok(guard.get("guard")?.0.lease_left().is_some()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_guard_should_stop(guard: Handle<PeerGuard>) -> c_int {
    asked(true, || Ok(guard.get("guard")?.0.should_stop()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_guard_wait(guard: Handle<PeerGuard>, timeout_ms: u64) -> c_int {
    asked(true, || Ok(guard.get("guard")?.0.wait(time(timeout_ms))))
}
