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
        .env_metadata(false)
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

/// bindgen loads libclang at run time, and panics when there is none. Debian keeps it where nothing
/// looks by itself, in a directory for each version: take the newest.
fn find_libclang() -> Result<(), Box<dyn Error>> {
    const WANTED: &str = "install Debian's libclang-19-dev, or set LIBCLANG_PATH to its directory";
    if let Some(path) = env::var_os("LIBCLANG_PATH").map(PathBuf::from) {
        return if path.is_file() || has_libclang(&path) {
            Ok(())
        } else {
            Err(format!("no libclang in LIBCLANG_PATH {}: {WANTED}", path.display()).into())
        };
    }
    let version = |llvm: &Path| -> Option<u32> {
        llvm.file_name()?
            .to_str()?
            .strip_prefix("llvm-")?
            .parse()
            .ok()
    };
    let newest = entries("/usr/lib".as_ref())
        .filter_map(|llvm| Some((version(&llvm)?, llvm.join("lib"))))
        .filter(|(_, lib)| has_libclang(lib))
        .max();
    let (_, lib) = newest.ok_or_else(|| format!("no libclang for bindgen: {WANTED}"))?;
    env::set_var("LIBCLANG_PATH", lib);
    Ok(())
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn has_libclang(dir: &Path) -> bool {
    entries(dir).any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libclang.so") || (name.starts_with("libclang-") && name.contains(".so"))
    })
}
