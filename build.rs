//! Makes Rust of the Talos API's messages, and tells the commit. Servers are made for tests only, into a directory of
//! their own.

/// Tells the commit that a release is built from; other builds are not built again for every commit.
fn commit() -> String {
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!("cargo::rerun-if-env-changed=TALMIRROR_COMMIT");
    if let Ok(commit) = std::env::var("TALMIRROR_COMMIT") {
        return commit;
    }
    if !release {
        return "not a release".to_owned();
    }
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    for file in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12"]).unwrap_or_else(|| "unknown".to_owned())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FOLDER: &str = "src/talos/proto";
    const FILES: [&str; 4] = ["machine.proto", "image.proto", "cosi.proto", "definitions.proto"];
    println!("cargo::rustc-env=TALMIRROR_COMMIT={}", commit());
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
