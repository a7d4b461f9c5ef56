//! What instances share by number: permits, tallies, and the use of resources.

use std::ffi::{c_char, c_int};

use super::given::{Handle, Slot, Text};
use super::instance::Member;
use super::parcel::Parcel;
use super::result::{asked, guarded};
use super::table::table;
use super::time;
use crate::event::Usage;
use crate::permit::Permit;
use crate::tally::Tally;

/// `pares_usage`, in the layout of `pares.h`.
#[repr(C)]
pub(super) struct CUsage {
    pub(super) resource: *const c_char,
    pub(super) has_limit: c_int,
    pub(super) limit: u64,
    pub(super) in_use: u64,
    pub(super) waiting: u64,
    pub(super) holder_count: usize,
    pub(super) holder_names: *const *const c_char,
    pub(super) holder_units: *const u64,
}

/// `pares_usages`.
#[repr(C)]
pub(super) struct CUsages {
    pub(super) count: usize,
    pub(super) usages: *const *const CUsage,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_acquire(
    instance: Handle<Member>,
    resource: Text,
    units: u64,
    timeout_ms: u64,
    permit_out: Slot<Handle<Permit>>,
) -> c_int {
    guarded(|| {
        let permit_out = permit_out.open("permit_out")?;
        let resource = resource.get("resource")?;
        let permit = instance.get("instance")?.instance.acquire_timeout(
            resource,
            units,
            time(timeout_ms),
        )?;
        permit_out.set(Handle::of(table().add(permit)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_try_acquire(
    instance: Handle<Member>,
    resource: Text,
    units: u64,
    permit_out: Slot<Handle<Permit>>,
) -> c_int {
    guarded(|| {
        let permit_out = permit_out.open("permit_out")?;
        let resource = resource.get("resource")?;
        let permit = instance.get("instance")?.instance.try_acquire(resource, units)?;
        permit_out.set(Handle::of(table().add(permit)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_permit_id(permit: Handle<Permit>, id_out: Slot<u64>) -> c_int {
    guarded(|| {
        let id_out = id_out.open("id_out")?;
        id_out.set(permit.get("permit")?.id());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_permit_is_valid(permit: Handle<Permit>) -> c_int {
    asked(false, || Ok(permit.get("permit")?.is_valid()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_permit_release(permit: Handle<Permit>) -> c_int {
    guarded(|| permit.take().map(drop))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_tally_open(
    instance: Handle<Member>,
    resource: Text,
    tally_out: Slot<Handle<Tally>>,
) -> c_int {
    guarded(|| {
        let tally_out = tally_out.open("tally_out")?;
        let resource = resource.get("resource")?;
        let tally = instance.get("instance")?.instance.tally(resource)?;
        tally_out.set(Handle::of(table().add(tally)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_tally_add(
    tally: Handle<Tally>,
    units: u64,
    count_out: Slot<u64>,
) -> c_int {
    guarded(|| {
        let count_out = count_out.optional();
        let count = tally.get("tally")?.add(units);
        count_out.into_iter().for_each(|out| out.set(count));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_tally_sub(
    tally: Handle<Tally>,
    units: u64,
    count_out: Slot<u64>,
) -> c_int {
    guarded(|| {
        let count_out = count_out.optional();
        let count = tally.get("tally")?.sub(units);
        count_out.into_iter().for_each(|out| out.set(count));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_tally_count(tally: Handle<Tally>, count_out: Slot<u64>) -> c_int {
    guarded(|| {
        let count_out = count_out.open("count_out")?;
        count_out.set(tally.get("tally")?.count());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_tally_total(
    tally: Handle<Tally>,
    timeout_ms: u64,
    total_out: Slot<u64>,
) -> c_int {
    guarded(|| {
        let total_out = total_out.open("total_out")?;
        total_out.set(tally.get("tally")?.with_timeout(time(timeout_ms)).total()?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_tally_free(tally: Handle<Tally>) -> c_int {
    guarded(|| tally.take().map(drop))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_usage_list(
    instance: Handle<Member>,
    resource: Text,
    timeout_ms: u64,
    usages_out: Slot<*const CUsages>,
) -> c_int {
    guarded(|| {
        let usages_out = usages_out.open("usages_out")?;
        let resource = resource.optional("resource")?;
        let member = instance.get("instance")?;
        let usages = match resource {
            Some(resource) => vec![member.client(timeout_ms).usage_of(resource)?],
            None => member.client(timeout_ms).usage()?,
        };
        usages_out.set(hand_out(&usages));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_set_limit(
    instance: Handle<Member>,
    resource: Text,
    limit: u64,
    timeout_ms: u64,
) -> c_int {
    guarded(|| {
        let resource = resource.get("resource")?;
        Ok(instance.get("instance")?.client(timeout_ms).set_limit(resource, limit)?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_revoke(
    instance: Handle<Member>,
    resource: Text,
    holder: Text,
    timeout_ms: u64,
    permits_out: Slot<u64>,
) -> c_int {
    guarded(|| {
        let permits_out = permits_out.optional();
        let (resource, holder) = (resource.get("resource")?, holder.get("holder")?);
        let permits = instance.get("instance")?.client(timeout_ms).revoke(resource, holder)?;
        permits_out.into_iter().for_each(|out| out.set(permits));
        Ok(())
    })
}

fn hand_out(usages: &[Usage]) -> *const CUsages {
    let mut parcel = Parcel::default();
    let list = usages.iter().map(|usage| put(&mut parcel, usage)).collect();
    let c_usages = CUsages { count: usages.len(), usages: parcel.list(list) };
    parcel.hand_out(c_usages)
}

fn put(parcel: &mut Parcel, usage: &Usage) -> *const CUsage {
    let c_usage = CUsage {
        resource: parcel.text(&usage.resource),
        has_limit: c_int::from(usage.limit.is_some()),
        limit: usage.limit.unwrap_or_default(),
        in_use: usage.in_use,
        waiting: u64::from(usage.waiting),
        holder_count: usage.holders.len(),
        holder_names: parcel.texts(usage.holders.iter().map(|one| one.name.as_str())),
        holder_units: parcel.list(usage.holders.iter().map(|one| one.units).collect()),
    };
    parcel.one(c_usage)
}
