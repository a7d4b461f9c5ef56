//! `pares_peer_*`: a process of a masterless group, what it is and what it knows.

mod config;
mod events;
mod job;

#[cfg(test)]
pub(super) use config::WorkloadFunction;
#[cfg(test)]
pub(super) use events::CPeerEvent;

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;

use super::callback::not_inside;
use super::given::{Handle, Slot, Text};
use super::number::{CEnum, word};
use super::parcel::Parcel;
use super::result::{Code, Failure, asked, guarded};
use super::table::{hand_out_text, table};
use super::time;
use crate::event::masterless::Token;
use crate::masterless::{Counters, Peer, PeerInfo};
use crate::net::rt::clock::deadline;
use crate::wire::heartbeat::Status;
use crate::wire::{PeerId, Tail};

use config::PeerPlan;

fn wait_admitted(peer: &Peer, timeout_ms: u64) -> Result<(), Failure> {
    let deadline = deadline(time(timeout_ms));
    let events = peer.events();
    loop {
        // Not what the events say: one that finds no room is lost, and with it the news.
        match peer.status() {
            Status::Joining => {}
            Status::Leaving => return Err(stopped()),
            Status::Standby | Status::ToBecomePrimary | Status::Primary => {
                return Ok(());
            }
        }
        if let Err(error) = events.recv_deadline(deadline) {
            return Err(if error == RecvTimeoutError::Timeout {
                Failure::new(Code::Deadline, "the process was not admitted to its group in time")
            } else {
                stopped()
            });
        }
    }
}

fn stopped() -> Failure {
    Failure::new(Code::Stopped, "this process has left its group")
}

/// `pares_identifier`, in the layout of `pares_peer.h`.
#[repr(C)]
pub(super) struct CIdentifier {
    pub(super) text: *const c_char,
    pub(super) tail: *const c_char,
    pub(super) rank: u32,
    pub(super) sequence: u32,
}

/// `pares_token`.
#[repr(C)]
pub(super) struct CToken {
    pub(super) epoch: u64,
    pub(super) id: *const CIdentifier,
    pub(super) fence: *const c_char,
}

/// `pares_peer_info`.
#[repr(C)]
pub(super) struct CPeerInfo {
    pub(super) id: *const CIdentifier,
    pub(super) status: c_int,
    pub(super) service: u32,
    pub(super) workload: u32,
    pub(super) epoch: u64,
    pub(super) age_ms: u64,
    pub(super) suspected: c_int,
    pub(super) direct: c_int,
    pub(super) own: c_int,
    pub(super) label: *const c_char,
    pub(super) address: *const c_char,
}

/// `pares_peer_listing`.
#[repr(C)]
pub(super) struct CPeerListing {
    pub(super) count: usize,
    pub(super) peers: *const *const CPeerInfo,
}

/// `pares_counters`.
#[repr(C)]
pub(super) struct CCounters {
    pub(super) sent: u64,
    pub(super) not_sent: u64,
    pub(super) not_received: u64,
    pub(super) heard: u64,
    pub(super) replayed: u64,
    pub(super) malformed: u64,
    pub(super) other_version: u64,
    pub(super) other_group: u64,
    pub(super) unknown_key: u64,
    pub(super) not_authentic: u64,
    pub(super) false_claims: u64,
    pub(super) conflicts: u64,
    pub(super) epoch_bumps: u64,
    pub(super) record_full: u64,
    pub(super) pauses: u64,
    pub(super) longest_gap_ms: u64,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_status_name(status: c_int) -> *const c_char {
    word::<Status>(status, c"unknown status")
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_join(
    config: Handle<PeerPlan>,
    peer_out: Slot<Handle<Peer>>,
) -> c_int {
    guarded(|| {
        let peer_out = peer_out.open("peer_out")?;
        let plan = config.get("config")?;
        // First its number, which its callback knows it by: it may be called before this returns.
        let number = table().reserve()?;
        let peer = Peer::join(plan.config(number))?;
        table().put(number, Arc::new(peer));
        peer_out.set(Handle::of(number));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_leave(peer: Handle<Peer>) -> c_int {
    guarded(|| {
        not_inside(peer.number())?;
        if let Some(peer) = peer.optional()? {
            // Another thread may say meanwhile that it is ready to hand over.
            peer.leave_in_order();
        }
        peer.take().map(drop)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_leave_at_once(peer: Handle<Peer>) -> c_int {
    guarded(|| {
        not_inside(peer.number())?;
        if let Some(peer) = peer.take()? {
            // Not only dropped: another thread may be inside a call for it.
            peer.leave_at_once();
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_wait_admitted(peer: Handle<Peer>, timeout_ms: u64) -> c_int {
    guarded(|| {
        not_inside(peer.number())?;
        wait_admitted(&*peer.get("peer")?, timeout_ms)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_group(
    peer: Handle<Peer>,
    group_out: Slot<*const c_char>,
) -> c_int {
    guarded(|| {
        let group_out = group_out.open("group_out")?;
        group_out.set(hand_out_text(peer.get("peer")?.group()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_id(
    peer: Handle<Peer>,
    id_out: Slot<*const CIdentifier>,
) -> c_int {
    guarded(|| {
        let id_out = id_out.open("id_out")?;
        let id = peer.get("peer")?.id();
        let mut parcel = Parcel::default();
        let c_id = c_id(&mut parcel, id);
        id_out.set(parcel.hand_out(c_id));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_label(
    peer: Handle<Peer>,
    label_out: Slot<*const c_char>,
) -> c_int {
    guarded(|| {
        let label_out = label_out.open("label_out")?;
        label_out.set(hand_out_text(peer.get("peer")?.label().as_str()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_status(peer: Handle<Peer>, status_out: Slot<c_int>) -> c_int {
    guarded(|| {
        let status_out = status_out.open("status_out")?;
        status_out.set(peer.get("peer")?.status().number());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_token(
    peer: Handle<Peer>,
    token_out: Slot<*const CToken>,
) -> c_int {
    guarded(|| {
        let token_out = token_out.open("token_out")?;
        let token = peer.get("peer")?.token();
        let token =
            token.ok_or_else(|| Failure::new(Code::NotPrimary, "this process is not primary"))?;
        let mut parcel = Parcel::default();
        let c_token = c_token(&mut parcel, token);
        token_out.set(parcel.hand_out(c_token));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_lease_ok(peer: Handle<Peer>) -> c_int {
    asked(false, || Ok(peer.get("peer")?.lease_ok()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_list(
    peer: Handle<Peer>,
    listing_out: Slot<*const CPeerListing>,
) -> c_int {
    guarded(|| {
        let listing_out = listing_out.open("listing_out")?;
        let peers = peer.get("peer")?.peers();
        let mut parcel = Parcel::default();
        let mut list = Vec::with_capacity(peers.len());
        for info in &peers {
            let c_info = c_info(&mut parcel, info);
            list.push(parcel.one(c_info));
        }
        let c_listing = CPeerListing { count: list.len(), peers: parcel.list(list) };
        listing_out.set(parcel.hand_out(c_listing));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_least_loaded(
    peer: Handle<Peer>,
    service: u16,
    info_out: Slot<*const CPeerInfo>,
) -> c_int {
    guarded(|| {
        let info_out = info_out.open("info_out")?;
        let info = peer.get("peer")?.least_loaded(service);
        let none = || {
            Failure::new(Code::NoSuchPeer, format!("no process of service type {service} is there"))
        };
        let info = info.ok_or_else(none)?;
        let mut parcel = Parcel::default();
        let c_info = c_info(&mut parcel, &info);
        info_out.set(parcel.hand_out(c_info));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_direct(peer: Handle<Peer>, tail: Text, rank: u8) -> c_int {
    guarded(|| {
        let target: Tail = tail.get("tail")?.parse()?;
        tell(peer, |peer| peer.direct(target, rank))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_set_rank(peer: Handle<Peer>, rank: u8) -> c_int {
    guarded(|| tell(peer, |peer| peer.set_rank(rank)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_set_workload(peer: Handle<Peer>, workload: u16) -> c_int {
    guarded(|| tell(peer, |peer| peer.set_workload(workload)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_handover_ready(peer: Handle<Peer>) -> c_int {
    guarded(|| tell(peer, Peer::handover_ready))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_process_ended(peer: Handle<Peer>, pid: u32) -> c_int {
    guarded(|| tell(peer, |peer| peer.process_ended(pid)))
}

fn tell(peer: Handle<Peer>, say: impl FnOnce(&Peer)) -> Result<(), Failure> {
    say(&*peer.get("peer")?);
    Ok(())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_counters(
    peer: Handle<Peer>,
    counters_out: Slot<*const CCounters>,
) -> c_int {
    guarded(|| {
        let counters_out = counters_out.open("counters_out")?;
        let counters = peer.get("peer")?.counters();
        counters_out.set(Parcel::default().hand_out(c_counters(&counters)));
        Ok(())
    })
}

fn put_id(parcel: &mut Parcel, id: PeerId) -> *const CIdentifier {
    let c_id = c_id(parcel, id);
    parcel.one(c_id)
}

fn c_id(parcel: &mut Parcel, id: PeerId) -> CIdentifier {
    CIdentifier {
        text: parcel.text(&id.to_string()),
        tail: parcel.text(&id.tail().to_string()),
        rank: u32::from(id.rank()),
        sequence: id.sequence(),
    }
}

fn put_token(parcel: &mut Parcel, token: Token) -> *const CToken {
    let c_token = c_token(parcel, token);
    parcel.one(c_token)
}

fn c_token(parcel: &mut Parcel, token: Token) -> CToken {
    CToken { epoch: token.epoch, id: put_id(parcel, token.id), fence: parcel.text(&token.fence()) }
}

fn c_info(parcel: &mut Parcel, info: &PeerInfo) -> CPeerInfo {
    CPeerInfo {
        id: put_id(parcel, info.id),
        status: info.status.number(),
        service: u32::from(info.service),
        workload: u32::from(info.workload),
        epoch: info.epoch,
        age_ms: info.age_ms,
        suspected: c_int::from(info.suspected),
        direct: c_int::from(info.direct),
        own: c_int::from(info.own),
        label: parcel.text(info.label.as_str()),
        address: parcel.text(&info.address.map_or_else(String::new, |at| at.to_string())),
    }
}

fn c_counters(counters: &Counters) -> CCounters {
    // All fields are named here, so that a new one must be thought of.
    let Counters {
        sent,
        not_sent,
        not_received,
        heard,
        replayed,
        malformed,
        other_version,
        other_group,
        unknown_key,
        not_authentic,
        false_claims,
        conflicts,
        epoch_bumps,
        record_full,
        pauses,
        longest_gap_ms,
    } = *counters;
    CCounters {
        sent,
        not_sent,
        not_received,
        heard,
        replayed,
        malformed,
        other_version,
        other_group,
        unknown_key,
        not_authentic,
        false_claims,
        conflicts,
        epoch_bumps,
        record_full,
        pauses,
        longest_gap_ms,
    }
}
