/// The inventory that `init` writes.
pub const INVENTORY: &str = include_str!("../../templates/mirrors.yaml");
/// The `.sops.yaml` that `init` writes.
pub const SOPS: &str = include_str!("../../templates/sops.yaml");

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
        out.push_str(fill_line(line, values).trim_end_matches('\n'));
        out.push('\n');
    }
    out
}

/// Fills a line once: what stands in a value is not filled again.
pub(super) fn fill_line(line: &str, values: &[(&str, String)]) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let place = from.strip_prefix("{{").and_then(|from| from.split_once("}}"));
        let known = place.and_then(|(name, tail)| {
            values.iter().find(|(own, _)| *own == name).map(|(_, value)| (value, tail))
        });
        rest = if let Some((value, tail)) = known {
            out.push_str(value);
            tail
        } else {
            out.push('{');
            from.strip_prefix('{').unwrap_or_default()
        };
    }
    out + rest
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

    #[test]
    fn what_a_value_says_is_not_filled() {
        let values = [("a", "{{b}}".to_owned()), ("b", "s3cr3t".to_owned())];
        assert_eq!(render("{{a}} {{{b}} {{c}} {{b\n", &values), "{{b}} {s3cr3t {{c}} {{b\n");
    }
}
