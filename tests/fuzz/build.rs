// SPDX-License-Identifier: GPL-2.0

//! Compiles the part that stands in for libxtables.

fn main() {
    println!("cargo::rerun-if-changed=src/callbacks.c");
    let xtables = pkg_config::probe_library("xtables").expect("Debian's libxtables-dev");
    cc::Build::new()
        .file("src/callbacks.c")
        .includes(&xtables.include_paths)
        .warnings_into_errors(true)
        .extra_warnings(true)
        .compile("dnp3_fuzz_callbacks");
}
