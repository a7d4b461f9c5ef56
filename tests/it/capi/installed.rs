//! The library as packagers and programs get it: installed by `cargo cinstall`, found by
//! `pkg-config`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{has, root, run, scratch, soname, source};
use crate::support::finish;

/// Where `cargo-cinstall` is: on the PATH, or where `.ci/run` puts it.
fn cargo_c() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools").join("bin");
    env::split_paths(&path)
        .chain([own])
        .map(|folder| folder.join("cargo-cinstall"))
        .find(|tool| tool.exists())
}

/// Goal: an installed library is linked with by what `pkg-config` says, has a soname of its
/// version, and works. Method: `cargo cinstall` into a tree of its own, the program that calls
/// everything, run from there.
#[test]
fn a_program_is_built_against_the_installed_library() {
    let Some(cargo_c) = cargo_c() else {
        crate::skipped::skip("no cargo-c (cargo install cargo-c)");
        return;
    };
    if !has("pkg-config") {
        return;
    }
    let tree = scratch().join("installed");
    _ = fs::remove_dir_all(&tree);
    // A target directory of its own: cargo has this one locked while tests are built.
    let target = scratch().join("cargo-c");
    let mut install = Command::new(cargo_c);
    install.args([
        "cinstall",
        "--offline",
        "--profile=dev",
        "--no-default-features",
        "--prefix=/usr",
        "--libdir=/usr/lib",
        "--destdir",
    ]);
    install.arg(&tree).arg("--target-dir").arg(target).current_dir(root());
    // As it is said, whoever is asked: not with what this test was built with.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_"))
    {
        if name != "CARGO_HOME" {
            install.env_remove(name);
        }
    }
    // It builds everything anew, which takes longer than anything else that is waited for here.
    let output = install.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lib = tree.join("usr/lib");
    let version = env!("CARGO_PKG_VERSION");
    let compatible = format!("libpares.so.{}", version.rsplit_once('.').unwrap().0);
    assert_eq!(soname(&lib.join("libpares.so")), compatible);
    assert_eq!(
        fs::canonicalize(lib.join(&compatible)).unwrap(),
        fs::canonicalize(lib.join("libpares.so")).unwrap()
    );
    assert!(lib.join("libpares.a").exists());
    for header in ["pares.h", "pares_peer.h", "pares_listener.h"] {
        assert!(tree.join("usr/include").join(header).exists(), "{header} is not installed");
    }

    let ask = |what: &str| {
        let mut command = Command::new("pkg-config");
        command
            .args([what, "pares"])
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig"))
            .env("PKG_CONFIG_SYSROOT_DIR", &tree);
        // Else it leaves out what is the usual place on a system.
        command.env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1").env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1");
        let said = finish(command).code(0).out;
        said.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ask("--modversion"), [version]);
    let program = scratch().join("calls-installed");
    let mut compile = Command::new("gcc");
    compile.args([
        "-std=c99",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-D_POSIX_C_SOURCE=200809L",
    ]);
    compile.args(ask("--cflags")).arg(source("calls")).arg("-o").arg(&program);
    compile.args(ask("--libs")).arg("-lpthread").arg(format!("-Wl,-rpath,{}", lib.display()));
    finish(compile).code(0).silent();
    run(&[], &program);
}
