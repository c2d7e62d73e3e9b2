use std::collections::BTreeMap;

use crate::registries::{Auth, read_containerd_auth};
use crate::yaml::{self, Node};

/// The part of containerd's config that Talos leaves to its user.
pub const CUSTOMIZATION: &str = "/etc/cri/conf.d/20-customization.part";
/// The name under which Talos 1.14 takes that part in.
const LEGACY_NAME: &str = "customization";

/// Returns the credentials that parts of containerd's config give it by host, those of a later part before those of an
/// earlier one. Such parts count more than what Talos makes of registries.
///
/// `file` is what stands at [`CUSTOMIZATION`] on the node, which an extension may have put there.
pub fn customized_credentials(config: &str, file: Option<&str>) -> BTreeMap<String, Auth> {
    let parts = file.map(str::to_owned).into_iter().chain(customizations(config));
    // A part that cannot be read is containerd's affair.
    parts.filter_map(|part| read_containerd_auth(&part).ok()).flatten().collect()
}

/// Returns the parts of containerd's config that a machine config has, in the order in which Talos merges them: by name
/// (Talos `config/types/cri/customization.go`).
fn customizations(config: &str) -> Vec<String> {
    let Ok(stream) = yaml::parse(config) else { return Vec::new() };
    let mut found: Vec<(String, String)> = Vec::new();
    let text = |node: &Node, key: &str| node.get(key).and_then(Node::as_str).map(str::to_owned);
    for document in &stream.documents {
        let root = &document.root;
        if text(root, "kind").as_deref() == Some("CRICustomizationConfig") {
            found.extend(text(root, "name").zip(text(root, "content")));
        }
        let files = root.at(&["machine", "files"]).map_or(&[][..], Node::items);
        for file in files.iter().filter(|file| text(file, "path").as_deref() == Some(CUSTOMIZATION)) {
            found.extend(text(file, "content").map(|content| (LEGACY_NAME.to_owned(), content)));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter().map(|(_, content)| content).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_files_and_documents_and_the_last_counts() {
        let auth = |host: &str, password: &str| {
            format!(
                "[plugins.'io.containerd.cri.v1.images'.registry.configs.'{host}'.auth]\n\
                 username = 'u'\npassword = '{password}'\n"
            )
        };
        let indent = |text: &str, by: &str| text.replace('\n', &format!("\n{by}")).trim_end().to_owned();
        let config = format!(
            "machine:\n  files:\n    - path: /etc/cri/conf.d/20-customization.part\n      op: create\n      content: |\n        {}\n\
             \x20   - path: /var/other.part\n      content: '[x]'\n---\napiVersion: v1alpha1\nkind: CRICustomizationConfig\n\
             name: zzz\ncontent: |\n  {}\n---\napiVersion: v1alpha1\nkind: CRICustomizationConfig\nname: aaa\ncontent: 'no = toml ='\n",
            indent(&auth("a", "s3cr3t-1"), "        "),
            indent(&auth("b", "s3cr3t-2"), "  ")
        );
        let found = customized_credentials(&config, Some(&auth("c", "s3cr3t-3")));
        let passwords: Vec<_> = found
            .iter()
            .map(|(host, auth)| {
                (host.as_str(), auth.password.as_ref().map(|password| password.expose().as_str()))
            })
            .collect();
        assert_eq!(passwords, [("a", Some("s3cr3t-1")), ("b", Some("s3cr3t-2")), ("c", Some("s3cr3t-3"))]);
        let twice = format!(
            "{config}---\nkind: CRICustomizationConfig\nname: document\ncontent: |\n  {}\n",
            indent(&auth("a", "s3cr3t-4"), "  ")
        );
        let found = customized_credentials(&twice, Some(&auth("a", "s3cr3t-5")));
        assert_eq!(found["a"].password.as_ref().unwrap().expose(), "s3cr3t-4", "by name, and not by place");
        assert!(customized_credentials("a: [", None).is_empty());
    }
}
