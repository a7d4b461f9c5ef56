//! Names the shared library for the linker, as `cargo cinstall` does.
//!
//! A program that was linked with it remembers this name, and so never loads a later one that is
//! not compatible: before 1.0 each minor version may change the interface, after it each major one.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let says = |name: &str| env::var(name).unwrap_or_default();
    // Mach-O and PE have names of their own making.
    if says("CARGO_CFG_TARGET_FAMILY") != "unix" || says("CARGO_CFG_TARGET_VENDOR") == "apple" {
        return;
    }
    let (major, minor) = (says("CARGO_PKG_VERSION_MAJOR"), says("CARGO_PKG_VERSION_MINOR"));
    let version = if major == "0" { format!("0.{minor}") } else { major };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libpares.so.{version}");
}
