//! What the program is linked with beside what Rust chooses.
//!
//! Rust links the unwinder of GCC as a shared library, and to load that one is up to a tenth of all
//! that a short command does: at its start it asks the processor what it can do, and in a virtual
//! machine each such question is a trip to the host. The static one is put before it where the
//! compiler has it. A linker that takes the shared one all the same makes a program that is slower
//! to start and does the same.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if is_for_this_machine() && has_static_unwinder() {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Another machine's compiler is not asked, and other processors have no such question.
fn is_for_this_machine() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    is("TARGET", "x86_64-unknown-linux-gnu") && is("HOST", "x86_64-unknown-linux-gnu")
}

fn has_static_unwinder() -> bool {
    // tidy: this asks the compiler before there is a program.
    let asked = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    // A compiler that does not have the file answers with its bare name.
    asked.is_ok_and(|answer| {
        let path = String::from_utf8_lossy(&answer.stdout);
        let path = Path::new(path.trim());
        path.is_absolute() && path.is_file()
    })
}
