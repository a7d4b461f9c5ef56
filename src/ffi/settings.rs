//! What instances share by word: settings and messages.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};

use super::given::{Data, Handle, Slot, Text};
use super::instance::Member;
use super::parcel::Parcel;
use super::result::{Code, Failure, guarded};
use super::table::hand_out_bytes;
use super::time;
use crate::error::SettingError;
use crate::net::rt::clock::deadline;

/// `pares_settings`, in the layout of `pares.h`.
#[repr(C)]
pub(super) struct CSettings {
    pub(super) count: usize,
    pub(super) keys: *const *const c_char,
    pub(super) values: *const *const c_char,
    pub(super) value_bytes: *const usize,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_setting_get(
    instance: Handle<Member>,
    key: Text,
    value_out: Slot<*const c_char>,
    value_bytes_out: Slot<usize>,
) -> c_int {
    guarded(|| {
        let (value_out, bytes_out) = (value_out.open("value_out")?, value_bytes_out.optional());
        let key = key.get("key")?;
        let value = instance.get("instance")?.instance.get(key);
        let value = value.ok_or_else(|| {
            Failure::new(Code::NotFound, format!("the setting {key:?} is not set"))
        })?;
        bytes_out.into_iter().for_each(|out| out.set(value.len()));
        value_out.set(hand_out_bytes(value.into_bytes()).cast());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_setting_set(
    instance: Handle<Member>,
    key: Text,
    value: Text,
    timeout_ms: u64,
) -> c_int {
    guarded(|| {
        let (key, value) = (key.get("key")?, value.get("value")?);
        Ok(instance.get("instance")?.client(timeout_ms).set(key, value)?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_setting_unset(
    instance: Handle<Member>,
    key: Text,
    timeout_ms: u64,
) -> c_int {
    guarded(|| {
        let key = key.get("key")?;
        Ok(instance.get("instance")?.client(timeout_ms).unset(key)?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_setting_compare_and_set(
    instance: Handle<Member>,
    key: Text,
    expected: Text,
    value: Text,
    timeout_ms: u64,
    present_out: Slot<*const c_char>,
) -> c_int {
    guarded(|| {
        let present_out = present_out.optional();
        let (key, expected, value) =
            (key.get("key")?, expected.optional("expected")?, value.get("value")?);
        let member = instance.get("instance")?;
        let outcome = member.client(timeout_ms).compare_and_set(key, expected, value);
        if let (Err(SettingError::Changed { present: Some(present), .. }), Some(out)) =
            (&outcome, present_out)
        {
            out.set(hand_out_bytes(present.clone().into_bytes()).cast());
        }
        Ok(outcome?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_setting_list(
    instance: Handle<Member>,
    settings_out: Slot<*const CSettings>,
) -> c_int {
    guarded(|| {
        let settings_out = settings_out.open("settings_out")?;
        settings_out.set(hand_out(&instance.get("instance")?.instance.settings()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_broadcast(
    instance: Handle<Member>,
    topic: Text,
    payload: Data,
    payload_bytes: usize,
    timeout_ms: u64,
    receivers_out: Slot<u64>,
) -> c_int {
    guarded(|| {
        let receivers_out = receivers_out.optional();
        let (topic, payload) = (topic.get("topic")?, payload.bytes(payload_bytes, "payload")?);
        let receivers = instance.get("instance")?.instance.broadcast_until(
            topic,
            payload,
            deadline(time(timeout_ms)),
        )?;
        receivers_out.into_iter().for_each(|out| out.set(receivers));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_send(
    instance: Handle<Member>,
    name: Text,
    topic: Text,
    payload: Data,
    payload_bytes: usize,
    timeout_ms: u64,
) -> c_int {
    guarded(|| {
        let (name, topic) = (name.get("name")?, topic.get("topic")?);
        let payload = payload.bytes(payload_bytes, "payload")?;
        Ok(instance.get("instance")?.instance.send_until(
            name,
            topic,
            payload,
            deadline(time(timeout_ms)),
        )?)
    })
}

fn hand_out(settings: &BTreeMap<String, String>) -> *const CSettings {
    let mut parcel = Parcel::default();
    let values =
        settings.values().map(|value| parcel.bytes(value.clone().into_bytes()).cast()).collect();
    let c_settings = CSettings {
        count: settings.len(),
        keys: parcel.texts(settings.keys().map(String::as_str)),
        values: parcel.list(values),
        value_bytes: parcel.list(settings.values().map(String::len).collect()),
    };
    parcel.hand_out(c_settings)
}
