use std::path::Path;

use super::answers::{Answers, PasswordFrom};
use crate::sops::REGISTRY_RULE;
use crate::template;
use crate::yaml::scalar;

/// Returns the inventory that answers make.
pub(super) fn inventory_text(answers: &Answers) -> String {
    let quoted = |text: &str| scalar(text, 0);
    let mut mirror = String::new();
    if answers.kind == "harbor" {
        let project = answers.project.as_deref().unwrap_or("{registry}");
        mirror.push_str(
            "        # Harbor's project for a registry; free names go into `projects: {docker.io: hub}`.\n",
        );
        mirror.push_str(&format!("        project: {}\n", quoted(project)));
    }
    if let Some((username, from)) = &answers.credentials {
        mirror.push_str(&format!("        credentials:\n            username: {}\n", quoted(username)));
        let list =
            |argv: &[String]| argv.iter().map(|word| quoted_in_flow(word)).collect::<Vec<_>>().join(", ");
        mirror.push_str(&match from {
            PasswordFrom::Env(name) => {
                format!("            passwordFrom: {{env: {}}}\n", quoted_in_flow(name))
            }
            PasswordFrom::File(file) => {
                format!("            passwordFrom: {{file: {}}}\n", quoted_in_flow(file))
            }
            PasswordFrom::Command(argv) => {
                format!("            passwordFrom: {{command: [{}]}}\n", list(argv))
            }
            PasswordFrom::Inline(secret) => format!("            password: {}\n", quoted(secret.expose())),
        });
    }
    let registries: String =
        answers.registries.iter().map(|name| format!("    {}: {{}}\n", quoted(name))).collect();
    let nodes: String = answers
        .nodes
        .iter()
        .map(|node| {
            let (name, address) = node.split_once('=').unwrap_or((node, node));
            format!("    {}: {{address: {}}}\n", quoted(name), quoted_in_flow(address))
        })
        .collect();
    let nodes = if nodes.is_empty() { nodes } else { format!("nodes:\n{nodes}") };
    let version = answers.talos_version.as_ref().map(|version| format!("version: {version}"));
    let context = answers.context.as_ref().map(|context| format!("context: {}", quoted_in_flow(context)));
    let talos: Vec<String> = version.into_iter().chain(context).collect();
    let talos = if talos.is_empty() { String::new() } else { format!("talos: {{{}}}", talos.join(", ")) };
    let values = [
        ("talos", talos),
        ("name", answers.name.as_ref().map_or_else(|| answers.kind.clone(), |name| quoted(name))),
        ("kind", answers.kind.clone()),
        ("url", quoted(&answers.url)),
        ("mirror", mirror),
        ("registries", registries),
        ("fallback", answers.fallback.clone()),
        ("nodes", nodes),
    ];
    template::render(template::INVENTORY, &values)
}

/// Writes a string so that it may stand between `{` and `}`.
fn quoted_in_flow(text: &str) -> String {
    let plain = scalar(text, 0);
    if plain.starts_with(['"', '\'']) || !plain.contains([',', '[', ']', '{', '}', ' ']) {
        plain
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Returns a `.sops.yaml` for an inventory.
pub(super) fn sops_text(file: &str, recipients: &[String]) -> String {
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or("mirrors.yaml");
    let pattern = format!(r"(^|/)({}|[^/]*\.sops\.ya?ml)$", regex::escape(name));
    let values = [
        ("path_regex", scalar(&pattern, 0)),
        ("rule", REGISTRY_RULE.to_owned()),
        ("recipients", scalar(&recipients.join(","), 0)),
    ];
    template::render(template::SOPS, &values)
}
