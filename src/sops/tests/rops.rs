//! rops as a second reader of what we write. It takes keys from the environment only, so a test process of its own reads.
use std::process::{Command, Stdio};
use std::str::FromStr;

use ::rops::cryptography::{cipher::AES256GCM, hasher::SHA512};
use ::rops::file::RopsFile;
use ::rops::file::format::YamlFileFormat;
use ::rops::file::state::EncryptedFile;

use super::*;

#[test]
fn rops_reads_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let plain = vector("plain/v1alpha1.yaml");
    std::fs::write(folder.path().join("x.yaml"), sealed(&plain, REGISTRY)).unwrap();
    let key =
        vector("keys.txt").lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sops::tests::rops::reader", "--ignored"])
        .env("ROPS_AGE", key)
        .env("TALMIRROR_ROPS_FOLDER", folder.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let read = std::fs::read_to_string(folder.path().join("out.yaml")).unwrap();
    let mut tree = trees(&read).remove(0);
    assert!(tree.as_object_mut().unwrap().remove("sops").is_some());
    assert_eq!([tree], trees(&plain)[..], "{read}");
}

#[test]
#[ignore = "the other half of rops_reads_what_we_write"]
fn reader() {
    let Some(folder) = std::env::var_os("TALMIRROR_ROPS_FOLDER").map(PathBuf::from) else { return };
    let text = std::fs::read_to_string(folder.join("x.yaml")).unwrap();
    let file = RopsFile::<EncryptedFile<AES256GCM, SHA512>, YamlFileFormat>::from_str(&text).unwrap();
    let map = file.decrypt::<YamlFileFormat>().unwrap();
    std::fs::write(folder.join("out.yaml"), map.to_string()).unwrap();
}
