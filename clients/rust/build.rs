//! Compiles the contract of policies with protox: nobody installs protoc.

#[cfg(feature = "policies")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/fastbreak/v1/policies.proto");
    let descriptors = protox::compile(["proto/fastbreak/v1/policies.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}

#[cfg(not(feature = "policies"))]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
