//! Holds `include/pares.h` and `include/pares_peer.h` to the code: every number, and the place of
//! every field, as this side has them.

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

use super::events::{CEvent, KINDS};
use super::peer::{self, CCounters, CIdentifier, CPeerEvent, CPeerInfo, CPeerListing, CToken};
use super::registry::{CEntry, CListing, CStatus};
use super::settings::CSettings;
use super::sharing::{CUsage, CUsages};
use super::{ABI_VERSION, callback, instance, result};
use crate::event::{ContendingCause, Role};

/// A C program that compiles only if the header says the same as this side.
struct Claims(String);

impl Claims {
    fn new() -> Self {
        Claims("#include <stddef.h>\n#include \"pares_peer.h\"\n".into())
    }

    fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        writeln!(self.0, "_Static_assert({name} == {number}, \"{name} is {number}\");").unwrap();
    }
}

macro_rules! layout {
    ($claims:ident, $rust:ident, $c:literal, $($field:ident),*) => {
        $(
            let offset = format!("offsetof({}, {})", $c, stringify!($field));
            $claims.number(&offset, offset_of!($rust, $field));
        )*
        $claims.number(&format!("sizeof({})", $c), size_of::<$rust>());
        // All fields are named here, so that a new one must be thought of.
        _ = |all: &$rust| { let $rust { $($field: _),* } = all; };
    };
}

fn claims() -> String {
    let mut claims = Claims::new();
    claims.number("PARES_ABI_VERSION", ABI_VERSION);
    claims.number("PARES_FOR_EVER", "0xffffffffffffffffu");
    for (number, name) in result::names() {
        claims.number(name.to_str().unwrap(), number);
    }
    for (role, name) in [
        (Role::Supervisor, "PARES_ROLE_SUPERVISOR"),
        (Role::Subordinate, "PARES_ROLE_SUBORDINATE"),
        (Role::Contending, "PARES_ROLE_CONTENDING"),
        (Role::Stopped, "PARES_ROLE_STOPPED"),
    ] {
        claims.number(name, instance::role_number(role));
        assert_eq!(
            instance::role_name(instance::role_number(role)).to_str().unwrap(),
            role.as_str()
        );
    }
    for (number, name) in KINDS {
        claims.number(&format!("PARES_EVENT_{}", constant(name.to_str().unwrap())), number);
    }
    for cause in [
        ContendingCause::SupervisorDied,
        ContendingCause::SupervisorLeft,
        ContendingCause::SteppedDown,
        ContendingCause::Evicted,
    ] {
        claims.number(
            &format!("PARES_CAUSE_{}", constant(&cause.to_string())),
            super::events::cause_number(&cause),
        );
    }
    let obstructed = super::events::cause_number(&ContendingCause::Obstructed {
        finding: String::new(),
        remedy: String::new(),
        settings: &[],
    });
    claims.number("PARES_CAUSE_OBSTRUCTED", obstructed);
    use crate::event::StallCause;
    for cause in [
        StallCause::Stopped,
        StallCause::DumpingCore,
        StallCause::Starved,
        StallCause::Silent,
        StallCause::NoProgress,
    ] {
        claims.number(
            &format!("PARES_STALLED_{}", constant(cause.as_str())),
            super::events::stall_number(cause),
        );
    }
    use crate::wire::ElectionCause;
    for (cause, name) in [
        (ElectionCause::Started, "PARES_ELECTED_FIRST"),
        (ElectionCause::Died, "PARES_ELECTED_AFTER_DEATH"),
        (ElectionCause::SteppedDown, "PARES_ELECTED_AFTER_STEP_DOWN"),
        (ElectionCause::Left, "PARES_ELECTED_AFTER_LEAVE"),
    ] {
        claims.number(name, super::registry::cause_number(cause));
    }
    claim_peers(&mut claims);
    layout!(
        claims,
        CEvent,
        "pares_event",
        kind,
        cause,
        monotonic_ns,
        term,
        members,
        permit,
        units,
        in_use,
        limit,
        missed,
        name,
        resource,
        key,
        value,
        value_bytes,
        topic,
        payload,
        payload_bytes,
        text
    );
    layout!(
        claims,
        CEntry,
        "pares_entry",
        name,
        id,
        joined_ms,
        pid,
        uid,
        admin_port,
        role,
        meta_count,
        meta_keys,
        meta_values,
        function_count,
        functions
    );
    layout!(claims, CListing, "pares_listing", term, settled, supervisor, count, entries);
    layout!(
        claims,
        CStatus,
        "pares_status",
        group,
        supervisor,
        term,
        members,
        since_ms,
        port,
        supervisor_admin_port,
        registry_port,
        settled,
        cause
    );
    layout!(
        claims,
        CUsage,
        "pares_usage",
        resource,
        has_limit,
        limit,
        in_use,
        waiting,
        holder_count,
        holder_names,
        holder_units
    );
    layout!(claims, CUsages, "pares_usages", count, usages);
    layout!(claims, CSettings, "pares_settings", count, keys, values, value_bytes);
    claims.number("sizeof(pares_function)", size_of::<callback::Function>());
    claims.number("sizeof(pares_free_user)", size_of::<callback::FreeUser>());
    claims.number("sizeof(pares_job_function)", size_of::<instance::JobFunction>());
    claims.0
}

fn claim_peers(claims: &mut Claims) {
    use crate::event::masterless::{LeftCause, RoleCause, SuspicionCause};
    use crate::wire::heartbeat::Status;
    for status in [
        Status::Joining,
        Status::Standby,
        Status::ToBecomePrimary,
        Status::Primary,
        Status::Leaving,
    ] {
        let number = peer::status_number(status);
        claims.number(&format!("PARES_PEER_{}", constant(&status.to_string())), number);
        assert_eq!(peer::status_name(number).to_str().unwrap(), status.to_string());
    }
    for (number, name) in peer::PEER_KINDS {
        claims.number(&format!("PARES_PEER_EVENT_{}", constant(name.to_str().unwrap())), number);
    }
    for cause in [
        RoleCause::Started,
        RoleCause::Admitted,
        RoleCause::Vacant,
        RoleCause::Failover,
        RoleCause::Preempt,
        RoleCause::Unopposed,
        RoleCause::Named,
        RoleCause::Outranked,
        RoleCause::Refuted,
        RoleCause::Unyielding,
        RoleCause::Barred,
        RoleCause::HandedOver,
        RoleCause::Overdue,
        RoleCause::Superseded,
        RoleCause::Unheard,
        RoleCause::Paused,
        RoleCause::NoQuorum,
        RoleCause::Collision,
        RoleCause::Surplus,
        RoleCause::Left,
        RoleCause::CannotSend,
    ] {
        claims.number(
            &format!("PARES_ROLE_CAUSE_{}", constant(&cause.to_string())),
            peer::role_cause_number(cause),
        );
    }
    for cause in [LeftCause::Left, LeftCause::Died, LeftCause::Forgotten] {
        claims.number(
            &format!("PARES_PEER_{}", constant(&cause.to_string())),
            peer::left_cause_number(cause),
        );
    }
    for cause in [SuspicionCause::Silent, SuspicionCause::Ended] {
        let number = peer::suspicion_cause_number(cause);
        claims.number(&format!("PARES_SUSPICION_{}", constant(&cause.to_string())), number);
    }
    layout!(claims, CIdentifier, "pares_identifier", text, tail, rank, sequence);
    layout!(claims, CToken, "pares_token", epoch, id, fence);
    layout!(
        claims,
        CPeerInfo,
        "pares_peer_info",
        id,
        status,
        service,
        workload,
        epoch,
        age_ms,
        suspected,
        direct,
        own,
        label
    );
    layout!(claims, CPeerListing, "pares_peer_listing", count, peers);
    layout!(
        claims,
        CCounters,
        "pares_counters",
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
        longest_gap_ms
    );
    layout!(
        claims,
        CPeerEvent,
        "pares_peer_event",
        kind,
        cause,
        monotonic_ns,
        from,
        to,
        token,
        id,
        service,
        origin,
        within_ms,
        for_ms,
        missed,
        text,
        label
    );
    claims.number("sizeof(pares_workload_function)", size_of::<peer::WorkloadFunction>());
}

fn constant(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

/// Goal: no number and no layout in the header differs from the code's.
/// Method: a C program of static assertions, made here, and the compiler.
#[test]
#[cfg_attr(miri, ignore = "it runs a compiler")]
fn the_header_has_the_numbers_and_layouts_of_the_code() {
    let claims = claims();
    // Each constant of the header is among them.
    let header =
        concat!(include_str!("../../include/pares.h"), include_str!("../../include/pares_peer.h"));
    let mut constants = 0;
    for line in header.lines().filter(|line| line.starts_with("    PARES_") && line.contains(" = "))
    {
        let name = line.split_whitespace().next().unwrap();
        assert!(claims.contains(&format!("({name} == ")), "{name} is not compared");
        constants += 1;
    }
    assert!(constants > 50, "only {constants} constants found");
    let file = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
    std::fs::write(&file, claims).unwrap();
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let compiler = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I", include])
        .arg(file.path())
        .output();
    match compiler {
        Err(error) => crate::skipped::skip(format_args!("no C compiler: {error}")),
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr))
        }
    }
}
