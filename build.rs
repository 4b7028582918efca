//! Tells the linker where to put the code that each statement runs: see src/hot.ld.

fn main() {
    println!("cargo:rerun-if-changed=src/hot.ld");
    let target = std::env::var("CARGO_CFG_TARGET_OS");
    if target.as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{}/src/hot.ld", env!("CARGO_MANIFEST_DIR"));
    }
}
