use super::local::Object;
use super::record::Document;
use crate::oci::Manifest;

impl Document {
    /// Returns what the manifest is made of; nothing where it is of an unknown kind.
    pub fn parts(&self) -> Vec<Object> {
        let Ok(manifest) = Manifest::parse(&self.bytes, Some(&self.media_type)) else { return Vec::new() };
        let children = manifest.children().iter().map(|child| Object::manifest(child.digest));
        let blobs = manifest.blobs().map(|blob| Object::blob(blob.digest));
        children.chain(blobs).collect()
    }
}
