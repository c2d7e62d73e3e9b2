//! Renders what lies in `templates/`.

/// The inventory that `init` writes.
pub const INVENTORY: &str = include_str!("../../templates/mirrors.yaml");
/// The `.sops.yaml` that `init` writes.
pub const SOPS: &str = include_str!("../../templates/sops.yaml");
/// The CI workflow that `init` writes.
pub const WORKFLOW: &str = include_str!("../../templates/workflow.yaml");

/// The values of Harbor's official chart, as a mirror needs them.
pub const HARBOR_VALUES: &str = include_str!("../../templates/harbor/values.yaml");
/// The namespace that Harbor runs in, which enforces Pod Security `restricted`.
pub const HARBOR_NAMESPACE: &str = include_str!("../../templates/harbor/namespace.yaml");
/// Harbor as a `HelmRelease` of Flux, with its `HelmRepository`.
pub const HARBOR_FLUX: &str = include_str!("../../templates/harbor/flux.yaml");
/// Harbor as an `Application` of Argo CD.
pub const HARBOR_ARGO: &str = include_str!("../../templates/harbor/argo.yaml");
/// What lets the API server ask the ingress controller, as a `NetworkPolicy`.
pub const HARBOR_NETWORK_POLICY: &str = include_str!("../../templates/harbor/networkpolicy.yaml");
/// The same as a `CiliumNetworkPolicy`.
pub const HARBOR_CILIUM_POLICY: &str = include_str!("../../templates/harbor/cilium.yaml");

/// Indents every line that holds anything.
pub fn indented(text: &str, columns: usize) -> String {
    let pad = " ".repeat(columns);
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{pad}{line}\n") })
        .collect()
}

/// Fills `{{name}}`; a line that holds nothing but a name whose value is empty goes.
///
/// What belongs to others, such as `${{ secrets.X }}`, has blanks inside its braces and stays.
pub fn render(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    for line in template.lines() {
        let own_line = values.iter().find(|(name, _)| line.trim() == format!("{{{{{name}}}}}"));
        if own_line.is_some_and(|(_, value)| value.is_empty()) {
            continue;
        }
        let filled = values
            .iter()
            .fold(line.to_owned(), |line, (name, value)| line.replace(&format!("{{{{{name}}}}}"), value));
        out.push_str(filled.trim_end_matches('\n'));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_and_drops() {
        let values = [("a", "1".to_owned()), ("b", String::new()), ("c", "x:\n    y: 2\n".to_owned())];
        let text = render("k: {{a}}\n{{b}}\n{{c}}\nz: ${{ secrets.X }} {{a}}\n", &values);
        assert_eq!(text, "k: 1\nx:\n    y: 2\nz: ${{ secrets.X }} 1\n");
    }
}
