// SPDX-License-Identifier: GPL-2.0

//! Makes the bindings for libxtables and the UAPI header, compiles the C part, finds libxtables.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HEADER: &str = "../include/linux/netfilter/xt_dnp3.h";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the tools had to say.
            println!("cargo::error={}", error.to_string().replace('\n', "; "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    for path in [HEADER, "src/bindings.h", "src/shim.c"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");

    let xtables = pkg_config::Config::new()
        .atleast_version("1.8.9")
        .probe("xtables")
        .map_err(|_| {
            "pkg-config does not find xtables 1.8.9 or newer: install Debian's libxtables-dev"
        })?;
    let includes: Vec<PathBuf> = [PathBuf::from("../include")]
        .into_iter()
        .chain(xtables.include_paths)
        .collect();

    find_libclang()?;
    let bindings = bindgen::builder()
        .header("src/bindings.h")
        .clang_args(includes.iter().map(|path| format!("-I{}", path.display())))
        .allowlist_type("xtables_match|xt_fcheck_call|ipt_entry|ip6t_entry|_xt_align|xt_dnp3_.*")
        .allowlist_function("xtables_register_matches|xt_dnp3_refuse")
        .allowlist_var(
            "XTABLES_VERSION|XT_INV_PROTO|IP6T_F_PROTO|NFPROTO_IPV[46]|optarg|XT_DNP3_.*",
        )
        .opaque_type("xt_entry_match__bindgen_ty_1.*|xt_xlate.*")
        .blocklist_type("option")
        .ctypes_prefix("::libc")
        .enable_function_attribute_detection()
        .prepend_enum_name(false)
        .derive_debug(false)
        .derive_default(true)
        .layout_tests(false)
        .rust_target(bindgen::RustTarget::stable(85, 0).map_err(|_| "bindgen knows no Rust 1.85")?)
        .rust_edition(bindgen::RustEdition::Edition2021)
        .generate()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo gives no OUT_DIR")?);
    bindings.write_to_file(out.join("bindings.rs"))?;

    cc::Build::new()
        .file("src/shim.c")
        .includes(&includes)
        .warnings_into_errors(true)
        .extra_warnings(true)
        .try_compile("xt_dnp3_shim")?;
    Ok(())
}

/// bindgen loads libclang at run time, and says little when there is none. Debian keeps it where
/// nothing looks by itself, in a directory for each version: take the newest.
fn find_libclang() -> Result<(), Box<dyn Error>> {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return Ok(());
    }
    let version = |path: &Path| -> Option<u32> {
        path.parent()?
            .file_name()?
            .to_str()?
            .strip_prefix("llvm-")?
            .parse()
            .ok()
    };
    let newest = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("lib"))
        .filter(|path| path.join("libclang.so").exists() || path.join("libclang.so.1").exists())
        .filter_map(|path| Some((version(&path)?, path)))
        .max();
    match newest {
        Some((_, path)) => env::set_var("LIBCLANG_PATH", path),
        None => {
            return Err(
                "no libclang for bindgen: install Debian's libclang-19-dev, or set \
                            LIBCLANG_PATH to its directory"
                    .into(),
            )
        }
    }
    Ok(())
}
