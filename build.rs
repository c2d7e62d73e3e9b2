//! Tells the commit that a release is built from.

/// Returns the commit that a release is built from; other builds are not built again for every commit.
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

fn main() {
    println!("cargo::rustc-env=TALMIRROR_COMMIT={}", commit());
}
