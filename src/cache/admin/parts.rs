use std::collections::{HashMap, HashSet};
use std::io;

use crate::cache::Glob;
use crate::cache::store::{Kind, Listed, Object, Origin, Store, TagRecord};

/// Returns the name of a repository, with its registry.
pub(super) fn name(origin: &Origin) -> String {
    format!("{}/{}", origin.registry, origin.repository)
}

/// Returns the names of repositories, in their order.
pub(super) fn names(origins: &[Origin]) -> Vec<String> {
    let mut names: Vec<String> = origins.iter().map(name).collect();
    names.sort_unstable();
    names
}

/// Returns the name of an image by a tag.
pub(super) fn image(record: &TagRecord) -> String {
    format!("{}:{}", name(&record.origin), record.tag)
}

/// Returns whether a repository is meant.
pub(super) fn fits_repository(globs: &[Glob], origin: &Origin) -> bool {
    let repository = name(origin);
    globs.iter().any(|glob| glob.matches(&repository))
}

/// Returns whether something of a repository is meant by its digest.
pub(super) fn fits_digest(globs: &[Glob], origin: &Origin, object: &Object) -> bool {
    let named = format!("{}@{}", name(origin), object.digest);
    object.kind == Kind::Manifest && globs.iter().any(|glob| glob.matches(&named))
}

/// Returns whether a tag is meant: by its repository, its name, or what it stands for.
pub(super) fn fits_tag(globs: &[Glob], record: &TagRecord) -> bool {
    let named = image(record);
    globs.iter().any(|glob| glob.matches(&named))
        || fits_repository(globs, &record.origin)
        || fits_digest(globs, &record.origin, &Object::manifest(record.digest))
}

/// Returns what each stored manifest is made of.
pub(super) async fn parts(store: &dyn Store, all: &[Listed]) -> io::Result<HashMap<Object, Vec<Object>>> {
    let mut parts = HashMap::new();
    for listed in all.iter().filter(|listed| listed.object.kind == Kind::Manifest) {
        let Some(document) = store.manifest(&listed.object.digest).await? else { continue };
        parts.insert(listed.object, document.parts());
    }
    Ok(parts)
}

/// Returns some objects and all that they are made of.
pub(super) fn reachable(from: Vec<Object>, parts: &HashMap<Object, Vec<Object>>) -> HashSet<Object> {
    let (mut seen, mut queue) = (HashSet::new(), from);
    while let Some(object) = queue.pop() {
        if seen.insert(object) {
            queue.extend(parts.get(&object).into_iter().flatten());
        }
    }
    seen
}
