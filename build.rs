//! Has the crate compiled again where the pages that a release build carries have changed: the compiler looks at the files
//! that it knows, and not at new ones.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Where there are debug assertions, `rust-embed` reads the pages when the server runs.
    if env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_none() {
        // What is not there would count as changed at every build.
        let watched = if Path::new("web/dist").exists() {
            "web/dist"
        } else {
            "web"
        };
        println!("cargo::rerun-if-changed={watched}");
    }
}
