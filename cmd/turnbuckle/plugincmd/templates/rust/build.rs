//! Makes the stubs of the gateway's .proto files, which are in proto/, or where this repository has them.

use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let folder = if Path::new("proto").is_dir() { "proto" } else { "../../proto" };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("Cargo sets it"));
    println!("cargo:rerun-if-changed={folder}/plugin/v1");
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::pluginserver::codec::Lenient")
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_with_config(config, &[format!("{folder}/plugin/v1/plugin.proto")], &[folder.to_string()])
}
