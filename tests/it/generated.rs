//! What is generated of the Talos API's messages stands in the tree, so that no build needs the generator.

use std::collections::BTreeMap;
use std::path::Path;

use crate::run::repository;

/// The messages in `src/talos/proto`.
const FILES: [&str; 4] = ["machine.proto", "image.proto", "cosi.proto", "definitions.proto"];

/// Where they stand: what a client needs of them is the product's, what a server needs is the simulated cluster's.
const GENERATED: [(&str, bool); 2] =
    [("src/talos/proto/generated", false), ("examples/simulated-cluster/sim/generated", true)];

fn texts(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// `UPDATE_GOLDEN=1` writes them again.
#[test]
fn the_messages_are_what_their_files_say() {
    let descriptors = protox::compile(FILES, [repository("src/talos/proto")]).unwrap();
    for (folder, server) in GENERATED {
        let made = tempfile::tempdir().unwrap();
        tonic_prost_build::configure()
            .build_client(!server)
            .build_server(server)
            .build_transport(false)
            .emit_rerun_if_changed(false)
            .out_dir(made.path())
            .include_file("mod.rs")
            .compile_fds(descriptors.clone())
            .unwrap();
        let (made, path) = (texts(made.path()), repository(folder));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            for (name, text) in &made {
                std::fs::write(path.join(name), text).unwrap();
            }
        }
        assert!(
            texts(&path) == made,
            "{folder} is not what src/talos/proto says, or prost is another version: UPDATE_GOLDEN=1 cargo test --test it generated"
        );
    }
}
