//! Whether this host can route a service address.

use pares::route::probe;

use super::{Finding, cure, note, ok};

pub(super) fn kernel(device: &str) -> Finding {
    const CHECK: &str = "route";
    match probe(device) {
        Ok(abilities) if abilities.lasting => {
            ok(CHECK, format!("the kernel can route what enters by {device}"))
        }
        Ok(_) => note(
            CHECK,
            format!(
                "the kernel can route what enters by {device}, but not keep a table of its own"
            ),
            "start the router again after each reload of the firewall, or run Linux 6.9",
        ),
        Err(error) => cure(CHECK, error.finding(), error.remedy()),
    }
}
