//! Makes Rust of the Talos API's messages. Servers are made for tests only, into a directory of their own.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FOLDER: &str = "src/talos/proto";
    const FILES: [&str; 4] = ["machine.proto", "image.proto", "cosi.proto", "definitions.proto"];
    println!("cargo::rerun-if-changed={FOLDER}");
    let descriptors = protox::compile(FILES, [FOLDER])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    for (name, server) in [("client", false), ("server", true)] {
        let folder = out.join(name);
        std::fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_client(!server)
            .build_server(server)
            .build_transport(false)
            .out_dir(&folder)
            .include_file("mod.rs")
            .compile_fds(descriptors.clone())?;
    }
    Ok(())
}
