/// The inventory that `init` writes.
pub const INVENTORY: &str = include_str!("../../templates/mirrors.yaml");
/// The `.sops.yaml` that `init` writes.
pub const SOPS: &str = include_str!("../../templates/sops.yaml");
/// The CI workflow that `init` writes.
pub const WORKFLOW: &str = include_str!("../../templates/ci/github.yaml");

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
