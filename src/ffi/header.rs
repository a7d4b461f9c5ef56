//! Holds the headers in `include` to the code: every number, and the place of
//! every field, as this side has them.

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

use super::events::CEvent;
use super::number::CEnum;
use super::peer::{self, CCounters, CIdentifier, CPeerEvent, CPeerInfo, CPeerListing, CToken};
use super::registry::{CEntry, CListing, CStatus};
use super::settings::CSettings;
use super::sharing::{CUsage, CUsages};
use super::{ABI_VERSION, callback, instance, result};
use crate::event::masterless::{self, RoleCause, SuspicionCause};
use crate::event::{ContendingCause, EventKind, Role, StallCause};
use crate::wire::heartbeat::Status;
use crate::wire::{ElectionCause, Policy};

/// A C program that compiles only if the header says the same as this side.
struct Claims(String);

impl Claims {
    fn new() -> Self {
        Claims(
            "#include <stddef.h>\n#include \"pares_peer.h\"\n#include \"pares_listener.h\"\n"
                .into(),
        )
    }

    fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        writeln!(self.0, "_Static_assert({name} == {number}, \"{name} is {number}\");").unwrap();
    }

    fn numbers<E: CEnum>(&mut self) {
        E::ALL.iter().for_each(|one| self.number(one.constant, one.number));
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
    claims.numbers::<Role>();
    claims.numbers::<EventKind>();
    claims.numbers::<ContendingCause>();
    claims.numbers::<StallCause>();
    claims.numbers::<ElectionCause>();
    claims.numbers::<Policy>();
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
    claims.numbers::<Status>();
    claims.numbers::<masterless::EventKind>();
    claims.numbers::<RoleCause>();
    claims.numbers::<masterless::LeftCause>();
    claims.numbers::<SuspicionCause>();
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
        label,
        address
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
