//! `pares_registry_*`: who is there, and the state of the group.

use std::ffi::{c_char, c_int};

use super::given::{Handle, Slot, Text};
use super::instance::Member;
use super::number::CEnum;
use super::parcel::Parcel;
use super::result::guarded;
use crate::client::Listing;
use crate::wire::{Entry, Status};

/// `pares_entry`, in the layout of `pares.h`.
#[repr(C)]
pub(super) struct CEntry {
    pub(super) name: *const c_char,
    pub(super) id: u64,
    pub(super) joined_ms: u64,
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) admin_port: u32,
    pub(super) role: c_int,
    pub(super) meta_count: usize,
    pub(super) meta_keys: *const *const c_char,
    pub(super) meta_values: *const *const c_char,
    pub(super) function_count: usize,
    pub(super) functions: *const *const c_char,
}

/// `pares_listing`.
#[repr(C)]
pub(super) struct CListing {
    pub(super) term: u64,
    pub(super) settled: c_int,
    pub(super) supervisor: *const c_char,
    pub(super) count: usize,
    pub(super) entries: *const *const CEntry,
}

/// `pares_status`.
#[repr(C)]
pub(super) struct CStatus {
    pub(super) group: *const c_char,
    pub(super) supervisor: *const c_char,
    pub(super) term: u64,
    pub(super) members: u64,
    pub(super) since_ms: u64,
    pub(super) port: u32,
    pub(super) supervisor_admin_port: u32,
    pub(super) registry_port: u32,
    pub(super) settled: c_int,
    pub(super) cause: c_int,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_registry_list(
    instance: Handle<Member>,
    timeout_ms: u64,
    listing_out: Slot<*const CListing>,
) -> c_int {
    guarded(|| {
        let listing_out = listing_out.open("listing_out")?;
        let listing = instance.get("instance")?.client(timeout_ms).list()?;
        listing_out.set(hand_out(&listing));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_registry_look_up(
    instance: Handle<Member>,
    name: Text,
    timeout_ms: u64,
    listing_out: Slot<*const CListing>,
) -> c_int {
    guarded(|| {
        let listing_out = listing_out.open("listing_out")?;
        let name = name.get("name")?;
        let listing = instance.get("instance")?.client(timeout_ms).look_up(name)?;
        listing_out.set(hand_out(&listing));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_registry_status(
    instance: Handle<Member>,
    timeout_ms: u64,
    status_out: Slot<*const CStatus>,
) -> c_int {
    guarded(|| {
        let status_out = status_out.open("status_out")?;
        let status = instance.get("instance")?.client(timeout_ms).status()?;
        status_out.set(hand_out_status(&status));
        Ok(())
    })
}

fn hand_out(listing: &Listing) -> *const CListing {
    let mut parcel = Parcel::default();
    let entries = listing.entries.iter().map(|entry| put(&mut parcel, listing, entry)).collect();
    let c_listing = CListing {
        term: listing.term,
        settled: c_int::from(listing.settled),
        supervisor: parcel.text(&listing.supervisor),
        count: listing.entries.len(),
        entries: parcel.list(entries),
    };
    parcel.hand_out(c_listing)
}

fn put(parcel: &mut Parcel, listing: &Listing, entry: &Entry) -> *const CEntry {
    let c_entry = CEntry {
        name: parcel.text(&entry.name),
        id: entry.id,
        joined_ms: entry.joined_ms,
        pid: entry.pid,
        uid: entry.uid,
        admin_port: u32::from(entry.admin_port),
        role: listing.role(&entry.name).number(),
        meta_count: entry.meta.len(),
        meta_keys: parcel.texts(entry.meta.iter().map(|(key, _)| key.as_str())),
        meta_values: parcel.texts(entry.meta.iter().map(|(_, value)| value.as_str())),
        function_count: entry.functions.len(),
        functions: parcel.texts(entry.functions.iter().map(String::as_str)),
    };
    parcel.one(c_entry)
}

fn hand_out_status(status: &Status) -> *const CStatus {
    let mut parcel = Parcel::default();
    let c_status = CStatus {
        group: parcel.text(&status.group),
        supervisor: parcel.text(&status.supervisor),
        term: status.term,
        members: u64::from(status.members),
        since_ms: status.since_ms,
        port: u32::from(status.port),
        supervisor_admin_port: u32::from(status.supervisor_admin_port),
        registry_port: u32::from(status.registry_port),
        settled: c_int::from(status.settled),
        cause: status.cause.number(),
    };
    parcel.hand_out(c_status)
}
