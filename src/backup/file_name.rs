/// Returns the name of a node's file: what a file system could take amiss becomes `-`, and nothing is hidden.
pub fn file_name(node: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = node.replace(['[', ']'], "");
    let name: String = name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let hidden = name.strip_prefix('.').map(|rest| format!("-{rest}"));
    format!("{}.yaml", hidden.unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_directory() {
        for (node, name) in [
            ("n1", "n1.yaml"),
            ("cp-1.example", "cp-1.example.yaml"),
            ("10.0.0.1:50001", "10.0.0.1-50001.yaml"),
            ("fd00::1", "fd00--1.yaml"),
            ("[fd00::1]:6000", "fd00--1-6000.yaml"),
            ("../x", "-.-x.yaml"),
            (".sops", "-sops.yaml"),
            ("..", "-..yaml"),
            ("a/b", "a-b.yaml"),
        ] {
            assert_eq!(file_name(node), name);
        }
    }
}
